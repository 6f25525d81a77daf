'use strict';
// Clients that reconnect: the one of the guide's page `operating`, and the try-it page in headless Chromium. The
// server is npm `ws`; it ends each connection as a test says.

const { before, after, beforeEach, test } = require('node:test');
const assert = require('node:assert/strict');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { WebSocketServer } = require('ws');
const { chromium } = require('playwright-core');
const { Weir, within, until } = require('./weir.js');

const TIMEOUT = { timeout: 60_000 };
const WAIT_MS = 10_000;
const MINUTE = 60_000;
/** The server refuses this path. */
const REFUSED = '/refused';
const GUIDE = path.join(__dirname, '../../src/guide/operating.md');
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'];
let page;
let server;
let sockets;
let address;

before(async () => {
  const weir = await Weir.start();
  page = await (await fetch(`${weir.http}/`)).text();
  assert.deepEqual(await weir.stop(), { code: 0, signal: null });
  server = http.createServer((request, response) => {
    response.setHeader('Content-Type', 'text/html; charset=utf-8');
    response.end(page);
  });
  const verifyClient = ({ req }) => req.url !== REFUSED;
  new WebSocketServer({ server, verifyClient }).on('connection', (socket, request) => {
    socket.offers = request.headers['sec-websocket-protocol'];
    socket.texts = [];
    socket.on('message', (data) => socket.texts.push(data.toString()));
    sockets.push(socket);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  address = `127.0.0.1:${server.address().port}`;
});
after(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => (sockets = []));

/** The next connection that the server accepts, after `count` others. */
async function accepted(count) {
  await until(WAIT_MS, `connection ${count + 1}`, () => sockets.length > count);
  assert.equal(sockets.length, count + 1, 'one connection at a time');
  return sockets[count];
}

/** Ends a connection with this close code; 1006 is an end without a Close. */
const end = (socket, code) => (code === 1006 ? socket.terminate() : socket.close(code));

/** Runs the guide's client. Its timers wait in `timers` until a test runs them; each random number is 0.5. */
function guideClient() {
  const blocks = fs.readFileSync(GUIDE, 'utf8').split('```js\n').slice(1);
  assert.equal(blocks.length, 1, 'one client in the guide');
  const [source] = blocks[0].split('```');
  assert.ok(source.trimEnd().split('\n').length <= 10, 'ten lines');
  const timers = [];
  const opened = [];
  class Recorded extends WebSocket {
    constructor(url) {
      super(url);
      opened.push(this);
    }
  }
  const setTimeout = (run, delay, ...args) => timers.push({ delay, run: () => run(...args) });
  const math = { min: Math.min, random: () => 0.5 };
  const connect = new Function('WebSocket', 'setTimeout', 'Math', `${source}; return connect;`)(
    Recorded, setTimeout, math);
  /** The delay of the timer that starts the next connection; it is the last one of its connection. */
  const retry = async (count) => {
    await until(WAIT_MS, `timer ${count}`, () => timers.length >= count);
    return timers[count - 1];
  };
  return { connect, timers, retry, opened };
}

test('guide: the delay doubles up to a minute, and 1012 is at once with jitter', TIMEOUT, async () => {
  const { connect, timers, retry } = guideClient();
  const delays = [[1012, 500], [1006, 1000], [1013, 2000], [1012, 500], [1001, 4000], [1006, 8000], [1013, 16_000],
    [1006, 30_000], [1006, 30_000], [1012, 500]];
  const messages = [];
  connect(`ws://${address}/`, ({ data }) => messages.push(data));
  for (const [index, [code, delay]] of delays.entries()) {
    const socket = await accepted(index);
    socket.send(`${index}`);
    await until(WAIT_MS, 'message', () => messages.length === index + 1);
    end(socket, code);
    // Each connection has two timers: one from its opening, one from its end.
    const timer = await retry(2 * index + 2);
    assert.equal(timer.delay, delay, `after ${code}`);
    timer.run();
  }
  assert.deepEqual(messages, delays.map((_, index) => `${index}`));
  (await accepted(delays.length)).close(1000);
  await until(WAIT_MS, 'opening', () => timers.length === 2 * delays.length + 1);
});

test('guide: a minute open ends the row of failures', TIMEOUT, async () => {
  const { connect, timers, retry } = guideClient();
  connect(`ws://${address}/`, () => {});
  end(await accepted(0), 1013);
  const first = await retry(2);
  assert.equal(first.delay, 1000);
  first.run();
  const socket = await accepted(1);
  await until(WAIT_MS, 'opening', () => timers.length === 3);
  assert.equal(timers[2].delay, MINUTE);
  timers[2].run();
  end(socket, 1013);
  const second = await retry(4);
  assert.equal(second.delay, 1000);
  second.run();
  (await accepted(2)).close(1000);
});

for (const code of [1000, 1008, 3000, 3003]) {
  test(`guide: ${code} is final`, TIMEOUT, async () => {
    const { connect, timers, opened } = guideClient();
    connect(`ws://${address}/`, () => {});
    const closed = once(opened[0], 'close');
    end(await accepted(0), code);
    const [event] = await within(WAIT_MS, 'close', closed);
    assert.equal(event.code, code);
    assert.deepEqual(timers.map(({ delay }) => delay), [MINUTE], 'no timer but that of the opening');
    assert.equal(sockets.length, 1);
  });
}

/** Runs `body(tab, shows)` with the try-it page in a browser; each random number there is 0.1. */
async function inBrowser(body) {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS, timeout: 30_000 });
  try {
    const tab = await browser.newPage();
    tab.setDefaultTimeout(WAIT_MS);
    const errors = [];
    tab.on('pageerror', (error) => errors.push(String(error)));
    await tab.addInitScript(() => { Math.random = () => 0.1; });
    await tab.clock.install();
    await tab.goto(`http://${address}/`);
    await body(tab, (selector, text) => tab.locator(selector).filter({ hasText: text }).first().waitFor());
    assert.deepEqual(errors, []);
  } finally {
    await browser.close();
  }
}

