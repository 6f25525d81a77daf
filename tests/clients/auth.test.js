'use strict';
// Gates: tokens of npm `jose`, `jsonwebtoken` and PyJWT in every place, Chromium with its token in a
// subprotocol, keys that rotate on an https server, and a hook as for nginx's auth_request.

const { before, after, test } = require('node:test');
const assert = require('node:assert/strict');
const { execFile, execFileSync } = require('node:child_process');
const { createHmac, generateKeyPairSync, randomBytes } = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const os = require('node:os');
const path = require('node:path');
const { pathToFileURL } = require('node:url');
const { promisify } = require('node:util');
const jsonwebtoken = require('jsonwebtoken');
const { chromium } = require('playwright-core');
const WebSocket = require('ws');
const { Weir, until, within } = require('./weir.js');

const TIMEOUT = { timeout: 60_000 };
const WAIT_MS = 10_000;
const run = promisify(execFile);
const FLAGS = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];

const SECRET = randomBytes(48).toString('base64');
const KEYS = {
  RS: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ES384: generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  EdDSA: generateKeyPairSync('ed25519'),
};
const HMACS = ['HS256', 'HS384', 'HS512'];
const ALL = [...HMACS, 'RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'EdDSA'];
const pairOf = (alg) => KEYS[alg === 'Ed25519' ? 'EdDSA' : alg] ?? KEYS.RS;
const pem = (key) => key.export({ type: key.type === 'public' ? 'spki' : 'pkcs8', format: 'pem' });

let directory;
let jose;
let page;
let origin;
let weir;

const file = (name) => path.join(directory, name);
const claims = (more) => ({ sub: 'ann', exp: Math.floor(Date.now() / 1000) + 3600, ...more });

before(async () => {
  // An ES module, which NODE_PATH does not lead to.
  jose = await import(pathToFileURL(require.resolve('jose')));
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weir-auth-'));
  page = await listening(http.createServer((_, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<!doctype html><link rel="icon" href="data:,"><title>page</title>');
  }));
  origin = `http://127.0.0.1:${page.address().port}`;
  fs.writeFileSync(file('secret'), `${SECRET}\n`, { mode: 0o600 });
  fs.writeFileSync(file('keys.pem'), Object.values(KEYS).map((pair) => pem(pair.publicKey)).join(''));
  weir = await serve(`
    [[auth]]
    name = "users"
    kind = "jwt"
    algorithms = ${JSON.stringify(ALL)}
    secret_file = "secret"
    keys = "keys.pem"
    token_from = ["header", "cookie:session", "query:token", "protocol"]
    claims = ["role"]
    [[auth]]
    name = "chat"
    kind = "jwt"
    algorithms = ["HS256"]
    secret_file = "secret"
    audience = ["chat"]
    [[route]]
    path = "/"
    service = "echo"
    auth = "users"
    origins = ["${origin}"]
    [[route]]
    path = "/admins"
    service = "echo"
    auth = "users"
    require = ["role=admin"]
    refuse = "close"
    origins = ["${origin}"]
    [[route]]
    path = "/chat"
    service = "echo"
    auth = "chat"`);
});

after(async () => {
  page?.close();
  assert.deepEqual(await weir.stop(), { code: 0, signal: null });
  fs.rmSync(directory, { recursive: true });
});

async function listening(server) {
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

let configurations = 0;
function serve(configuration) {
  const name = file(`weir-${(configurations += 1)}.toml`);
  fs.writeFileSync(name, `levels = false\n${configuration}\n`);
  return Weir.start('--config', name);
}

/** The status of an upgrade: 101 after an echo, else that of the refusal. */
function upgrade(url, protocols = [], headers = {}) {
  return within(WAIT_MS, 'an answer', new Promise((resolve, reject) => {
    const socket = new WebSocket(url, protocols, { headers: { origin, ...headers } });
    socket.on('open', () => socket.send('grüße'));
    socket.on('message', (data) => {
      assert.equal(String(data), 'grüße');
      socket.terminate();
      resolve(101);
    });
    socket.on('unexpected-response', (request, response) => {
      request.destroy();
      resolve(response.statusCode);
    });
    socket.on('error', reject);
  }));
}

const PLACES = {
  header: (token) => upgrade(weir.url + '/', [], { authorization: `Bearer ${token}` }),
  cookie: (token) => upgrade(weir.url + '/', [], { cookie: `a=b; session=${token}` }),
  query: (token) => upgrade(`${weir.url}/?token=${token}`),
  protocol: (token) => upgrade(weir.url + '/', ['weir.token', `weir.token.${token}`]),
};

const LIBRARIES = {
  jose: (alg, header) => new jose.SignJWT(claims()).setProtectedHeader({ alg, ...header })
    .sign(HMACS.includes(alg) ? new TextEncoder().encode(SECRET) : pairOf(alg).privateKey),
  jsonwebtoken: (alg) => jsonwebtoken.sign(claims(), HMACS.includes(alg) ? SECRET : pairOf(alg).privateKey,
    { algorithm: alg }),
  PyJWT: (alg) => {
    const key = HMACS.includes(alg) ? SECRET : pem(pairOf(alg).privateKey);
    const input = JSON.stringify([{ alg, key, claims: claims() }]);
    return JSON.parse(execFileSync(process.env.PYTHON, ['-B', path.join(__dirname, 'pyjwt_tokens.py')], { input }))[0];
  },
};

for (const [library, make] of Object.entries(LIBRARIES)) {
  // jsonwebtoken has no EdDSA.
  for (const alg of ALL.filter((alg) => library !== 'jsonwebtoken' || alg !== 'EdDSA')) {
    test(`${library}: ${alg} in every place`, TIMEOUT, async () => {
      const token = await make(alg);
      for (const [place, connect] of Object.entries(PLACES)) {
        assert.equal(await connect(token), 101, place);
        const forged = `${token.slice(0, -6)}${token.slice(-6) === 'AAAAAA' ? 'BBBBBB' : 'AAAAAA'}`;
        assert.equal(await connect(forged), 401, `${place}, forged`);
      }
    });
  }
}

test('jose: Ed25519, the new name of EdDSA', TIMEOUT, async () => {
  assert.equal(await PLACES.header(await LIBRARIES.jose('Ed25519')), 101);
});

test('attacks of RFC 8725 are refused', TIMEOUT, async () => {
  const bytes = (text) => new TextEncoder().encode(text);
  const good = await LIBRARIES.jose('HS256');
  const hmac = (secret) => {
    const message = [{ alg: 'HS256' }, claims()].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'));
    return `${message.join('.')}.${createHmac('sha256', secret).update(message.join('.')).digest('base64url')}`;
  };
  const rsa = pem(KEYS.RS.publicKey);
  const { publicKey } = KEYS.ES256;
  const attacks = {
    'none, by jose': new jose.UnsecuredJWT(claims()).encode(),
    'none, by jsonwebtoken': jsonwebtoken.sign(claims(), null, { algorithm: 'none' }),
    'an RSA key as the secret': hmac(rsa),
    'an RSA key without its newline as the secret': hmac(rsa.trimEnd()),
    'an empty secret': hmac(''),
    'a weak secret': hmac('secret'),
    'PS256': await LIBRARIES.jose('PS256'),
    'a key of its own': await new jose.SignJWT(claims())
      .setProtectedHeader({ alg: 'ES256', jwk: await jose.exportJWK(publicKey), jku: `${origin}/`, kid: '../../dev/null' })
      .sign(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey),
    'crit': await new jose.CompactSign(bytes(JSON.stringify(claims())))
      .setProtectedHeader({ alg: 'HS256', crit: ['x'], x: 1 }).sign(bytes(SECRET), { crit: { x: true } }),
    'an unencoded payload': await new jose.FlattenedSign(bytes('x'))
      .setProtectedHeader({ alg: 'HS256', b64: false, crit: ['b64'] }).sign(bytes(SECRET))
      .then(({ protected: header, signature }) => `${header}..${signature}`),
    'no subject': await new jose.SignJWT({ exp: claims().exp }).setProtectedHeader({ alg: 'HS256' }).sign(bytes(SECRET)),
    'no end': await new jose.SignJWT({ sub: 'ann' }).setProtectedHeader({ alg: 'HS256' }).sign(bytes(SECRET)),
    'expired': jsonwebtoken.sign({ sub: 'ann' }, SECRET, { expiresIn: -60 }),
    'not yet valid': jsonwebtoken.sign(claims(), SECRET, { notBefore: 60 }),
    'an audience of others': jsonwebtoken.sign(claims(), SECRET, { audience: 'others' }),
    'an encrypted token': await new jose.EncryptJWT(claims()).setProtectedHeader({ alg: 'dir', enc: 'A256GCM' })
      .encrypt(randomBytes(32)),
    'a nested token': await new jose.CompactSign(bytes(good)).setProtectedHeader({ alg: 'HS256', cty: 'JWT' }).sign(bytes(SECRET)),
    'padding': `${good}=`,
  };
  for (const [what, token] of Object.entries(attacks)) {
    assert.equal(await PLACES.header(token), 401, what);
  }
  assert.equal(await PLACES.header(good), 101);
});

test('an audience that is set must be named', TIMEOUT, async () => {
  const chat = (options) => upgrade(`${weir.url}/chat`, [],
    { authorization: `Bearer ${jsonwebtoken.sign(claims(), SECRET, options)}` });
  assert.equal(await chat({ audience: ['other', 'chat'] }), 101);
  assert.equal(await chat({ audience: 'other' }), 401);
  assert.equal(await chat({}), 401);
});

test('Chromium: the token in a subprotocol, and the reason of a refusal', TIMEOUT, async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS, timeout: 30_000 });
  try {
    const tab = await browser.newPage();
    await tab.goto(`${origin}/`);
    const connect = (route, token) => tab.evaluate(([url, token]) => new Promise((resolve) => {
      const socket = new WebSocket(url, ['weir.token', `weir.token.${token}`]);
      socket.onopen = () => socket.send('grüße');
      socket.onmessage = ({ data }) => { resolve([socket.protocol, data]); socket.close(); };
      socket.onclose = ({ code, reason }) => resolve([code, reason]);
    }), [weir.url + route, token]);
    const user = await LIBRARIES.jose('EdDSA');
    const admin = jsonwebtoken.sign(claims({ role: ['user', 'admin'] }), SECRET);
    assert.deepEqual(await connect('/', user), ['weir.token', 'grüße']);
    assert.deepEqual(await connect('/', 'x'), [1006, '']);
    assert.deepEqual(await connect('/admins', admin), ['weir.token', 'grüße']);
    assert.equal((await connect('/admins', user))[0], 3003);
    assert.equal((await connect('/admins', 'x'))[0], 3000);
    // A page of another site gets nothing, not even with a valid token.
    await tab.goto(`${origin.replace('127.0.0.1', 'localhost')}/`);
    assert.deepEqual(await connect('/', user), [1006, '']);
  } finally {
    await browser.close();
  }
});

