'use strict';
// Accepted and refused upgrades, and the shutdown of the server.

const { before, after, test } = require('node:test');
const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { Weir, within } = require('./weir.js');
const { Client } = require('./client.js');

const TIMEOUT = { timeout: 30_000 };
let weir;

before(async () => (weir = await Weir.start()));
after(() => weir.stop());

const refused = (status) => (error) => error.status === status;

test('an unknown path is refused with 404', TIMEOUT, async () => {
  await assert.rejects(Client.connect(`${weir.url}/nowhere`), refused(404));
});

test('another version is refused with 426 and the supported version', TIMEOUT, async () => {
  await assert.rejects(Client.connect(`${weir.url}/`, { protocolVersion: 8 }), (error) =>
    error.status === 426 && error.headers['sec-websocket-version'] === '13');
});

test('an HTTP request without upgrade for a room is refused with 426', TIMEOUT, async () => {
  const response = await fetch(`${weir.http}/rooms/a`, { signal: AbortSignal.timeout(10_000) });
  assert.equal(response.status, 426);
  await response.arrayBuffer();
});

test('an origin that is not listed is refused with 403', TIMEOUT, async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'weir-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const file = path.join(folder, 'weir.toml');
  fs.writeFileSync(file, '[[route]]\npath = "/"\nservice = "echo"\norigins = ["https://ok.example"]\n');
  const strict = await Weir.start('--config', file);
  t.after(() => strict.stop());

  for (const origin of ['https://evil.example', 'https://ok.example.evil.example', 'null']) {
    await assert.rejects(Client.connect(`${strict.url}/`, { origin }), refused(403), origin);
  }
  const client = await Client.connect(`${strict.url}/`, { origin: 'https://ok.example' });
  client.send('welcome');
  assert.equal(await client.next(), 'welcome');
  await client.close(1000);
});

test('curl gets 101 with the accept value of the RFC', TIMEOUT, async (t) => {
  // RFC 6455, 1.3: the sample key and its answer.
  const curl = spawn('curl', ['--silent', '--dump-header', '-', '--http1.1', '--max-time', '10',
    '--header', 'Connection: Upgrade', '--header', 'Upgrade: websocket',
    '--header', 'Sec-WebSocket-Version: 13', '--header', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    `${weir.http}/`], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => curl.kill());
  const head = await within(10_000, 'response head', new Promise((resolve, reject) => {
    let text = '';
    curl.once('error', reject);
    curl.stdout.once('end', () => reject(new Error(`curl ended after: ${text}`)));
    curl.stdout.on('data', (bytes) => {
      text += bytes;
      if (text.includes('\r\n\r\n')) resolve(text);
    });
  }));
  const [status, ...fields] = head.split('\r\n').filter(Boolean);
  const headers = new Map(fields.map((line) => [line.split(':')[0].toLowerCase(), line.split(': ')[1]]));
  assert.match(status, /^HTTP\/1\.1 101 /);
  assert.equal(headers.get('sec-websocket-accept'), 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
  assert.equal(headers.get('upgrade').toLowerCase(), 'websocket');
  assert.equal(headers.get('connection').toLowerCase(), 'upgrade');
  assert.ok(!headers.has('sec-websocket-extensions'));
});

test('SIGTERM closes every client with 1001 and the process exits with 0', TIMEOUT, async () => {
  const ending = await Weir.start();
  const paths = [...Array(20).fill('/'), ...Array(20).fill('/rooms/a')];
  const clients = await Promise.all(paths.map((path) => Client.connect(ending.url + path)));
  const end = ending.stop();
  const closes = await Promise.all(clients.map((client) => client.closed()));
  assert.deepEqual(new Set(closes.map(({ code }) => code)), new Set([1001]));
  assert.deepEqual(await end, { code: 0, signal: null });
  for (const client of clients) assert.deepEqual(client.socketErrors, []);
});
