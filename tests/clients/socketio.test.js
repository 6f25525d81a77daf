'use strict';
// Socket.IO through weir as a proxy in front of three servers: polling, the upgrade to a WebSocket, and the
// cookie that leads each request of a session to its server.

const { after, before, test } = require('node:test');
const assert = require('node:assert/strict');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { Server } = require('socket.io');
const { io } = require('socket.io-client');
const { Weir, within } = require('./weir.js');

const TIMEOUT = { timeout: 60_000 };
const WAIT_MS = 20_000;
const SESSIONS = 9;
const servers = [];
let directory, weir;

before(async () => {
  for (let i = 0; i < 3; i++) {
    const server = http.createServer();
    const socketio = new Server(server, { maxHttpBufferSize: 4 * 1024 * 1024 });
    socketio.on('connection', (socket) => {
      socket.on('echo', (value, done) => done(value));
      socket.on('whose', (done) => done(i));
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    servers.push({ socketio, port: server.address().port });
  }
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weir-socketio-'));
  const file = path.join(directory, 'weir.toml');
  const urls = JSON.stringify(servers.map(({ port }) => `http://127.0.0.1:${port}`));
  fs.writeFileSync(file, `[[pool]]\nname = "nodes"\nupstreams = ${urls}\nchoose = "least"\nsticky_cookie = "node"\n`
    + '[[route]]\npath = "/*"\nservice = "proxy"\npool = "nodes"\nmessage_max = "4 MiB"\n');
  weir = await Weir.start('--admin', '127.0.0.1:0', '--config', file);
});
after(async () => {
  await weir.stop();
  await Promise.all(servers.map(({ socketio }) => socketio.close()));
  fs.rmSync(directory, { recursive: true });
});

/** A session of its own, with its cookies. */
async function session(transports) {
  const socket = io(weir.http, { transports, withCredentials: true, forceNew: true, reconnection: false });
  await within(WAIT_MS, 'connection', new Promise((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('connect_error', reject);
  }));
  return socket;
}

/** Values of several kinds and sizes come back. */
async function echoes(socket) {
  for (const value of ['grüße 👋', { a: [1, null] }, Buffer.alloc(200_000, 7), 'x'.repeat(1_000_000)]) {
    assert.deepEqual(await socket.timeout(WAIT_MS).emitWithAck('echo', value), value);
  }
}

test('sessions that start by polling are upgraded to WebSockets of the same server', TIMEOUT, async () => {
  const sockets = await Promise.all(Array.from({ length: SESSIONS }, () => session(['polling', 'websocket'])));
  const whose = new Set();
  for (const socket of sockets) {
    if (socket.io.engine.transport.name !== 'websocket') {
      await within(WAIT_MS, 'upgrade', new Promise((resolve) => socket.io.engine.once('upgrade', resolve)));
    }
    assert.equal(socket.io.engine.transport.name, 'websocket');
    whose.add(await socket.timeout(WAIT_MS).emitWithAck('whose'));
    await echoes(socket);
  }
  assert.ok(whose.size > 1, 'all sessions are on one server');
  assert.equal(await weir.metric('upstream_connections', 'use="tunnel"'), SESSIONS);
  sockets.forEach((socket) => socket.close());
});

test('sessions by polling alone, and by WebSocket alone', TIMEOUT, async () => {
  for (const transports of [['polling'], ['websocket']]) {
    const sockets = await Promise.all(Array.from({ length: SESSIONS }, () => session(transports)));
    await Promise.all(sockets.map(echoes));
    for (const socket of sockets) assert.equal(socket.io.engine.transport.name, transports[0]);
    sockets.forEach((socket) => socket.close());
  }
});