test('Chromium: the page sends a token, and shows why it was refused', TIMEOUT, async () => {
  const gate = await serve(`
    [[auth]]
    name = "users"
    kind = "jwt"
    algorithms = ["HS256"]
    secret_file = "secret"
    token_from = ["protocol"]
    claims = ["role"]
    [[route]]
    path = "/"
    service = "echo"
    page = true
    auth = "users"
    refuse = "close"
    [[route]]
    path = "/admins"
    service = "echo"
    auth = "users"
    require = ["role=admin"]
    refuse = "close"
    [[route]]
    path = "/hidden"
    service = "echo"
    auth = "users"`);
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS, timeout: 30_000 });
  try {
    const tab = await browser.newPage();
    tab.setDefaultTimeout(WAIT_MS);
    await tab.goto(`${gate.http}/`);
    const shows = (selector, text) => tab.locator(selector).filter({ hasText: text }).waitFor();
    const connect = async (route, token, state) => {
      await tab.fill('#echo-path', route);
      await tab.fill('#token', token);
      await tab.click('#echo-connect');
      await shows('#echo-state', state);
    };
    const user = jsonwebtoken.sign(claims(), SECRET);
    await connect('/', user, 'open');
    await tab.fill('#echo-input', 'grüße');
    await tab.click('#echo-send');
    await shows('#echo-log .got', 'grüße');
    await tab.click('#echo-close');
    await shows('#echo-state', 'closed 1000');
    await connect('/', 'x', 'closed 3000 unauthorized');
    await connect('/admins', user, 'closed 3003 forbidden');
    await connect('/', '', 'closed 3000 unauthorized');
    await connect('/hidden', 'x', 'browsers hide why');
    await connect('/admins', jsonwebtoken.sign(claims({ role: 'admin' }), SECRET), 'open');
    assert.ok(!(await tab.textContent('body')).includes(user), 'the page shows no token');
  } finally {
    await browser.close();
    assert.deepEqual(await gate.stop(), { code: 0, signal: null });
  }
});

