'use strict';
// weir as a proxy with nginx and HAProxy around it: as its upstreams, and in front of it. TLS and PROXY
// headers in both directions.

const { after, before, test } = require('node:test');
const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { promisify } = require('node:util');
const { Weir, until, within } = require('./weir.js');
const { Client } = require('./client.js');
const { freePort, haproxy, nginx } = require('./debian_proxies.js');

const TIMEOUT = { timeout: 60_000 };
const run = promisify(execFile);
const CLIENT = '127.0.0.5';
const bytes = (length) => Buffer.from(Array.from({ length }, (_, i) => (i * 2654435761) >>> 24));
let directory, echo;

const file = (name) => path.join(directory, name);
const address = (weir) => weir.url.replace(/^.*:\/\//, '');

/** A certificate for this name or address, its own authority; HAProxy reads chain and key from one file. */
async function certificate(name, host) {
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  const subject = ['-subj', '/CN=weir tests', '-addext', `subjectAltName=${host}`, '-addext', 'basicConstraints=critical,CA:FALSE'];
  await run('openssl', [...request, ...subject, '-keyout', file(`${name}.key`), '-out', file(`${name}.pem`)]);
  const both = ['pem', 'key'].map((kind) => fs.readFileSync(file(`${name}.${kind}`), 'utf8'));
  fs.writeFileSync(file(`${name}.both`), both.join(''));
}

before(async () => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weir-proxies-'));
  await certificate('right', 'IP:127.0.0.1');
  await certificate('wrong', 'DNS:other.example');
  // Its log shows the address that HAProxy's X-Forwarded-For names.
  const trusting = ['--trusted-proxies', '127.0.0.1', '--deflate', 'shared', '--log', 'debug'];
  echo = await Weir.listening(process.env.WEIR, ['serve', '--listen', '127.0.0.1:0', ...trusting]);
});
after(async () => {
  await echo.stop();
  fs.rmSync(directory, { recursive: true });
});

/** Runs `body` with weir as a proxy in front of these ports. */
async function proxy(ports, body, { scheme = 'http', pool = '', listen = 'ws', args = [] } = {}) {
  const config = file(`${ports.join('-')}.toml`);
  const urls = JSON.stringify(ports.map((port) => `${scheme}://127.0.0.1:${port}`));
  fs.writeFileSync(config, `[[pool]]\nname = "nodes"\nupstreams = ${urls}\n${pool}\n`
    + '[[route]]\npath = "/*"\nservice = "proxy"\npool = "nodes"\n');
  const weir = await Weir.serve(`${listen}://127.0.0.1:0`, ['--admin', '127.0.0.1:0', '--config', config, ...args]);
  try {
    await body(weir);
  } catch (error) {
    throw new Error(`${error.message}\n${weir.log}`, { cause: error });
  } finally {
    assert.deepEqual(await weir.stop(), { code: 0, signal: null });
  }
}

/** Messages of many lengths come back, and the close code passes. */
async function works(url, options = {}) {
  for (const perMessageDeflate of [false, { threshold: 0 }]) {
    const client = await Client.connect(url, { perMessageDeflate, localAddress: CLIENT, ...options });
    assert.equal(client.ws.extensions !== '', perMessageDeflate !== false);
    const messages = [0, 1, 126, 65_536, 200_000].flatMap((length) => [bytes(length), 'grüße '.repeat(length / 7)]);
    for (const message of messages) client.send(message);
    for (const message of messages) assert.deepEqual(await client.next(), message);
    assert.deepEqual(await client.close(4001, 'done'), { code: 4001, reason: 'done' });
  }
}

const http = { mode: 'http' };

test('nginx as upstream', TIMEOUT, () =>
  nginx(`http://${address(echo)}`, '', (port) => proxy([port], (weir) => works(weir.url))));

test('nginx in front', TIMEOUT, () =>
  proxy([echo.url.split(':').at(-1)], (weir) =>
    nginx(`http://${address(weir)}`, '', (port) => works(`ws://127.0.0.1:${port}/`))));

test('HAProxy as upstream', TIMEOUT, () =>
  haproxy(address(echo), '', (port) => proxy([port], (weir) => works(weir.url)), http));

test('HAProxy in front', TIMEOUT, () =>
  proxy([echo.url.split(':').at(-1)], (weir) =>
    haproxy(address(weir), '', (port) => works(`ws://127.0.0.1:${port}/`), http)));

/** TLS servers in front of the echo, with this certificate. */
const secure = {
  nginx: (name, body) => {
    const listen = `ssl; ssl_certificate ${file(`${name}.pem`)}; ssl_certificate_key ${file(`${name}.key`)}`;
    return nginx(`http://${address(echo)}`, '', body, listen);
  },
  HAProxy: (name, body) => haproxy(address(echo), '', body, { bind: `ssl crt ${file(`${name}.both`)}`, mode: 'http' }),
};

