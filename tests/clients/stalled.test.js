'use strict';
// Sides of tunnels that do not read for STALL seconds (10 by default): the sender is paused, the memory of
// weir stays bounded, other tunnels continue, and nothing is lost afterwards.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { WebSocketServer } = require('ws');
const { Weir, until, within } = require('./weir.js');
const { Client } = require('./client.js');

const STALL_MS = Number(process.env.STALL ?? 10) * 1000;
const TIMEOUT = { timeout: 120_000 + STALL_MS };
const WAIT_MS = 60_000;
const MIB = 1024 * 1024;
/** What is sent to each side that does not read: more than the kernel and weir hold. */
const MESSAGES = 64;

/** Message number `i`, of 1 MiB. */
function message(i) {
  const bytes = Buffer.alloc(MIB, i);
  bytes.writeUInt32BE(i);
  return bytes;
}

/** Fails unless these are all messages in order. */
function verify(received) {
  assert.equal(received.length, MESSAGES);
  received.forEach((bytes, i) => assert.ok(bytes.equals(message(i)), `message ${i} differs`));
}

async function metric(weir, name) {
  const text = await (await fetch(`${weir.admin}/metrics`)).text();
  return Number(new RegExp(`^${name} (.*)$`, 'm').exec(text)[1]);
}

/** Clients that send a message each 20 ms until they are stopped; returns the times to its echo. */
function pace(clients) {
  const times = [];
  let isOver = false;
  const one = async (client) => {
    while (!isOver) {
      const started = performance.now();
      client.send('tick');
      assert.equal(await client.next(), 'tick');
      times.push(performance.now() - started);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const ends = Promise.all(clients.map(one));
  return async () => {
    isOver = true;
    await ends;
    times.sort((a, b) => a - b);
    return { echoes: times.length, p50: times[times.length >> 1], p99: times[Math.floor(times.length * 0.99)] };
  };
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const text = ({ echoes, p50, p99 }) => `${echoes} echoes, p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`;

test(`a client and an upstream that do not read for ${STALL_MS / 1000} s`, TIMEOUT, async (t) => {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, maxPayload: 0 });
  await within(WAIT_MS, 'ws server', new Promise((resolve) => server.once('listening', resolve)));
  const received = [];
  let deaf;
  server.on('connection', (socket, { url }) => {
    if (url === '/echo') socket.on('message', (data, binary) => socket.send(data, { binary }));
    if (url === '/flood') for (let i = 0; i < MESSAGES; i++) socket.send(message(i));
    if (url === '/deaf') {
      deaf = socket;
      socket.on('message', (data) => received.push(data));
      socket.pause();
    }
  });
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weir-stalled-'));
  const file = path.join(directory, 'weir.toml');
  fs.writeFileSync(file, `[[pool]]\nname = "nodes"\nupstreams = ["http://127.0.0.1:${server.address().port}"]\n`
    + '[[route]]\npath = "/*"\nservice = "proxy"\npool = "nodes"\nmessage_max = "64 MiB"\n');
  const weir = await Weir.start('--admin', '127.0.0.1:0', '--config', file);
  try {
    const others = await Promise.all(Array.from({ length: 20 }, () => Client.connect(`${weir.url}/echo`)));
    let stop = pace(others);
    await pause(3000);
    t.diagnostic(`before: ${text(await stop())}`);
    const before = await metric(weir, 'process_resident_memory_bytes');

    const slow = await Client.connect(`${weir.url}/flood`);
    slow.ws.pause();
    const sender = await Client.connect(`${weir.url}/deaf`);
    for (let i = 0; i < MESSAGES; i++) sender.send(message(i));
    await until(WAIT_MS, 'the upstream is connected', () => deaf !== undefined);
    // This process writes what the kernel accepts; then it has time for the others.
    await pause(1000);
    stop = pace(others);
    const end = Date.now() + STALL_MS;
    let [buffered, resident] = [0, 0];
    while (Date.now() < end) {
      buffered = Math.max(buffered, await metric(weir, 'weir_buffered_bytes'));
      resident = Math.max(resident, await metric(weir, 'process_resident_memory_bytes'));
      await pause(100);
    }
    t.diagnostic(`during: ${text(await stop())}`);
    t.diagnostic(`at most ${buffered} bytes buffered, resident ${before} before and at most ${resident} during`);
    assert.ok(sender.ws.bufferedAmount > 0, 'the client is not paused');
    // For each of the two: outbox_soft, one read, and a held frame.
    assert.ok(buffered > 0 && buffered < 4 * MIB, `${buffered} bytes are buffered`);
    assert.ok(resident - before < 16 * MIB, `the resident memory grew by ${resident - before} bytes`);

    deaf.resume();
    const read = [];
    slow.ws.resume();
    while (read.length < MESSAGES) read.push(await within(WAIT_MS, 'message', slow.next()));
    await until(WAIT_MS, 'the upstream has everything', () => received.length === MESSAGES);
    verify(read);
    verify(received);
    assert.equal((await slow.close(1000)).code, 1000);
    assert.equal((await sender.close(1000)).code, 1000);
    // The other tunnels, too, are as before.
    for (const client of others) assert.equal((await client.close(1000)).code, 1000);
    const paused = (side) => weir.metric('proxy_paused_total', `side="${side}"`);
    assert.ok(await paused('client') > 0 && await paused('upstream') > 0);
    assert.equal(await metric(weir, 'weir_buffered_bytes'), 0);
  } finally {
    await weir.stop();
    server.close();
    fs.rmSync(directory, { recursive: true });
  }
});
