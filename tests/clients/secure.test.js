'use strict';
// wss: npm `ws`, Python, curl, Chromium, nginx in front, and `openssl s_client`.

const { before, after, test } = require('node:test');
const assert = require('node:assert/strict');
const { execFile, spawn } = require('node:child_process');
const { randomBytes } = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const net = require('node:net');
const path = require('node:path');
const { promisify } = require('node:util');
const { chromium } = require('playwright-core');
const { Weir, until, within } = require('./weir.js');
const { Client } = require('./client.js');

const TIMEOUT = { timeout: 60_000 };
const run = promisify(execFile);
let directory;
let weir;
let ca;

const file = (name) => path.join(directory, name);

/** A certificate for `names`, signed by the authority in ca.pem. */
async function issue(name, names) {
  const request = ['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=weir'];
  await run('openssl', [...request, '-keyout', file(`${name}.key`), '-out', file(`${name}.csr`)]);
  fs.writeFileSync(file(`${name}.ext`), `subjectAltName=${names}\n`);
  await run('openssl', ['x509', '-req', '-in', file(`${name}.csr`), '-CA', file('ca.pem'), '-CAkey', file('ca.key'),
    '-CAcreateserial', '-days', '2', '-extfile', file(`${name}.ext`), '-out', file(`${name}.pem`)]);
}

before(async () => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weir-secure-'));
  await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
    '-subj', '/CN=weir tests', '-keyout', file('ca.key'), '-out', file('ca.pem')]);
  await issue('local', 'DNS:localhost,IP:127.0.0.1');
  await issue('other', 'DNS:other.test');
  ca = fs.readFileSync(file('ca.pem'));
  weir = await Weir.secure(
    '--tls-cert', `${file('local.pem')},${file('other.pem')}`,
    '--tls-key', `${file('local.key')},${file('other.key')}`,
  );
});
after(async () => {
  assert.deepEqual(await weir.stop(), { code: 0, signal: null });
  fs.rmSync(directory, { recursive: true });
});

/** Sends and expects messages of all sizes at `url`. */
async function echoes(url) {
  const client = await Client.connect(url, { ca });
  for (const size of [0, 1, 16_384, 16_385, 200_000]) {
    const message = randomBytes(size);
    client.send(message);
    assert.deepEqual(await client.next(), message);
  }
  client.send('grüße 👋');
  assert.equal(await client.next(), 'grüße 👋');
  assert.equal((await client.ping(Buffer.from('?'))).toString(), '?');
  assert.deepEqual(await client.close(4001, 'done'), { code: 4001, reason: 'done' });
  assert.deepEqual(client.socketErrors, []);
}

test('ws: messages, ping and close', TIMEOUT, () => echoes(`${weir.url}/`));

test('ws: a message too large is refused with 1009 and a proper end', TIMEOUT, async () => {
  const client = await Client.connect(`${weir.url}/`, { ca });
  client.send(Buffer.alloc(4 * 1024 * 1024));
  assert.equal((await client.closed()).code, 1009);
  assert.deepEqual(client.socketErrors, []);
});

test('ws: a client that does not trust the certificate does not connect', TIMEOUT, async () => {
  await assert.rejects(Client.connect(`${weir.url}/`), /unable to (get|verify)/);
});

for (const library of ['websockets', 'aiohttp']) {
  for (const what of ['echo', 'deflate', 'ping', 'close', 'too_large']) {
    test(`Python ${library}, compressed: ${what}`, TIMEOUT, async () => {
      const script = path.join(__dirname, 'python_client.py');
      const url = weir.url.replace('127.0.0.1', 'localhost');
      const env = { ...process.env, SSL_CERT_FILE: file('ca.pem') };
      await run(process.env.PYTHON, ['-B', script, library, what, `${url}/`, 'compressed'], { env });
    });
  }
}

test('curl: the page by https, and a 400 in plaintext without it', TIMEOUT, async () => {
  const { stdout: page } = await run('curl', ['-sS', '--fail', '--max-time', '10', '--cacert', file('ca.pem'), `${weir.http}/`]);
  assert.match(page, /<html/);
  const plain = weir.http.replace('https', 'http');
  const { stdout: refused } = await run('curl', ['-sSi', '--max-time', '10', plain]);
  assert.match(refused, /^HTTP\/1\.1 400 .*text\/plain.*this port speaks TLS/s);
});

test('Chromium: the page connects its WebSocket by wss', TIMEOUT, async () => {
  const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--ignore-certificate-errors'];
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: flags, timeout: 30_000 });
  try {
    const tab = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
    const sockets = [];
    tab.on('websocket', (socket) => sockets.push(socket.url()));
    assert.equal((await tab.goto(`${weir.http}/`)).status(), 200);
    await tab.fill('#echo-input', 'grüße 👩‍👩‍👧');
    await tab.click('#echo-send');
    await tab.locator('#echo-log .got').filter({ hasText: 'grüße 👩‍👩‍👧' }).waitFor({ timeout: 10_000 });
    assert.ok(sockets.length > 0 && sockets.every((url) => url.startsWith('wss://')), `${sockets}`);
  } finally {
    await browser.close();
  }
});

