'use strict';
// WebSockets through weir as a proxy: npm `ws`, Python's `websockets` and `aiohttp` as clients; npm `ws`,
// `websockets` and weir's own echo as upstreams.

const { after, before, test } = require('node:test');
const assert = require('node:assert/strict');
const { execFile, spawn } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');
const { promisify } = require('node:util');
const WebSocket = require('ws');
const { Weir, within } = require('./weir.js');
const { Client } = require('./client.js');

const TIMEOUT = { timeout: 60_000 };
const WAIT_MS = 10_000;
/** Around the lengths at which a frame's header changes, and at which weir splits a frame. */
const LENGTHS = [0, 1, 125, 126, 127, 1000, 65_521, 65_535, 65_536, 65_537, 131_072, 200 * 1024];
const bytes = (length) => Buffer.from(Array.from({ length }, (_, i) => (i * 2654435761) >>> 24));
/** One text of each length, compressible, and bytes that are not. */
const messages = LENGTHS.flatMap((length) => ['grüße 👋 '.repeat(length / 12), bytes(length)]);

/** An upstream: its address, and functions that end it. */
const upstreams = {
  /** npm `ws`, in this process. */
  async ws() {
    const server = new WebSocket.Server({
      host: '127.0.0.1', port: 0, maxPayload: 0, perMessageDeflate: { threshold: 0 },
      handleProtocols: (offered) => (offered.has('chat.v2') ? 'chat.v2' : false),
    });
    server.on('connection', (socket) => {
      socket.on('message', (data, isBinary) => {
        if (!isBinary && data.toString() === 'close') socket.close(4002, 'asked to');
        else socket.send(data, { binary: isBinary });
      });
    });
    await within(WAIT_MS, 'ws server', new Promise((resolve) => server.once('listening', resolve)));
    return { port: server.address().port, stop: () => server.close() };
  },

  /** Python's `websockets`. */
  async websockets() {
    const script = path.join(__dirname, 'python_server.py');
    const server = spawn(process.env.PYTHON, ['-B', script], { stdio: ['pipe', 'pipe', 'inherit'] });
    process.once('exit', () => server.kill('SIGKILL'));
    const lines = readline.createInterface({ input: server.stdout });
    const port = await within(WAIT_MS, 'python server', new Promise((resolve) => lines.once('line', resolve)));
    return { port, stop: () => server.stdin.end(), kill: () => server.kill('SIGKILL') };
  },
};

/** Writes a configuration with one pool, and starts weir with it. */
async function front(ports, pool = '', route = '') {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'weir-proxy-')), 'weir.toml');
  const urls = JSON.stringify(ports.map((port) => `http://127.0.0.1:${port}`));
  fs.writeFileSync(file, `[[pool]]\nname = "nodes"\nupstreams = ${urls}\n${pool}\n`
    + `[[route]]\npath = "/*"\nservice = "proxy"\npool = "nodes"\n${route}\n`);
  return Weir.start('--admin', '127.0.0.1:0', '--config', file);
}

for (const [name, start] of Object.entries(upstreams)) {
  let upstream, weir;
  before(async () => {
    upstream = await start();
    weir = await front([upstream.port], '', 'message_max = "64 MiB"');
  });
  after(async () => {
    const end = await weir.stop();
    upstream.stop();
    assert.deepEqual(end, { code: 0, signal: null });
  });

  for (const [mode, perMessageDeflate] of [['without compression', false], ['with deflate', { threshold: 0 }],
    ['with deflate without context takeover', { threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true }]]) {
    test(`${name}: ws ${mode}`, TIMEOUT, async () => {
      const client = await Client.connect(`${weir.url}/`, { perMessageDeflate });
      assert.equal(client.ws.extensions.startsWith('permessage-deflate'), !!perMessageDeflate);
      for (const message of messages) {
        client.send(message);
        assert.deepEqual(await client.next(), message);
      }
      for (const message of messages) client.send(message);
      for (const message of messages) assert.deepEqual(await client.next(), message);
      assert.equal((await client.close(1000)).code, 1000);
    });
  }

  test(`${name}: a message of 16 MiB from ws`, TIMEOUT, async () => {
    const client = await Client.connect(`${weir.url}/`, { maxPayload: 0 });
    const message = bytes(16 * 1024 * 1024);
    client.send(message);
    assert.ok(message.equals(await client.next()));
    await client.close(1000);
  });

  test(`${name}: subprotocol and close codes`, TIMEOUT, async () => {
    const socket = new WebSocket(`${weir.url}/`, ['chat.v1', 'chat.v2']);
    const event = (what) => within(WAIT_MS, what, new Promise((resolve) => socket.once(what, (...args) => resolve(args))));
    await event('open');
    assert.equal(socket.protocol, 'chat.v2');
    socket.send('close');
    const [code, reason] = await event('close');
    assert.deepEqual([code, reason.toString()], [4002, 'asked to']);
  });

  for (const library of ['websockets', 'aiohttp']) {
    for (const kind of ['echo', 'deflate', 'ping', 'close']) {
      test(`${name}: Python ${library}, ${kind}`, TIMEOUT, async () => {
        const script = path.join(__dirname, 'python_client.py');
        const args = ['-B', script, library, kind, `${weir.url}/`];
        await promisify(execFile)(process.env.PYTHON, [...args, 'compressed']);
      });
    }
  }
}

