'use strict';
// The addresses of clients behind nginx (X-Forwarded-For) and HAProxy (PROXY headers), in weir's log and limits.

const { before, after, test } = require('node:test');
const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { promisify } = require('node:util');
const { Weir, until } = require('./weir.js');
const { Client } = require('./client.js');
const { haproxy, nginx } = require('./debian_proxies.js');

const TIMEOUT = { timeout: 60_000 };
const run = promisify(execFile);
// The proxies connect from 127.0.0.1, which weir trusts; the clients have other addresses of the loopback network.
const CLIENT = '127.0.0.5';
const OTHER = '127.0.0.6';
let directory;

const file = (name) => path.join(directory, name);

before(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weir-addresses-'));
});
after(() => fs.rmSync(directory, { recursive: true }));

/** weir, which trusts 127.0.0.1, at a listener of this scheme. */
function start(scheme, ...args) {
  const listen = ['--listen', `${scheme}://127.0.0.1:0`, '--trusted-proxies', '127.0.0.1', '--log', 'debug'];
  return Weir.listening(process.env.WEIR, ['serve', ...listen, ...args]);
}

const address = (weir) => weir.url.replace(/^.*:\/\//, '');

/** Echoes a message from `localAddress`, and returns what weir has logged about that connection. */
async function logged(weir, url, options) {
  const before = weir.log.length;
  const client = await Client.connect(url, { localAddress: CLIENT, ...options });
  client.send('grüße');
  assert.equal(await client.next(), 'grüße');
  const line = () => weir.log.slice(before).split('\n').find((line) => line.includes('opened') && line.includes('peer='));
  await until(10_000, 'the connection is logged', () => line() !== undefined);
  assert.equal((await client.close(1000)).code, 1000);
  return /peer=(\S+)/.exec(line())[1];
}

const SPOOFED = { headers: { 'X-Forwarded-For': '9.9.9.9', Forwarded: 'for=9.9.9.9', 'X-Real-IP': '9.9.9.9' } };
const APPENDED = 'proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;';

test('nginx: X-Forwarded-For names the client, whatever the client sends', TIMEOUT, async () => {
  const weir = await start('ws');
  try {
    await nginx(`http://${address(weir)}`, APPENDED, async (port) => {
      assert.equal(await logged(weir, `ws://127.0.0.1:${port}/`, SPOOFED), CLIENT);
    });
    // Without a proxy the same headers change nothing.
    assert.match(await logged(weir, weir.url, SPOOFED), /^127\.0\.0\.5:\d+$/);
    assert.doesNotMatch(weir.log, /9\.9\.9\.9/);
  } finally {
    await weir.stop();
  }
});

test('nginx: Forwarded and X-Real-IP name the client', TIMEOUT, async () => {
  for (const [name, lines] of [
    ['forwarded', 'proxy_set_header Forwarded "$http_forwarded, for=\\"$remote_addr:$remote_port\\";proto=$scheme";'],
    ['x-real-ip', 'proxy_set_header X-Real-IP $remote_addr;'],
  ]) {
    const weir = await start('ws', '--client-address-from', name);
    try {
      await nginx(`http://${address(weir)}`, lines, async (port) => {
        assert.equal(await logged(weir, `ws://127.0.0.1:${port}/`, SPOOFED), CLIENT, name);
      });
    } finally {
      await weir.stop();
    }
  }
});

test('nginx: limits count its clients, not nginx', TIMEOUT, async () => {
  const limits = ['--connections-per-address', '1', '--requests-per-address', '1/min burst 2'];
  const weir = await start('ws', '--admin', '127.0.0.1:0', ...limits);
  try {
    await nginx(`http://${address(weir)}`, APPENDED, async (port) => {
      const url = `ws://127.0.0.1:${port}/`;
      const from = (localAddress) => Client.connect(url, { localAddress });
      const [first, other] = [await from(CLIENT), await from(OTHER)];
      await assert.rejects(from(CLIENT), ({ status }) => status === 429);
      assert.equal((await first.close(1000)).code, 1000);
      await until(10_000, 'the first connection ends', () => weir.log.includes('ended: peer_closed'));
      const again = await from(CLIENT);
      assert.equal((await again.close(1000)).code, 1000);
      // The burst is used up; the refused upgrade took no token.
      const limited = await from(CLIENT).catch((error) => error);
      assert.equal(limited.status, 429);
      assert.ok(Number(limited.headers['retry-after']) > 0, JSON.stringify(limited.headers));
      assert.equal((await other.close(1000)).code, 1000);
    });
    assert.equal(await weir.metric('refused_total', 'reason="address_full"'), 1);
    assert.equal(await weir.metric('refused_total', 'reason="requests"'), 1);
  } finally {
    await weir.stop();
  }
});

for (const option of ['send-proxy', 'send-proxy-v2']) {
  test(`HAProxy, ${option}: the PROXY header names the client`, TIMEOUT, async () => {
    const weir = await start('proxy+ws');
    try {
      // Its health checks send UNKNOWN or LOCAL.
      await haproxy(address(weir), `${option} check inter 100ms`, async (port) => {
        assert.match(await logged(weir, `ws://127.0.0.1:${port}/`, SPOOFED), /^127\.0\.0\.5:\d+$/);
      });
      assert.doesNotMatch(weir.log, /9\.9\.9\.9|proxy_header/);
      // HAProxy resets its checks, which is no fault.
      assert.doesNotMatch(weir.log, /INFO .*ended: peer_reset/);
      await assert.rejects(Client.connect(weir.url.replace('proxy+', '')), /socket hang up|ECONNRESET/);
      const refused = /ended: proxy_header \(no PROXY header\).*peer=127\.0\.0\.1:/;
      await until(10_000, 'the end is logged', () => refused.test(weir.log));
    } finally {
      await weir.stop();
    }
  });
}

test('HAProxy, send-proxy-v2: TLS to weir follows the header', TIMEOUT, async () => {
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  const subject = ['-subj', '/CN=weir tests', '-addext', 'subjectAltName=IP:127.0.0.1'];
  await run('openssl', [...request, ...subject, '-keyout', file('key.pem'), '-out', file('cert.pem')]);
  const weir = await start('proxy+wss', '--tls-cert', file('cert.pem'), '--tls-key', file('key.pem'));
  try {
    await haproxy(address(weir), 'send-proxy-v2', async (port) => {
      const options = { ca: fs.readFileSync(file('cert.pem')) };
      assert.match(await logged(weir, `wss://127.0.0.1:${port}/`, options), /^127\.0\.0\.5:\d+$/);
    });
  } finally {
    await weir.stop();
  }
});

test('nginx in front of HAProxy: the PROXY header names nginx, whose X-Forwarded-For names the client', TIMEOUT, async () => {
  const weir = await start('proxy+ws');
  try {
    await haproxy(address(weir), 'send-proxy-v2', (inner) =>
      nginx(`http://127.0.0.1:${inner}`, APPENDED, async (port) => {
        assert.equal(await logged(weir, `ws://127.0.0.1:${port}/`, SPOOFED), CLIENT);
        // A client of HAProxy that is not trusted cannot do the same.
        assert.match(await logged(weir, `ws://127.0.0.1:${inner}/`, SPOOFED), /^127\.0\.0\.5:\d+$/);
      }));
  } finally {
    await weir.stop();
  }
});