for (const [server, start] of Object.entries(secure)) {
  test(`${server} as upstream by TLS; a wrong certificate is 502`, TIMEOUT, async () => {
    const options = (name) => ({ scheme: 'https', pool: `upstream_ca = "${file(`${name}.pem`)}"` });
    await start('right', async (port) => {
      await proxy([port], (weir) => works(weir.url), options('right'));
      // An authority that has not signed it.
      await proxy([port], (weir) => assert.rejects(Client.connect(weir.url), ({ status }) => status === 502), options('wrong'));
    });
    await start('wrong', (port) =>
      // The authority has signed it, but for another name.
      proxy([port], async (weir) => {
        await assert.rejects(Client.connect(weir.url), ({ status }) => status === 502);
        assert.equal(await weir.metric('upstream_tries_total', 'outcome="tls"'), 1);
        const named = { ...options('wrong'), pool: `${options('wrong').pool}\nupstream_name = "other.example"` };
        await proxy([port], (other) => works(other.url), named);
      }, options('wrong')));
  });
}

test('TLS from the client, and TLS to nginx', TIMEOUT, () =>
  secure.nginx('right', (port) => proxy([port], (weir) =>
    works(weir.url, { ca: fs.readFileSync(file('right.pem')) }), {
    scheme: 'https', listen: 'wss', pool: `upstream_ca = "${file('right.pem')}"`,
    args: ['--tls-cert', file('right.pem'), '--tls-key', file('right.key')],
  })));

/** The address that the echo has logged for a client at `url`. */
async function logged(url, options = {}) {
  const start = echo.log.length;
  const client = await Client.connect(url, { localAddress: CLIENT, ...options });
  const line = () => echo.log.slice(start).split('\n').find((text) => text.includes('opened') && text.includes('peer='));
  await until(10_000, 'the connection is logged', () => line() !== undefined);
  await client.close(1000);
  return /peer=(\S+)/.exec(line())[1];
}

for (const version of ['v1', 'v2']) {
  test(`send_proxy ${version}: HAProxy, accept-proxy, gets the client's address`, TIMEOUT, () =>
    haproxy(address(echo), '', (port) => proxy([port], async (weir) => {
      assert.equal(await logged(weir.url), CLIENT);
      await works(weir.url);
    }, { pool: `send_proxy = "${version}"\nhealth = "connect"` }), { bind: 'accept-proxy', mode: 'http' }));

  test(`PROXY ${version} from HAProxy through weir to HAProxy`, TIMEOUT, () =>
    haproxy(address(echo), '', (inner) => proxy([inner], (weir) => {
      const option = version === 'v1' ? 'send-proxy' : 'send-proxy-v2';
      return haproxy(address(weir), option, async (port) => {
        assert.equal(await logged(`ws://127.0.0.1:${port}/`, { headers: { 'X-Forwarded-For': '9.9.9.9' } }), CLIENT);
        await works(`ws://127.0.0.1:${port}/`);
      });
    }, {
      listen: 'proxy+ws', args: ['--trusted-proxies', '127.0.0.1'], pool: `send_proxy = "${version}"`,
    }), { bind: 'accept-proxy', mode: 'http' }));

  test(`send_proxy ${version} goes before TLS`, TIMEOUT, () =>
    haproxy(address(echo), '', (port) => proxy([port], async (weir) => {
      assert.equal(await logged(weir.url), CLIENT);
    }, { scheme: 'https', pool: `send_proxy = "${version}"\nupstream_ca = "${file('right.pem')}"` }),
    { bind: `accept-proxy ssl crt ${file('right.both')}`, mode: 'http' }));
}

test('nginx whose own upstream is gone answers 502, and the next upstream is used', TIMEOUT, async () => {
  const nothing = await freePort();
  await nginx(`http://127.0.0.1:${nothing}`, '', (port) =>
    proxy([port, echo.url.split(':').at(-1)], async (weir) => {
      await works(weir.url);
      assert.ok(await weir.metric('upstream_tries_total', 'outcome="status"') >= 1);
    }));
});

test('the end of a tunnel of nginx or HAProxy is 1012 for the client', TIMEOUT, async () => {
  const inner = await Weir.start();
  const upstream = address(inner);
  await nginx(`http://${upstream}`, '', (first) => haproxy(upstream, '', async (second) => {
    const ends = async (port) => proxy([port], async (weir) => {
      const client = await Client.connect(weir.url);
      client.send('hello');
      assert.equal(await client.next(), 'hello');
      ready.push(client);
      await killed;
      assert.deepEqual(await client.closed(), { code: 1012, reason: 'upstream lost' });
    });
    const ready = [];
    const killed = (async () => {
      await until(10_000, 'both tunnels are open', () => ready.length === 2);
      inner.process.kill('SIGKILL');
      await within(10_000, 'end', inner.exited);
    })();
    await Promise.all([ends(first), ends(second)]);
  }, http));
});