test('a member of a room sends new tokens on its connection', TIMEOUT, async () => {
  const gate = await serve(`
    [[auth]]
    name = "members"
    kind = "jwt"
    algorithms = ["HS256"]
    secret_file = "secret"
    token_from = ["protocol"]
    claims = ["role"]
    leeway = "0s"
    [[route]]
    path = "/rooms/{name}"
    service = "rooms"
    auth = "members"
    join = "role=member"`);
  const token = (seconds, role = 'member') =>
    jsonwebtoken.sign({ sub: 'ann', sid: '1', role }, SECRET, { expiresIn: seconds });
  const join = (token, protocols) => within(WAIT_MS, 'a member', new Promise((resolve, reject) => {
    const socket = new WebSocket(`${gate.url}/rooms/lobby`, [...protocols, `weir.token.${token}`]);
    socket.received = [];
    socket.on('message', (data) => socket.received.push(String(data)));
    socket.ended = new Promise((resolve) => socket.on('close', (code, reason) => resolve([code, String(reason)])));
    socket.on('open', () => resolve(socket)).on('error', reject);
  }));
  const ended = (socket) => within(WAIT_MS, 'the end', socket.ended);
  try {
    const speaker = await join(token(5), ['weir.rooms', 'weir.token']);
    const silent = await join(token(5), ['weir.token']);
    const reader = await join(token(60), ['weir.token']);
    assert.deepEqual([speaker.protocol, silent.protocol], ['weir.rooms', 'weir.token']);
    speaker.send(JSON.stringify({ id: 'a-1', refresh: token(60) }));
    // One that is read together with the first would get `pending`.
    await until(WAIT_MS, 'the answer', () => speaker.received.length > 0);
    speaker.send(JSON.stringify({ refresh: 'forged', id: 'a-2' }));
    assert.deepEqual(await ended(silent), [3000, 'token expired']);
    speaker.send('still here');
    await until(WAIT_MS, 'the message', () => reader.received.length > 0);
    assert.deepEqual(reader.received, ['still here'], 'no member gets a token');
    assert.deepEqual(speaker.received.map((text) => JSON.parse(text)),
      [{ refreshed: true, id: 'a-1' }, { refreshed: false, id: 'a-2', reason: 'unauthorized' }]);
    speaker.send(JSON.stringify({ refresh: token(60, 'guest'), id: 'a-3' }));
    assert.deepEqual(await ended(speaker), [3003, 'not allowed in this room']);
    assert.equal(speaker.received.length, 2);
    assert.ok(!gate.log.includes(SECRET) && !/eyJ/.test(gate.log), gate.log);
    reader.terminate();
  } finally {
    assert.deepEqual(await gate.stop(), { code: 0, signal: null });
  }
});

