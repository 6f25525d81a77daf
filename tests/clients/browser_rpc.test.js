'use strict';
// A chain node, headless Chromium and Node's fetch: pages of other origins, DNS rebinding, chunked bodies.

const { before, after, test } = require('node:test');
const assert = require('node:assert/strict');
const http = require('node:http');
const { execFile } = require('node:child_process');
const { once } = require('node:events');
const { promisify } = require('node:util');
const { chromium } = require('playwright-core');
const { Node } = require('./node.js');

const TIMEOUT = { timeout: 60_000 };
const CALL = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'eth_chainId' });
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
  // A name that resolves to this machine, as after DNS rebinding.
  '--host-resolver-rules=MAP rebound.test 127.0.0.1'];
let pages;
let node;
let browser;

before(async () => {
  pages = http.createServer((_, response) => response.setHeader('Content-Type', 'text/html').end('<p>page'));
  pages.listen(0, '127.0.0.1');
  await once(pages, 'listening');
  const { port } = pages.address();
  node = await Node.start('--block-time', 'off', '--rpc-origins', `http://localhost:${port}`);
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS, timeout: 30_000 });
});
after(async () => {
  await browser?.close();
  pages.close();
  assert.deepEqual(await node.stop(), { code: 0, signal: null });
});

/** The outcome of a call by POST and one by WebSocket from a page at `url`: a result or an error. */
async function callFrom(url, headers = { 'Content-Type': 'application/json' }) {
  const tab = await browser.newPage();
  try {
    await tab.goto(url);
    return await tab.evaluate(async ({ target, body, headers }) => {
      const post = fetch(target, { method: 'POST', headers, body })
        .then(async (response) => (response.ok ? (await response.json()).result : response.status), () => 'failed');
      const socket = new Promise((resolve) => {
        const opened = new WebSocket(target.replace('http', 'ws'));
        opened.onopen = () => resolve('open');
        opened.onerror = () => resolve('failed');
      });
      return Promise.all([post, socket]);
    }, { target: `${node.http}/`, body: CALL, headers });
  } finally {
    await tab.close();
  }
}

test('a page of a listed origin calls the node, another page does not', TIMEOUT, async () => {
  const { port } = pages.address();
  assert.deepEqual(await callFrom(`http://localhost:${port}/`), ['0x849', 'open']);
  // A media type that needs no preflight request is refused, and the page may read the error.
  assert.deepEqual(await callFrom(`http://localhost:${port}/`, { 'Content-Type': 'text/plain' }), [415, 'open']);
  assert.deepEqual(await callFrom(`http://127.0.0.1:${port}/`), ['failed', 'failed']);
});

test('a page that rebinds its name does not reach the node', TIMEOUT, async () => {
  const { port } = new URL(node.http);
  const tab = await browser.newPage();
  const response = await tab.goto(`http://rebound.test:${port}/`);
  assert.equal(response.status(), 403);
  const status = await tab.evaluate(async (body) => {
    const headers = { 'Content-Type': 'application/json' };
    return (await fetch('/', { method: 'POST', headers, body })).status;
  }, CALL);
  assert.equal(status, 403);
  await tab.close();
});

test('chunked bodies of fetch and curl are accepted', TIMEOUT, async () => {
  const body = new ReadableStream({
    start(controller) {
      for (const char of CALL) controller.enqueue(new TextEncoder().encode(char));
      controller.close();
    },
  });
  const headers = { 'Content-Type': 'application/json' };
  const response = await fetch(node.http, { method: 'POST', headers, body, duplex: 'half' });
  assert.equal((await response.json()).result, '0x849');
  const { stdout } = await promisify(execFile)('curl', ['--silent', '--max-time', '10', '--data', CALL,
    '--header', 'Content-Type: application/json', '--header', 'Transfer-Encoding: chunked', `${node.http}/`]);
  assert.equal(JSON.parse(stdout).result, '0x849');
});