test('page: reconnects with backoff, and after 1012 with jitter only', TIMEOUT, () => inBrowser(async (tab, shows) => {
  const ends = [[1012, '0.1'], [1013, '0.2'], [1006, '0.4'], [1012, '0.1'], [1013, '0.2']];
  for (const [index, [code, wait]] of ends.entries()) {
    const socket = await accepted(index);
    await shows('#echo-state', 'open');
    // A minute without an end: the row of failures starts again.
    if (index === ends.length - 1) await tab.clock.fastForward(MINUTE);
    end(socket, code);
    await until(WAIT_MS, 'reconnect', () => sockets.length > index + 1);
    const lines = await tab.locator('#echo-log li span').allTextContents();
    const closed = lines.filter((line) => line.startsWith('closed'));
    assert.match(closed[index], new RegExp(`^closed ${code}.*, reconnecting in ${wait} s$`));
  }
}));

test('page: its own Close, 1000 and 1008 are final, and a wait can be ended', TIMEOUT, () => inBrowser(async (tab, shows) => {
  end(await accepted(0), 1008);
  await shows('#echo-state', /^closed 1008$/);
  await tab.click('#echo-connect');
  end(await accepted(1), 1000);
  await shows('#echo-state', /^closed 1000$/);
  await tab.click('#echo-connect');
  await accepted(2);
  await shows('#echo-state', 'open');
  await tab.fill('#echo-code', '4001');
  await tab.click('#echo-close');
  await shows('#echo-state', /^closed 4001$/);
  // With its clock stopped the page stays between two connections.
  await tab.clock.pauseAt(Date.now() + MINUTE);
  await tab.click('#echo-connect');
  end(await accepted(3), 1013);
  await shows('#echo-state', 'reconnecting in 0.2 s');
  await tab.click('#echo-close');
  await shows('#echo-state', 'not connected');
  await tab.clock.runFor(MINUTE);
  // Sending text ends the wait, too.
  await tab.click('#echo-connect');
  end(await accepted(4), 1013);
  await shows('#echo-state', 'reconnecting in 0.4 s');
  await tab.fill('#echo-input', 'now');
  await tab.click('#echo-send');
  const socket = await accepted(5);
  await until(WAIT_MS, 'text', () => socket.texts.length === 1);
  assert.deepEqual(socket.texts, ['now']);
}));

test('page: a token is a subprotocol, and a refusal of it is final', TIMEOUT, () => inBrowser(async (tab, shows) => {
  assert.equal((await accepted(0)).protocol, '');
  await tab.click('#echo-close');
  await shows('#echo-state', /^closed 1000$/);
  for (const [index, [code, reason]] of [[3000, 'unauthorized'], [3003, 'forbidden']].entries()) {
    await tab.fill('#token', 'eyJhbGciOiJIUzI1NiJ9.e30.c2ln');
    await tab.click('#echo-connect');
    const socket = await accepted(index + 1);
    assert.equal(socket.protocol, 'weir.token');
    assert.equal(socket.offers, 'weir.token, weir.token.eyJhbGciOiJIUzI1NiJ9.e30.c2ln');
    socket.close(code, reason);
    await shows('#echo-state', new RegExp(`^closed ${code} ${reason}$`));
  }
  await tab.clock.runFor(MINUTE);
  assert.equal(sockets.length, 3);
}));

test('page: a first connection that fails is not repeated', TIMEOUT, () => inBrowser(async (tab, shows) => {
  await accepted(0);
  await shows('#echo-state', 'open');
  await tab.click('#echo-close');
  await shows('#echo-state', /^closed 1000$/);
  await tab.fill('#echo-path', REFUSED);
  await tab.click('#echo-connect');
  await shows('#echo-state', /^closed 1006 \(not cleanly\): unreachable, or refused/);
}));
