'use strict';
// Rates of messages with npm `ws` and Python's `websockets`. RATE_SECONDS=60 is the length of the flood (3).

const { test } = require('node:test');
const assert = require('node:assert/strict');
const path = require('node:path');
const { execFile } = require('node:child_process');
const { promisify } = require('node:util');
const { Weir } = require('./weir.js');
const { Client } = require('./client.js');

const SECONDS = Number(process.env.RATE_SECONDS ?? 3);
const TIMEOUT = { timeout: 30_000 + 2000 * SECONDS };

/** Runs `body` with a server that has these arguments. */
async function serving(args, body) {
  const weir = await Weir.start(...args);
  try {
    await body(weir);
  } finally {
    assert.deepEqual(await weir.stop(), { code: 0, signal: null });
  }
}

test('a flood passes in order at its rate, and a neighbour is served', TIMEOUT, (t) =>
  serving(['--messages-rate', '100/s burst 200'], async (weir) => {
    const flooder = await Client.connect(weir.url);
    const neighbour = await Client.connect(weir.url);
    const all = 200 + 100 * (SECONDS + 5);
    const started = process.hrtime.bigint();
    for (let i = 0; i < all; i++) flooder.send(String(i));
    const elapsed = () => Number(process.hrtime.bigint() - started) / 1e9;
    let passed = 0;
    let answered = 0;
    while (elapsed() < SECONDS) {
      assert.equal(await flooder.next(), String(passed++));
      assert.ok(passed <= 200 + 100 * elapsed() + 1, `${passed} after ${elapsed()} s`);
      if (passed % 10 === 0) {
        neighbour.send(`n${passed}`);
        assert.equal(await neighbour.next(), `n${passed}`);
        answered++;
      }
    }
    // By hand: less would depend on the machine.
    if (process.env.RATE_SECONDS) assert.ok(passed >= 100 * SECONDS, `${passed} in ${SECONDS} s`);
    t.diagnostic(`${passed} messages in ${elapsed().toFixed(2)} s, the neighbour got ${answered}`);
    flooder.ws.terminate();
    await neighbour.close(1000);
  }));

test('over = close ends a flood with 1008', TIMEOUT, () =>
  serving(['--messages-rate', '50/s', '--over', 'close', '--over-grace', '300ms'], async (weir) => {
    const client = await Client.connect(weir.url);
    for (let i = 0; i < 2000; i++) client.send('x'.repeat(20));
    assert.deepEqual(await client.closed(), { code: 1008, reason: 'too many messages' });
  }));

test('a flood of pings is closed with 1008', TIMEOUT, () =>
  serving(['--messages-rate', '50/h', '--over', 'close', '--over-grace', '0s'], async (weir) => {
    const client = await Client.connect(weir.url);
    let pongs = 0;
    client.ws.on('pong', () => (pongs += 1));
    for (let i = 0; i < 1000; i++) client.ws.ping(String(i));
    assert.deepEqual(await client.closed(), { code: 1008, reason: 'too many messages' });
    // The ping that is one too many is answered before the Close.
    assert.equal(pongs, 51);
  }));

test('a compressed message of 1 MiB takes one token', TIMEOUT, () =>
  serving(['--messages-rate', '5/h', '--over', 'close', '--over-grace', '0s'], async (weir) => {
    const client = await Client.connect(weir.url, { perMessageDeflate: true });
    assert.match(client.ws.extensions, /permessage-deflate/);
    const large = 'x'.repeat(1024 * 1024);
    for (let i = 0; i < 5; i++) {
      client.send(large);
      assert.equal(await client.next(), large);
    }
    client.send(large);
    assert.deepEqual(await client.closed(), { code: 1008, reason: 'too many messages' });
  }));

test('a peer at its rate is never closed', TIMEOUT, () =>
  serving(['--messages-rate', '50/s burst 50', '--over', 'close', '--over-grace', '0s'], async (weir) => {
    const client = await Client.connect(weir.url);
    const started = process.hrtime.bigint();
    for (let sent = 0; sent < 50 * SECONDS;) {
      // Those that are due by now: a timer that fires late makes up for it.
      const due = Number(process.hrtime.bigint() - started) / 1e9 * 50;
      while (sent < Math.min(due, 50 * SECONDS)) client.send(String(sent++));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    for (let i = 0; i < 50 * SECONDS; i++) assert.equal(await client.next(), String(i));
    await client.close(1000);
    assert.equal((await client.closed()).code, 1000);
  }));

test('Python websockets gets 1008 above its rate', TIMEOUT, () =>
  serving(['--deflate', 'off', '--messages-rate', '20/s burst 20', '--over', 'close', '--over-grace', '0s'], async (weir) => {
    const script = path.join(__dirname, 'python_client.py');
    await promisify(execFile)(process.env.PYTHON, [script, 'websockets', 'too_many', weir.url]);
  }));
