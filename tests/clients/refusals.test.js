'use strict';
// What scripts in Chromium and in Firefox learn of a refused upgrade, and of a connection whose identity has
// ended.

const { before, after, test } = require('node:test');
const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { chromium } = require('playwright-core');
const { Weir, within } = require('./weir.js');

const TIMEOUT = { timeout: 60_000 };
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'];
let hook;
let folder;
let weir;
let browser;
let page;

/** Decides by the query of the request: `?401` is refused so, `?user=NAME` passes, `?user=NAME&expires=1` for a second. */
function decide(request, response) {
  const query = new URL(request.headers['x-original-uri'], 'http://a').searchParams;
  const status = [...query.keys()].map(Number).find((number) => number > 0);
  if (status) return response.writeHead(status).end();
  response.setHeader('X-Weir-User', query.get('user') ?? 'anybody');
  if (query.has('expires')) response.setHeader('X-Weir-Expires', query.get('expires'));
  response.writeHead(200).end();
}

before(async () => {
  hook = http.createServer(decide);
  await new Promise((resolve) => hook.listen(0, '127.0.0.1', resolve));
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'weir-refusals-'));
  const file = path.join(folder, 'weir.toml');
  const route = (name, keys) => `[[route]]\npath = "/${name}"\nservice = "echo"\n${keys}\n`;
  fs.writeFileSync(file, `
admin = "127.0.0.1:0"
[[auth]]
name = "users"
kind = "http"
url = "http://127.0.0.1:${hook.address().port}/"
headers = ["authorization"]
connections_per_subject = 1
${route('', 'page = true')}
${route('http', 'auth = "users"')}
${route('close', 'auth = "users"\nrefuse = "close"')}
${route('rated', 'requests_per_address = "1/h burst 1"\nrefuse = "close"')}
${route('required', 'auth = "users"\nrequire = ["role=admin"]\nrefuse = "close"')}
[[route]]
path = "/rooms/{name}"
service = "rooms"
refuse = "close"
`);
  weir = await Weir.start('--config', file);
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS, timeout: 30_000 });
  page = await browser.newPage();
  await page.goto(`${weir.http}/`);
});
after(async () => {
  await browser?.close();
  assert.deepEqual(await weir.stop(), { code: 0, signal: null });
  hook.close();
  fs.rmSync(folder, { recursive: true });
});

/** Opens a WebSocket in the page; resolves with what it tells the script when it has ended. */
function ended(target, protocols = []) {
  return page.evaluate(([url, protocols]) => new Promise((resolve) => {
    const socket = new WebSocket(url, protocols);
    let opened = false;
    socket.onopen = () => (opened = true);
    socket.onclose = ({ code, reason }) => resolve({ opened, code, reason });
  }), [`${weir.url}${target}`, protocols]);
}

/** Opens a WebSocket in the page, and keeps it under this name; resolves when it is open. */
function open(name, target) {
  return page.evaluate(([name, url]) => new Promise((resolve, reject) => {
    const socket = (window[name] = new WebSocket(url));
    window[`${name}Ended`] = new Promise((done) => {
      socket.onclose = ({ code, reason }) => done({ code, reason });
    });
    socket.onopen = () => resolve();
    socket.onerror = () => reject(new Error('not opened'));
  }), [name, `${weir.url}${target}`]);
}

test('refusals by an HTTP status are hidden from scripts', TIMEOUT, async () => {
  for (const target of ['/http?401', '/http?403', '/http?404', '/http?429', '/http?500', '/nowhere']) {
    assert.deepEqual(await ended(target), { opened: false, code: 1006, reason: '' }, target);
  }
});