test('an upstream that is killed is 1012 for each of its clients', TIMEOUT, async () => {
  const [first, second] = [await upstreams.websockets(), await upstreams.ws()];
  const weir = await front([first.port, second.port]);
  try {
    const connect = (_, i) => Client.connect(`${weir.url}/`, { perMessageDeflate: i % 2 === 0 });
    const clients = await Promise.all(Array.from({ length: 50 }, connect));
    clients.forEach((client) => client.send('hello'));
    await Promise.all(clients.map((client) => client.next()));
    first.kill();
    const ends = await Promise.all(clients.map((client) => within(WAIT_MS, 'close', client.closing)));
    assert.deepEqual(ends, ends.map(() => ({ code: 1012, reason: 'upstream lost' })));
    const again = await Client.connect(`${weir.url}/`);
    again.send('again');
    assert.equal(await again.next(), 'again');
    await again.close(1000);
  } finally {
    await weir.stop();
    second.stop();
  }
});

test('a cookie leads clients back to their upstream', TIMEOUT, async () => {
  const servers = await Promise.all([upstreams.ws(), upstreams.ws(), upstreams.ws()]);
  const weir = await front(servers.map((server) => server.port), 'choose = "least"\nsticky_cookie = "node"');
  try {
    const cookieOf = async (headers) => {
      const client = new Client(`${weir.url}/`, { headers });
      const upgraded = new Promise((resolve) => client.ws.once('upgrade', resolve));
      const { headers: received } = await within(WAIT_MS, 'upgrade', upgraded);
      await within(WAIT_MS, 'open', client.opened);
      await client.close(1000);
      return received['set-cookie'];
    };
    const [cookie] = await cookieOf({});
    const pair = cookie.split(';')[0];
    assert.match(pair, /^node=[0-9a-f]{16}$/);
    for (let i = 0; i < 6; i++) assert.equal(await cookieOf({ Cookie: pair }), undefined);
  } finally {
    await weir.stop();
    servers.forEach((server) => server.stop());
  }
});

test('HTTP: curl and Node through weir to a Node server', TIMEOUT, async () => {
  const server = http.createServer((request, response) => {
    if (request.url === '/events') {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' });
      response.write('data: one\n\n');
      request.once('close', () => response.end());
      return;
    }
    if (request.url === '/nothing') return response.writeHead(204).end();
    if (request.url === '/same') return response.writeHead(304, { ETag: '"a"' }).end();
    // The response begins while the request is being read, with its length or chunked.
    const length = request.headers['content-length'];
    response.writeHead(200, length ? { 'Content-Length': length } : {});
    request.pipe(response);
  });
  server.listen(0, '127.0.0.1');
  await within(WAIT_MS, 'http server', new Promise((resolve) => server.once('listening', resolve)));
  const weir = await front([server.address().port], '', 'message_max = "256 MiB"');
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weir-proxy-'));
  try {
    const sent = path.join(directory, 'sent');
    const received = path.join(directory, 'received');
    fs.writeFileSync(sent, bytes(32 * 1024 * 1024));
    const curl = async (...args) => (await promisify(execFile)('curl', ['-sS', '--fail', '--max-time', '30', ...args])).stdout;
    // A file with its length and 100-continue, and a chunked one.
    for (const args of [['-T', sent], ['-T', sent, '-H', 'Transfer-Encoding: chunked'], ['-T', sent, '-H', 'Expect:']]) {
      await curl(...args, '-o', received, `${weir.http}/`);
      assert.ok(fs.readFileSync(received).equals(fs.readFileSync(sent)), args.join(' '));
    }
    const head = await curl('-I', `${weir.http}/`);
    assert.match(head, /^HTTP\/1\.1 200 OK\r\n/);
    for (const [url, status] of [['/nothing', 204], ['/same', 304], ['/', 200]]) {
      const response = await fetch(weir.http + url);
      assert.equal(response.status, status);
      assert.equal(await response.text(), '');
    }
    const posted = await fetch(weir.http, { method: 'POST', body: 'grüße' });
    assert.equal(await posted.text(), 'grüße');
    const ended = new Promise((resolve) => server.once('request', (request) => request.once('close', resolve)));
    const events = await fetch(`${weir.http}/events`);
    const reader = events.body.getReader();
    assert.equal(Buffer.from((await reader.read()).value).toString(), 'data: one\n\n');
    await reader.cancel();
    await within(WAIT_MS, 'the end of the events at the server', ended);
    assert.equal(await weir.metric('upstream_tries_total', 'outcome="reset"'), 0);
  } finally {
    await weir.stop();
    server.closeAllConnections();
    server.close();
  }
});