/** A certificate for 127.0.0.1 and its authority, by openssl. */
async function certificates() {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  await run('openssl', ['req', '-x509', ...key, '-days', '2', '-subj', '/CN=weir tests',
    '-keyout', file('ca.key'), '-out', file('ca.pem')]);
  await run('openssl', ['req', ...key, '-subj', '/CN=keys', '-keyout', file('tls.key'), '-out', file('tls.csr')]);
  fs.writeFileSync(file('tls.ext'), 'subjectAltName=IP:127.0.0.1\n');
  await run('openssl', ['x509', '-req', '-in', file('tls.csr'), '-CA', file('ca.pem'), '-CAkey', file('ca.key'),
    '-CAcreateserial', '-days', '2', '-extfile', file('tls.ext'), '-out', file('tls.pem')]);
  return { key: fs.readFileSync(file('tls.key')), cert: fs.readFileSync(file('tls.pem')) };
}

test('keys rotate on an https server', TIMEOUT, async () => {
  let keys = [];
  let asked = 0;
  const server = await listening(https.createServer(await certificates(), (request, response) => {
    asked += 1;
    assert.equal(request.url, '/.well-known/jwks.json');
    response.setHeader('content-type', 'application/jwk-set+json');
    response.end(JSON.stringify({ keys }));
  }));
  const make = async (kid) => {
    const pair = await jose.generateKeyPair('RS256', { extractable: true });
    keys = [...keys, { ...(await jose.exportJWK(pair.publicKey)), kid, use: 'sig', alg: 'RS256' }];
    return (iss = 'https://id.example') => new jose.SignJWT(claims({ aud: 'weir', iss }))
      .setProtectedHeader({ alg: 'RS256', kid }).sign(pair.privateKey);
  };
  const old = await make('2026-01');
  const gate = await serve(`
    [[auth]]
    name = "idp"
    kind = "jwt"
    algorithms = ["RS256"]
    keys = "https://127.0.0.1:${server.address().port}/.well-known/jwks.json"
    ca = "ca.pem"
    audience = ["weir"]
    issuer = "https://id.example"
    [[route]]
    path = "/"
    service = "echo"
    auth = "idp"`);
  const connect = async (token) => upgrade(`${gate.url}/`, [], { authorization: `Bearer ${await token}` });
  const eventually = async (token) => {
    for (const end = Date.now() + 30_000; (await connect(token())) !== 101;) {
      assert.ok(Date.now() < end, 'not within 30 s');
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  };
  try {
    await eventually(old);
    assert.equal(asked, 1);
    const rotated = await make('2026-02');
    await eventually(rotated);
    assert.equal(asked, 2, 'one fetch for the new key');
    assert.equal(await connect(old()), 101);
    assert.equal(await connect(old('https://other.example')), 401);
  } finally {
    assert.deepEqual(await gate.stop(), { code: 0, signal: null });
    server.close();
  }
});

test('a hook as for auth_request of nginx', TIMEOUT, async () => {
  const seen = [];
  const sockets = new Set();
  const backend = await listening(http.createServer((request, response) => {
    seen.push(request);
    const session = /session=(\w*)/.exec(request.headers.cookie)?.[1];
    if (session === 'ann') return response.writeHead(204, { 'X-Weir-User': 'ann', 'X-Weir-Meta-Role': 'admin' }).end();
    if (session === 'slow') return undefined;
    if (session === 'broken') return response.writeHead(500).end('sorry');
    if (session === 'garbage') return request.socket.end('\x00\xff garbage\r\n\r\n');
    return response.writeHead(401, { 'WWW-Authenticate': 'Basic realm="login"' }).end();
  }));
  backend.on('connection', (socket) => sockets.add(socket));
  const gate = await serve(`
    [[auth]]
    name = "login"
    kind = "http"
    url = "http://127.0.0.1:${backend.address().port}/auth"
    timeout = "500ms"
    [[route]]
    path = "/"
    service = "echo"
    auth = "login"
    require = ["role=admin"]
    origins = ["${origin}"]`);
  const connect = (cookie) => upgrade(`${gate.url}/?a=b`, [], { cookie });
  try {
    assert.equal(await connect('session=ann'), 101);
    const [{ method, url, headers }] = seen;
    assert.deepEqual([method, url, headers['x-original-uri']], ['GET', '/auth', '/?a=b']);
    assert.equal(headers.origin, origin);
    assert.ok(!('upgrade' in headers) && !('sec-websocket-key' in headers));
    assert.equal(await connect('session=nobody'), 401);
    for (const session of ['slow', 'broken', 'garbage']) {
      assert.equal(await connect(`session=${session}`), 503, session);
    }
    assert.equal(await connect('session=ann'), 101, 'the failures have not opened the breaker');
    backend.close();
    sockets.forEach((socket) => socket.destroy());
    assert.equal(await connect('session=ann'), 503, 'dead');
  } finally {
    assert.deepEqual(await gate.stop(), { code: 0, signal: null });
    backend.close();
    sockets.forEach((socket) => socket.destroy());
  }
});
