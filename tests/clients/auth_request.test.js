'use strict';
// One backend of auth_request, unchanged: behind nginx, and as the hook of weir. Both admit and refuse the
// same clients, and weir adds the headers of ForwardAuth and the trace.

const { before, after, test } = require('node:test');
const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const WebSocket = require('ws');
const { authRequestBackend } = require('./auth_request_backend.js');
const { nginx } = require('./debian_proxies.js');
const { Weir, within } = require('./weir.js');

const TIMEOUT = { timeout: 60_000 };
const PARENT = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
/** What the hook must not get: it belongs to the client's connection and upgrade. */
const ABSENT = ['upgrade', 'connection', 'sec-websocket-key', 'sec-websocket-version', 'sec-websocket-protocol',
  'sec-websocket-extensions', 'keep-alive', 'transfer-encoding', 'content-length'];

let backend;
let directory;
let plain;
let gated;

before(async () => {
  backend = await authRequestBackend();
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weir-auth-request-'));
  const config = path.join(directory, 'weir.toml');
  fs.writeFileSync(config, `
    levels = false
    trace = true
    [[auth]]
    name = "login"
    kind = "http"
    url = "http://127.0.0.1:${backend.port}/auth"
    [[route]]
    path = "/*"
    service = "echo"
    auth = "login"
    origins = ["http://page.example"]`);
  gated = await Weir.start('--config', config);
  plain = await Weir.start('--origins', 'http://page.example');
});

after(async () => {
  for (const weir of [gated, plain]) assert.deepEqual(await weir.stop(), { code: 0, signal: null });
  backend.close();
  fs.rmSync(directory, { recursive: true });
});

/** The status of an upgrade, and its challenge: 101 after an echo, else that of the refusal. */
function upgrade(url, headers) {
  return within(10_000, 'an answer', new Promise((resolve, reject) => {
    const socket = new WebSocket(url, ['chat'], { headers: { origin: 'http://page.example', ...headers } });
    // The echo selects no subprotocol, which `ws` takes for an error after the 101.
    socket.on('upgrade', () => {
      socket.terminate();
      resolve({ status: 101, challenge: undefined });
    });
    socket.on('unexpected-response', (request, response) => {
      request.destroy();
      resolve({ status: response.statusCode, challenge: response.headers['www-authenticate'] });
    });
    socket.on('error', reject);
  }));
}

const CLIENTS = [
  ['session=s1', '/?a=b%20c', 101],
  ['a=b; session=s2', '/', 101],
  ['session=s2', '/admin', 403],
  ['session=s1', '/admin', 101],
  ['session=other', '/', 401],
  ['', '/', 401],
];

/** What the backend has seen of one upgrade, and the answer to the client. */
async function ask(url, headers) {
  backend.seen.length = 0;
  const answer = await upgrade(url, headers);
  assert.equal(backend.seen.length, 1);
  return { answer, request: backend.seen[0] };
}

test('a backend of auth_request behind nginx works unchanged as a hook', TIMEOUT, async () => {
  const location = `; location = /auth {
    internal; proxy_pass http://127.0.0.1:${backend.port}/auth;
    proxy_pass_request_body off; proxy_set_header Content-Length "";
    proxy_set_header X-Original-URI $request_uri;
  } client_max_body_size 1m`;
  await nginx(plain.http, 'auth_request /auth; proxy_set_header Host $host;', async (port) => {
    for (const [cookie, uri, status] of CLIENTS) {
      const both = [];
      for (const origin of [`ws://127.0.0.1:${port}`, gated.url]) {
        const { answer, request } = await ask(origin + uri, { cookie });
        const { 'x-original-uri': original, cookie: passed, origin: page } = request.headers;
        both.push({ method: request.method, url: request.url, original, passed, page, ...answer });
      }
      const [byNginx, byWeir] = both;
      // Behind nginx the echo has one path, and answers 404 to others.
      const expected = status === 101 && uri === '/admin' ? 404 : status;
      assert.deepEqual([byNginx.status, byWeir.status], [expected, status], `${cookie} ${uri}`);
      assert.deepEqual({ ...byWeir, status: 0 }, { ...byNginx, status: 0 }, `${cookie} ${uri}`);
    }
  }, location);
});

test('a hook gets the headers of auth_request and ForwardAuth, and none of the upgrade', TIMEOUT, async () => {
  const host = new URL(gated.http).host;
  const { answer, request } = await ask(`${gated.url}/feed/1?a=b`, {
    cookie: 'session=s1', authorization: 'Bearer x', 'x-forwarded-for': '192.0.2.1', 'x-original-uri': '/admin',
    'x-weir-user': 'bob', 'keep-alive': 'timeout=5',
  });
  assert.equal(answer.status, 101);
  const { headers } = request;
  const expected = {
    authorization: 'Bearer x',
    cookie: 'session=s1',
    origin: 'http://page.example',
    'x-original-uri': '/feed/1?a=b',
    'x-original-url': `http://${host}/feed/1?a=b`,
    'x-original-method': 'GET',
    'x-forwarded-uri': '/feed/1?a=b',
    'x-forwarded-method': 'GET',
    'x-forwarded-for': '127.0.0.1',
    'x-forwarded-proto': 'http',
    'x-forwarded-host': host,
    host: `127.0.0.1:${backend.port}`,
  };
  for (const [name, value] of Object.entries(expected)) assert.equal(headers[name], value, name);
  for (const name of ABSENT) assert.ok(!(name in headers), `${name}: ${headers[name]}`);
  assert.ok(!('x-weir-user' in headers));
});

test('a hook gets the trace of the client, or a new one', TIMEOUT, async () => {
  const trace = async (headers) => {
    const { request } = await ask(`${gated.url}/`, { cookie: 'session=s1', ...headers });
    return request.headers.traceparent;
  };
  assert.equal(await trace({ traceparent: PARENT }), PARENT, 'kept');
  const created = [await trace({}), await trace({ traceparent: 'malformed' })];
  for (const value of created) {
    assert.match(value, /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-00$/, 'created, and not sampled');
  }
  assert.notEqual(created[0], created[1]);
});