/** A port of 127.0.0.1 that is probably free: it was a moment ago. */
async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test('nginx in front, with TLS on both sides', TIMEOUT, async () => {
  const port = await freePort();
  fs.mkdirSync(file('nginx'));
  fs.writeFileSync(file('nginx.conf'), `
    daemon off; pid ${file('nginx/pid')}; error_log stderr;
    events {}
    http {
      access_log off;
      client_body_temp_path ${file('nginx')}; proxy_temp_path ${file('nginx')};
      fastcgi_temp_path ${file('nginx')}; uwsgi_temp_path ${file('nginx')}; scgi_temp_path ${file('nginx')};
      server {
        listen 127.0.0.1:${port} ssl;
        ssl_certificate ${file('local.pem')}; ssl_certificate_key ${file('local.key')};
        location / {
          proxy_pass ${weir.http};
          proxy_ssl_verify on; proxy_ssl_name localhost; proxy_ssl_server_name on;
          proxy_ssl_trusted_certificate ${file('ca.pem')};
          proxy_http_version 1.1;
          proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
        }
      }
    }`);
  const nginx = spawn('nginx', ['-c', file('nginx.conf'), '-p', directory, '-e', 'stderr'], { stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  nginx.stderr.on('data', (bytes) => (log += bytes));
  const ended = new Promise((resolve) => nginx.once('exit', resolve));
  try {
    const url = `wss://127.0.0.1:${port}/`;
    let connected = false;
    await within(10_000, 'nginx listens', (async () => {
      while (!connected) {
        connected = await Client.connect(url, { ca }).then((client) => client.close(1000).then(() => true), (error) => {
          if (error.code !== 'ECONNREFUSED') throw new Error(`${error.message}\n${log}`);
          return new Promise((resolve) => setTimeout(() => resolve(false), 20));
        });
      }
    })());
    await echoes(url);
  } finally {
    nginx.kill('SIGTERM');
    await within(10_000, 'nginx ends', ended);
  }
});

/** The output of `openssl s_client` with `args`, given `input`. */
async function sClient(args, input = '') {
  const address = weir.url.replace('wss://', '');
  const client = spawn('openssl', ['s_client', '-connect', address, '-CAfile', file('ca.pem'), ...args]);
  let output = '';
  for (const stream of [client.stdout, client.stderr]) stream.on('data', (bytes) => (output += bytes));
  const ended = new Promise((resolve) => client.once('exit', resolve));
  const agreed = () => /Verify return code|alert|error|errno/.test(output);
  try {
    await until(10_000, 's_client connects', () => agreed() || client.exitCode !== null);
    if (client.exitCode === null) {
      if (input) client.stdin.write(input);
      // The ticket or the answer arrives later.
      await until(10_000, 's_client is answered', () => client.exitCode !== null || !input || /\nHTTP|\nRENEGOTIATING[^]*\n[^]*(error|alert)/.test(output));
    }
  } finally {
    client.stdin.destroy();
    client.kill('SIGTERM');
    await within(10_000, 's_client ends', ended);
  }
  return output;
}

const REQUEST = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n';

test('s_client: TLS 1.3 and 1.2 are accepted, older versions are not', TIMEOUT, async () => {
  assert.match(await sClient(['-tls1_3'], REQUEST), /TLSv1\.3, Cipher is TLS_AES_256_GCM_SHA384[^]*Verify return code: 0/);
  assert.match(await sClient(['-tls1_2'], REQUEST), /TLSv1\.2, Cipher is ECDHE-ECDSA-AES256-GCM-SHA384[^]*Verify return code: 0/);
  const old = ['-tls1_1', '-cipher', 'DEFAULT@SECLEVEL=0'];
  assert.match(await sClient(old), /alert (protocol version|handshake failure)|no protocols available/);
});

test('s_client: the server name selects the certificate', TIMEOUT, async () => {
  const shown = async (name) => (await sClient(['-servername', name, '-verify_hostname', name], REQUEST));
  assert.match(await shown('other.test'), /Verify return code: 0/);
  assert.match(await shown('localhost'), /Verify return code: 0/);
  assert.match(await shown('unknown.test'), /Verify return code: 62/);
});

for (const [version, args] of [['1.3', ['-tls1_3']], ['1.2 by ticket', ['-tls1_2']], ['1.2 by id', ['-tls1_2', '-no_ticket']]]) {
  test(`s_client: a session of TLS ${version} is resumed`, TIMEOUT, async () => {
    const session = file(`session-${version.replaceAll(' ', '-')}`);
    const first = await sClient([...args, '-sess_out', session], REQUEST);
    assert.match(first, /\nNew, TLS/);
    // Without a ticket the session would still be resumed by its id.
    if (version !== '1.3') assert.equal(first.includes('TLS session ticket:'), version === '1.2 by ticket');
    assert.match(await sClient([...args, '-sess_in', session], REQUEST), /\nReused, TLS/);
  });
}

test('s_client: renegotiation is refused', TIMEOUT, async () => {
  const output = await sClient(['-tls1_2'], 'R\n');
  assert.match(output, /RENEGOTIATING[^]*(no renegotiation|handshake failure|unsafe legacy renegotiation)/i);
});
