'use strict';
// Tunnels of weir as a proxy, with npm `ws` on both ends, with a client that writes small segments, and with
// headless Chromium.

const { after, before, test } = require('node:test');
const assert = require('node:assert/strict');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { chromium } = require('playwright-core');
const { WebSocketServer } = require('ws');
const { Weir, until, within } = require('./weir.js');
const { Client } = require('./client.js');

const TIMEOUT = { timeout: 120_000 };
const WAIT_MS = 60_000;
const bytes = (length) => Buffer.from(Array.from({ length }, (_, i) => (i * 2654435761) >>> 24));

/** An echo of npm `ws`; "close CODE" is answered with that Close, "close" with an empty one, "cut" by a reset. */
async function echo() {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, maxPayload: 0, perMessageDeflate: { threshold: 0 } });
  server.sockets = [];
  server.on('connection', (socket) => {
    socket.pings = socket.pongs = 0;
    socket.on('ping', () => socket.pings++).on('pong', () => socket.pongs++).on('error', () => {});
    socket.closing = new Promise((resolve) => socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() })));
    server.sockets.push(socket);
    socket.on('message', (data, isBinary) => {
      const [word, code] = isBinary ? [] : data.toString().split(' ');
      if (word === 'close') socket.close(...(code ? [Number(code), 'asked to'] : []));
      else if (word === 'cut') socket._socket.resetAndDestroy();
      else socket.send(data, { binary: isBinary });
    });
  });
  await within(WAIT_MS, 'ws server', new Promise((resolve) => server.once('listening', resolve)));
  return server;
}

/** Runs `body` with weir in front of an echo. */
async function tunnelled(args, body) {
  const server = await echo();
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weir-tunnels-'));
  const file = path.join(directory, 'weir.toml');
  fs.writeFileSync(file, `[[pool]]\nname = "nodes"\nupstreams = ["http://127.0.0.1:${server.address().port}"]\n`
    + '[[route]]\npath = "/*"\nservice = "proxy"\npool = "nodes"\nmessage_max = "64 MiB"\n');
  const weir = await Weir.start('--admin', '127.0.0.1:0', '--config', file, ...args);
  try {
    await body(weir, server);
  } finally {
    await weir.stop();
    server.close();
    fs.rmSync(directory, { recursive: true });
  }
}

const CODES = [1000, 1001, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4000, 4321, 4999];

test('close codes of the client arrive at the upstream, and back', TIMEOUT, () =>
  tunnelled([], async (weir, server) => {
    for (const code of CODES) {
      const client = await Client.connect(weir.url);
      assert.deepEqual(await client.close(code, 'grüße'), { code, reason: 'grüße' });
      assert.deepEqual(await within(WAIT_MS, 'close', server.sockets.at(-1).closing), { code, reason: 'grüße' });
    }
    const client = await Client.connect(weir.url);
    // `ws` reports an empty Close as 1005.
    assert.deepEqual(await client.close(), { code: 1005, reason: '' });
    assert.deepEqual(await within(WAIT_MS, 'close', server.sockets.at(-1).closing), { code: 1005, reason: '' });
  }));

test('close codes of the upstream arrive at the client, and back', TIMEOUT, () =>
  tunnelled([], async (weir, server) => {
    for (const code of CODES) {
      const client = await Client.connect(weir.url);
      client.send(`close ${code}`);
      assert.deepEqual(await client.closed(), { code, reason: 'asked to' });
      assert.equal((await within(WAIT_MS, 'close', server.sockets.at(-1).closing)).code, code);
    }
    const client = await Client.connect(weir.url);
    client.send('close');
    assert.deepEqual(await client.closed(), { code: 1005, reason: '' });
    assert.equal((await within(WAIT_MS, 'close', server.sockets.at(-1).closing)).code, 1005);
  }));

