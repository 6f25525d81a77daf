'use strict';
// Many clients, many messages, and a client that does not read.

const { before, after, test } = require('node:test');
const assert = require('node:assert/strict');
const { Weir, until } = require('./weir.js');
const { Client } = require('./client.js');

const TIMEOUT = { timeout: 60_000 };
let weir;

before(async () => (weir = await Weir.start()));
after(async () => assert.deepEqual(await weir.stop(), { code: 0, signal: null }));

test('1,000 clients at once', TIMEOUT, async () => {
  const urls = Array(1000).fill(`${weir.url}/`);
  const clients = await Promise.all(urls.map((url) => Client.connect(url)));
  clients.forEach((client, i) => client.send(`client ${i}`));
  const echoes = await Promise.all(clients.map((client) => client.next()));
  assert.deepEqual(echoes, clients.map((_, i) => `client ${i}`));
  const closes = await Promise.all(clients.map((client) => client.close(1000)));
  assert.deepEqual(new Set(closes.map(({ code }) => code)), new Set([1000]));
});

/** A message of `size` bytes that begins with its number. */
function numbered(i, size) {
  const message = Buffer.alloc(size, i);
  message.writeUInt32BE(i);
  return message;
}

function assertInOrder(client, count, size) {
  assert.equal(client.queue.length, count);
  client.queue.forEach((echo, i) => assert.ok(echo.equals(numbered(i, size)), `echo ${i}`));
}

test('20,000 messages in bursts and a close at once: every echo arrives before the close', TIMEOUT, async () => {
  const client = await Client.connect(`${weir.url}/`);
  for (let i = 0; i < 20_000; i++) {
    client.send(numbered(i, 64));
    if (i % 200 === 199) await new Promise(setImmediate);
  }
  assert.equal((await client.close(1000)).code, 1000);
  assertInOrder(client, 20_000, 64);
});

test('a large message and a close at once: the echo arrives before the close', TIMEOUT, async () => {
  const client = await Client.connect(`${weir.url}/`);
  client.send(numbered(7, 1024 * 1024));
  assert.equal((await client.close(4321)).code, 4321);
  assert.ok(client.queue[0].equals(numbered(7, 1024 * 1024)));
});

// 64 MiB do not fit into the socket buffers on the way, so a bounded server must stop reading.
test('a client that stops reading gets back-pressure and loses nothing', TIMEOUT, async () => {
  const [count, size] = [4096, 16_384];
  const client = await Client.connect(`${weir.url}/`);
  client.ws.pause();
  for (let i = 0; i < count; i++) client.send(numbered(i, size));
  let [amount, since] = [client.ws.bufferedAmount, Date.now()];
  await until(5_000, 'back-pressure', () => {
    if (client.ws.bufferedAmount !== amount) [amount, since] = [client.ws.bufferedAmount, Date.now()];
    return Date.now() - since > 500;
  });
  assert.ok(amount > 0, 'the server took everything although nobody read the echoes');
  client.ws.resume();
  await until(30_000, 'all echoes', () => client.queue.length >= count);
  assertInOrder(client, count, size);
  assert.equal((await client.close(1000)).code, 1000);
});
