'use strict';
// A short set of tests with further clients: undici, Node's WebSocket, and two of Python.

const { before, after, test } = require('node:test');
const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const path = require('node:path');
const { promisify } = require('node:util');
const undici = require('undici');
const { Weir, within } = require('./weir.js');

const TIMEOUT = { timeout: 30_000 };
const MESSAGE_MAX = 1024 * 1024;
let weir;

before(async () => (weir = await Weir.start('--deflate', 'off')));
after(async () => assert.deepEqual(await weir.stop(), { code: 0, signal: null }));

const event = (socket, name) =>
  within(10_000, name, new Promise((resolve) => socket.addEventListener(name, resolve, { once: true })));

/** The set for each class with the WebSocket interface of browsers. */
function cases(name, WebSocket) {
  async function open() {
    const socket = new WebSocket(`${weir.url}/`);
    socket.binaryType = 'arraybuffer';
    await event(socket, 'open');
    assert.equal(socket.extensions, '');
    return socket;
  }

  test(`${name}: text and binary are echoed, the close is clean`, TIMEOUT, async () => {
    const socket = await open();
    for (const text of ['grüße 👋', '']) {
      socket.send(text);
      assert.equal((await event(socket, 'message')).data, text);
    }
    const bytes = new Uint8Array(200_000).map((_, i) => i);
    socket.send(bytes);
    assert.deepEqual(new Uint8Array((await event(socket, 'message')).data), bytes);
    socket.close(4001, 'done');
    const { code, reason, wasClean } = await event(socket, 'close');
    assert.deepEqual({ code, reason, wasClean }, { code: 4001, reason: 'done', wasClean: true });
  });

  test(`${name}: close without a code`, TIMEOUT, async () => {
    const socket = await open();
    socket.close();
    const { code, wasClean } = await event(socket, 'close');
    assert.deepEqual({ code, wasClean }, { code: 1005, wasClean: true });
  });

  test(`${name}: a message too large`, TIMEOUT, async () => {
    const socket = await open();
    socket.send(new Uint8Array(MESSAGE_MAX + 1024));
    assert.equal((await event(socket, 'close')).code, 1009);
  });
}

cases('undici', undici.WebSocket);
if (globalThis.WebSocket) cases('Node', globalThis.WebSocket);

for (const library of ['websockets', 'aiohttp']) {
  for (const what of ['echo', 'ping', 'close', 'too_large']) {
    test(`Python ${library}: ${what}`, TIMEOUT, async () => {
      const script = path.join(__dirname, 'python_client.py');
      await promisify(execFile)(process.env.PYTHON, ['-B', script, library, what, `${weir.url}/`]);
    });
  }
}
