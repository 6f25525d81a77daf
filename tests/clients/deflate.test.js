'use strict';
// permessage-deflate with npm `ws` and all its options, undici, Node's WebSocket, Python and Chromium; and
// through nginx, which forwards extensions.

const { after, before, test } = require('node:test');
const assert = require('node:assert/strict');
const { execFile, spawn } = require('node:child_process');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { promisify } = require('node:util');
const { chromium } = require('playwright-core');
const undici = require('undici');
const { Weir, until, within } = require('./weir.js');
const { Client } = require('./client.js');

const TIMEOUT = { timeout: 60_000 };
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const ALONE = 'permessage-deflate; server_no_context_takeover; client_no_context_takeover';
/** The answer of each mode to the usual offer. */
const ANSWERS = {
  shared: ALONE,
  dedicated: 'permessage-deflate; server_max_window_bits=12; client_max_window_bits=12',
};

/** A kilobyte of JSON, a little different for each index. */
const json = (i) => JSON.stringify(Array.from({ length: 20 }, (_, j) => ({ id: i + j, price: (i * j) % 997, side: 'buy' })));
/** Incompressible bytes, compressible texts, characters of every width, an empty message. */
const messages = [
  ...Array.from({ length: 50 }, (_, i) => json(i)),
  '', 'grüße 👋'.repeat(100), Buffer.alloc(300_000, 'abc'), Buffer.alloc(0),
  Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * 2654435761) >>> 24)),
  ...Array.from({ length: 20 }, (_, i) => json(i)),
];

async function echo(client) {
  for (const message of messages) {
    client.send(message);
    assert.deepEqual(await client.next(), message);
  }
}

for (const mode of ['shared', 'dedicated']) {
  let weir;
  before(async () => (weir = await Weir.start('--deflate', mode)));
  after(async () => assert.deepEqual(await weir.stop(), { code: 0, signal: null }));

  for (const options of [
    {},
    { clientMaxWindowBits: 9 },
    { serverMaxWindowBits: 9 },
    { serverMaxWindowBits: 15, clientMaxWindowBits: 15 },
    { serverNoContextTakeover: true },
    { clientNoContextTakeover: true },
    { serverNoContextTakeover: true, clientNoContextTakeover: true },
  ]) {
    test(`${mode}: ws with ${JSON.stringify(options)}`, TIMEOUT, async () => {
      const perMessageDeflate = { threshold: 0, ...options };
      const client = await Client.connect(`${weir.url}/`, { perMessageDeflate });
      assert.ok(client.ws.extensions.startsWith('permessage-deflate'));
      await echo(client);
      assert.equal((await client.close(1000)).code, 1000);
    });
  }

  test(`${mode}: an invalid window size is declined`, TIMEOUT, async () => {
    const perMessageDeflate = { serverMaxWindowBits: 8 };
    const client = await Client.connect(`${weir.url}/`, { perMessageDeflate });
    assert.equal(client.ws.extensions, '');
    await echo(client);
    await client.close(1000);
  });

  test(`${mode}: a room with compressing and other members`, TIMEOUT, async () => {
    const join = (perMessageDeflate) => Client.connect(`${weir.url}/rooms/mixed`, { perMessageDeflate });
    const [speaker, ...others] = await Promise.all(
      [true, true, false, { serverMaxWindowBits: 9 }, { serverNoContextTakeover: true }].map(join));
    for (const message of messages) {
      speaker.send(message);
      for (const other of others) assert.deepEqual(await other.next(), message);
    }
    await Promise.all([speaker, ...others].map((client) => client.close(1000)));
  });

  for (const [name, WebSocket] of [['undici', undici.WebSocket], ['Node', globalThis.WebSocket]]) {
    test(`${mode}: ${name}`, { ...TIMEOUT, skip: !WebSocket }, async () => {
      const socket = new WebSocket(`${weir.url}/`);
      const event = (what) => within(10_000, what,
        new Promise((resolve) => socket.addEventListener(what, resolve, { once: true })));
      await event('open');
      assert.equal(socket.extensions, ANSWERS[mode]);
      for (let i = 0; i < 50; i++) {
        socket.send(json(i));
        assert.equal((await event('message')).data, json(i));
      }
      socket.close();
      await event('close');
    });
  }

  for (const library of ['websockets', 'aiohttp']) {
    test(`${mode}: Python ${library}`, TIMEOUT, async () => {
      const script = path.join(__dirname, 'python_client.py');
      await promisify(execFile)(process.env.PYTHON, ['-B', script, library, 'deflate', `${weir.url}/`, 'compressed']);
    });
  }

  test(`${mode}: Chromium`, TIMEOUT, async () => {
    const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS, timeout: 30_000 });
    try {
      const page = await browser.newPage();
      await page.goto(`${weir.http}/`);
      const [extensions, same] = await page.evaluate(async ([url, sent]) => {
        const socket = new WebSocket(url);
        const event = (what) => new Promise((resolve) => socket.addEventListener(what, resolve, { once: true }));
        await event('open');
        const heard = [];
        for (const message of sent) {
          socket.send(message);
          heard.push((await event('message')).data);
        }
        socket.close();
        return [socket.extensions, JSON.stringify(heard) === JSON.stringify(sent)];
      }, [`${weir.url}/`, messages.filter((message) => typeof message === 'string')]);
      assert.deepEqual([extensions, same], [ANSWERS[mode], true]);
    } finally {
      await browser.close();
    }
  });

  test(`${mode}: through nginx`, TIMEOUT, async () => {
    const nginx = await Nginx.start(new URL(weir.http).host);
    try {
      const client = await Client.connect(nginx.url, { perMessageDeflate: { threshold: 0 } });
      assert.ok(client.ws.extensions.startsWith('permessage-deflate'));
      await echo(client);
      assert.equal((await client.close(1000)).code, 1000);
    } finally {
      await nginx.stop();
    }
  });
}