test('an idle tunnel stays open by pings of weir, whose pongs neither side sees', TIMEOUT, () =>
  tunnelled(['--ping-interval', '1s', '--pong-timeout', '900ms'], async (weir, server) => {
    const client = await Client.connect(weir.url);
    let [pings, pongs] = [0, 0];
    client.ws.on('ping', () => pings++).on('pong', () => pongs++);
    const [upstream] = server.sockets;
    await until(WAIT_MS, 'three pings to each side', () => pings >= 3 && upstream.pings >= 3);
    client.send('still open');
    assert.equal(await client.next(), 'still open');
    assert.deepEqual([pongs, upstream.pongs], [0, 0]);
    // A ping of the client's own is answered by the upstream.
    await client.ping('own');
    assert.equal(pongs, 1);
    assert.equal((await client.close(1000)).code, 1000);
  }));

/** The header of a masked binary frame whose key is zero, so that its payload is written as it is. */
function header(length) {
  const head = Buffer.alloc(14);
  head.writeUInt16BE(0x82ff, 0);
  head.writeBigUInt64BE(BigInt(length), 2);
  return head;
}

test('a frame of 32 MiB in writes of 1,448 bytes arrives at ws', TIMEOUT, () =>
  tunnelled([], async (weir, server) => {
    const { hostname, port } = new URL(weir.http);
    const socket = net.connect({ host: hostname, port, noDelay: true });
    socket.on('error', () => {});
    const message = Buffer.concat(Array(32).fill(bytes(1024 * 1024)));
    const opened = new Promise((resolve) => server.once('connection', resolve));
    socket.write(`GET / HTTP/1.1\r\nHost: ${hostname}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n`
      + 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n');
    const upstream = await within(WAIT_MS, 'tunnel', opened);
    upstream.removeAllListeners('message');
    const received = new Promise((resolve, reject) => {
      upstream.once('message', resolve);
      upstream.once('close', (code) => reject(new Error(`closed with ${code}`)));
    });
    const whole = Buffer.concat([header(message.length), message]);
    for (let at = 0; at < whole.length; at += 1448) {
      const write = socket.write(whole.subarray(at, at + 1448));
      // Each of them is one segment, not all of them in a single writev.
      if (write) await new Promise(setImmediate);
      else await within(WAIT_MS, 'drain', new Promise((resolve) => socket.once('drain', resolve)));
    }
    assert.ok(message.equals(await within(WAIT_MS, 'message', received)));
    socket.destroy();
    await until(WAIT_MS, 'end of the tunnel', () => upstream.readyState === 3);
    const fragments = await weir.metric('proxy_fragments_total', 'nodes');
    assert.ok(fragments > 0 && fragments <= 512, `${fragments} fragments`);
  }));

let browser;
before(async () => {
  const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'];
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args, timeout: 60_000 });
});
after(() => browser?.close());

test('Chromium: messages, close codes and a lost upstream', TIMEOUT, () =>
  tunnelled([], async (weir) => {
    const tab = await (await browser.newContext()).newPage();
    const inPage = (body) => tab.evaluate(`(async () => {
      const socket = new WebSocket('${weir.url}/');
      socket.binaryType = 'arraybuffer';
      const event = (name) => new Promise((resolve, reject) => {
        socket.addEventListener(name, resolve, { once: true });
        setTimeout(() => reject(new Error('no ' + name)), ${WAIT_MS});
      });
      const end = async () => { const { code, reason, wasClean } = await event('close'); return [code, reason, wasClean]; };
      await event('open');
      ${body}
    })()`);
    assert.deepEqual(await inPage(`
      const bytes = new Uint8Array(200_000).map((_, i) => i * 7);
      socket.send(bytes);
      const back = new Uint8Array((await event('message')).data);
      socket.send('grüße 👋');
      const text = (await event('message')).data;
      const { extensions } = socket;
      socket.close(4001, 'done');
      return [extensions, back.length, back.every((byte, i) => byte === bytes[i]), text, ...await end()];`),
    ['permessage-deflate', 200_000, true, 'grüße 👋', 4001, 'done', true]);
    const ended = (message) => inPage(`socket.send('${message}'); return end();`);
    assert.deepEqual(await ended('close 4002'), [4002, 'asked to', true]);
    assert.deepEqual(await ended('close'), [1005, '', true]);
    assert.deepEqual(await ended('cut'), [1012, 'upstream lost', true]);
  }));
