'use strict';
// Headless Chromium: the try-it page through its own controls, and in-page JavaScript.

const { before, after, beforeEach, afterEach, test } = require('node:test');
const assert = require('node:assert/strict');
const { chromium } = require('playwright-core');
const { Weir } = require('./weir.js');

const TIMEOUT = { timeout: 60_000 };
const WAIT_MS = 10_000;
const TEXT = 'grüße 👩‍👩‍👧 e\u0301 𝔘';
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'];
let weir;
let browser;
let context;
let errors;

before(async () => {
  weir = await Weir.start();
  // Each launch gets a profile folder of its own, removed afterwards.
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS, timeout: 30_000 });
});
after(async () => {
  await browser?.close();
  assert.deepEqual(await weir.stop(), { code: 0, signal: null });
});

beforeEach(async () => {
  errors = [];
  context = await browser.newContext();
  context.setDefaultTimeout(WAIT_MS);
});
afterEach(async () => {
  await context.close();
  assert.deepEqual(errors, [], 'nothing in the console');
});

/** Opens the try-it page in a new tab; `tab.received` collects the messages of its WebSockets. */
async function openTab() {
  const tab = await context.newPage();
  tab.received = [];
  tab.on('console', (line) => line.type() === 'error' && errors.push(line.text()));
  tab.on('pageerror', (error) => errors.push(String(error)));
  tab.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => tab.received.push(payload)));
  const response = await tab.goto(`${weir.http}/`);
  assert.equal(response.status(), 200);
  return tab;
}

/** Resolves when the element `selector` of `tab` shows `text`. */
const shows = (tab, selector, text) => tab.locator(selector).filter({ hasText: text }).waitFor();

test('page: echo', TIMEOUT, async () => {
  const tab = await openTab();
  await tab.fill('#echo-input', TEXT);
  await tab.click('#echo-send');
  await shows(tab, '#echo-log .got', TEXT);
  await shows(tab, '#echo-state', 'open');
  assert.deepEqual(tab.received, [TEXT]);
});

test('page: a room with two tabs, and its number of members', TIMEOUT, async () => {
  const tabs = [await openTab(), await openTab()];
  for (const tab of tabs) {
    await tab.fill('#room-name', 'browsers');
    await tab.click('#room-join');
    await shows(tab, '#room-state', 'open');
    await shows(tab, '#room-presence', String(tabs.indexOf(tab) + 1));
  }
  const [a, b] = tabs;
  await shows(a, '#room-presence', '2');
  await a.fill('#room-input', TEXT);
  await a.click('#room-send');
  await shows(b, '#room-log .got', TEXT);
  assert.ok(b.received.includes(TEXT));
  await b.fill('#room-input', 'answer');
  await b.click('#room-send');
  await shows(a, '#room-log .got', 'answer');
  await b.close();
  await shows(a, '#room-presence', '1');
});

/** Runs `body(socket, event)` in the page, with an open WebSocket; `event(name)` awaits one event. */
async function inPage(body) {
  const tab = await openTab();
  return tab.evaluate(`(async () => {
    const socket = new WebSocket('${weir.url}/');
    socket.binaryType = 'arraybuffer';
    const event = (name) => new Promise((resolve, reject) => {
      socket.addEventListener(name, resolve, { once: true });
      setTimeout(() => reject(new Error('no ' + name)), ${WAIT_MS});
    });
    await event('open');
    return (${body})(socket, event);
  })()`);
}

test('script: 200 kB of binary and empty messages come back', TIMEOUT, async () => {
  const same = await inPage(async (socket, event) => {
    const bytes = new Uint8Array(200_000).map((_, i) => i * 7);
    socket.send(bytes);
    const echo = new Uint8Array((await event('message')).data);
    socket.send('');
    const text = (await event('message')).data;
    socket.send(new Uint8Array(0));
    const binary = (await event('message')).data;
    socket.close();
    return [echo.length === bytes.length && echo.every((byte, i) => byte === bytes[i]), text, binary.byteLength];
  });
  assert.deepEqual(same, [true, '', 0]);
});

for (const [name, code, body] of [
  ['close 1000', 1000, (socket) => socket.close(1000, 'done')],
  ['close 4001', 4001, (socket) => socket.close(4001, 'done')],
  ['close without a code', 1005, (socket) => socket.close()],
  ['a message too large', 1009, (socket) => socket.send(new Uint8Array(1024 * 1024 + 1024))],
]) {
  test(`script: ${name} ends cleanly with ${code}`, TIMEOUT, async () => {
    const end = await inPage(`async (socket, event) => {
      (${body})(socket);
      const { code, wasClean } = await event('close');
      return { code, wasClean };
    }`);
    assert.deepEqual(end, { code, wasClean: true });
  });
}