test('off: an offer is declined', TIMEOUT, async () => {
  const weir = await Weir.start('--deflate', 'off');
  const client = await Client.connect(`${weir.url}/`, { perMessageDeflate: true });
  assert.equal(client.ws.extensions, '');
  await echo(client);
  await client.close(1000);
  assert.deepEqual(await weir.stop(), { code: 0, signal: null });
});

/** An nginx that forwards WebSockets to `upstream`. */
class Nginx {
  static async start(upstream) {
    const nginx = new Nginx();
    nginx.directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weir-nginx-'));
    const port = await freePort();
    nginx.url = `ws://127.0.0.1:${port}/`;
    const file = path.join(nginx.directory, 'nginx.conf');
    const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
      .map((name) => `${name}_temp_path ${nginx.directory}/${name};`).join(' ');
    fs.writeFileSync(file, `daemon off; master_process off; pid ${nginx.directory}/pid; error_log stderr;
      events {}
      http { access_log off; ${places} server { listen 127.0.0.1:${port}; location / {
        proxy_pass http://${upstream}; proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; } } }`);
    nginx.process = spawn('nginx', ['-c', file, '-p', nginx.directory], { stdio: 'ignore' });
    nginx.exited = new Promise((resolve) => nginx.process.once('exit', resolve));
    process.once('exit', () => nginx.process.kill('SIGKILL'));
    let open = false;
    const probe = setInterval(() => {
      const socket = net.connect(port, '127.0.0.1', () => { open = true; socket.destroy(); });
      socket.on('error', () => {});
    }, 50);
    try {
      await until(10_000, 'nginx listens', () => open);
    } finally {
      clearInterval(probe);
    }
    return nginx;
  }

  async stop() {
    this.process.kill('SIGTERM');
    await within(10_000, 'end of nginx', this.exited);
    fs.rmSync(this.directory, { recursive: true });
  }
}

/** A port that is probably free: it was a moment ago. */
function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