test('refusals by a Close show their code and reason', TIMEOUT, async () => {
  const cases = {
    '/close?401': [3000, /^unauthorized$/],
    '/close?403': [3003, /^forbidden$/],
    '/close?404': [3003, /^no such path$/],
    '/close?429': [1013, /^too many requests/],
    '/close?500': [1013, /^service unavailable, retry in \d+ s$/],
    '/required': [3003, /^forbidden$/],
    [`/rooms/${'x'.repeat(129)}`]: [3003, /^a room's name has 1 to 128 bytes$/],
  };
  for (const [target, [code, reason]] of Object.entries(cases)) {
    const end = await ended(target);
    assert.equal(end.code, code, `${target}: ${JSON.stringify(end)}`);
    assert.match(end.reason, reason, target);
  }
  await open('rated', '/rated');
  const limited = await ended('/rated');
  assert.equal(limited.code, 1013);
  assert.match(limited.reason, /^too many requests, retry in \d+ s$/);
});

test('a subject that has too many connections gets 1013', TIMEOUT, async () => {
  await open('first', '/close?user=ann');
  const end = await ended('/close?user=ann');
  assert.equal(end.code, 1013, JSON.stringify(end));
  assert.match(end.reason, /^too many requests/);
  await page.evaluate(() => window.first.close());
});

test('a page that offers subprotocols gets one, also if it is refused', TIMEOUT, async () => {
  for (const protocols of [['chat'], ['weir.token', 'weir.token.abc'], ['weir.token.abc', 'chat']]) {
    const end = await ended('/close?401', protocols);
    assert.deepEqual(end, { opened: true, code: 3000, reason: 'unauthorized' }, protocols.join());
  }
});

test('expiry and sign-out show their code and reason', TIMEOUT, async () => {
  const end = await ended('/http?user=bob&expires=1');
  assert.deepEqual(end, { opened: true, code: 3000, reason: 'token expired' });
  await open('signed', '/http?user=carl');
  const response = await fetch(`${weir.admin}/auth/users/users/carl`, { method: 'DELETE' });
  assert.deepEqual([response.status, await response.json()], [202, { closed: 1 }]);
  assert.deepEqual(await page.evaluate(() => window.signedEnded), { code: 3003, reason: 'signed out' });
});

test('a page of another site cannot sign anyone out', TIMEOUT, async () => {
  await open('kept', '/http?user=dan');
  const outcome = await page.evaluate((url) => fetch(url, { method: 'DELETE', mode: 'cors' }).then(
    (response) => response.status, (error) => error.name), `${weir.admin}/auth/users/users/dan`);
  assert.equal(outcome, 'TypeError', 'the preflight request is refused');
  assert.equal(await page.evaluate(() => window.kept.readyState), 1);
  await page.evaluate(() => window.kept.close());
});

/** Runs in a page: opens each WebSocket, and sends what its script learns to the server of the page. */
const REPORT = `
  const ended = ([url, protocols]) => new Promise((resolve) => {
    new WebSocket(url, protocols).onclose = ({ code, reason }) => resolve({ code, reason });
  });
  const sockets = JSON.parse(document.body.dataset.sockets);
  const report = (ends) => fetch('/', { method: 'POST', body: JSON.stringify(ends) });
  (async () => {
    const ends = [];
    for (const socket of sockets) ends.push(await ended(socket));
    await report(ends);
  })();`;

test('Firefox shows the same codes', TIMEOUT, async () => {
  const token = ['weir.token', 'weir.token.abc'];
  const cases = [['/close?401', 3000], ['/close?403', 3003], ['/close?429', 1013], ['/close?500', 1013],
    ['/close?401', 3000, token], ['/http?401', 1006], ['/http?401', 1006, token], ['/http?user=eve&expires=1', 3000],
    ['/http?user=eve&expires=1', 3000, token]];
  const sockets = cases.map(([target, , protocols = []]) => [weir.url + target, protocols]);
  const server = http.createServer();
  const reported = new Promise((resolve) => server.on('request', async (request, response) => {
    if (request.method === 'POST') {
      let body = '';
      for await (const part of request) body += part;
      response.end();
      return resolve(JSON.parse(body));
    }
    const data = JSON.stringify(sockets).replaceAll('&', '&amp;').replaceAll('"', '&quot;');
    response.setHeader('Content-Type', 'text/html');
    response.end(`<!doctype html><body data-sockets="${data}"><script>${REPORT}</script>`);
  }));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const profile = path.join(folder, 'firefox');
  fs.mkdirSync(profile);
  const address = `http://127.0.0.1:${server.address().port}/`;
  const running = spawn(process.env.FIREFOX, ['--headless', '--no-remote', '--profile', profile, address],
    { stdio: 'ignore', env: { ...process.env, HOME: folder } });
  const exited = new Promise((resolve) => running.once('exit', resolve));
  try {
    const ends = await within(50_000, 'the report of Firefox', reported);
    assert.deepEqual(ends.map(({ code }) => code), cases.map(([, code]) => code));
    assert.equal(ends[0].reason, 'unauthorized');
  } finally {
    running.kill('SIGKILL');
    await exited;
    server.closeAllConnections();
    server.close();
  }
});
