'use strict';
// Rooms. That a message does not arrive is shown by the order of later messages, never by waiting.

const { before, after, test } = require('node:test');
const assert = require('node:assert/strict');
const { Weir } = require('./weir.js');
const { Client } = require('./client.js');

const TIMEOUT = { timeout: 30_000 };
let weir;

before(async () => (weir = await Weir.start()));
after(async () => assert.deepEqual(await weir.stop(), { code: 0, signal: null }));

const join = (room) => Client.connect(`${weir.url}/rooms/${room}`);
const leave = (...clients) => Promise.all(clients.map((client) => client.close(1000)));

test('a message reaches the others, not its sender, not another room', TIMEOUT, async () => {
  const [a, b, c, elsewhere, neighbour] = await Promise.all(
    ['relay', 'relay', 'relay', 'elsewhere', 'elsewhere'].map(join));
  a.send('grüße 👋');
  assert.equal(await b.next(), 'grüße 👋');
  assert.equal(await c.next(), 'grüße 👋');
  const bytes = Buffer.from([0, 255, 128]);
  b.send(bytes);
  assert.deepEqual(await a.next(), bytes);
  assert.deepEqual(await c.next(), bytes);
  neighbour.send('here');
  assert.equal(await elsewhere.next(), 'here');
  c.send('');
  assert.equal(await a.next(), '');
  assert.equal(await b.next(), '');
  await leave(a, b, c, elsewhere, neighbour);
  for (const client of [a, b, c, elsewhere, neighbour]) assert.deepEqual(client.queue, []);
});

test('self=1 includes the sender', TIMEOUT, async () => {
  const [a, b] = await Promise.all(['self?self=1', 'self'].map(join));
  a.send('to all');
  assert.equal(await a.next(), 'to all');
  assert.equal(await b.next(), 'to all');
  await leave(a, b);
});

test('history=N sends the last N messages, then new ones', TIMEOUT, async () => {
  const [a, b] = await Promise.all(['past', 'past'].map(join));
  for (let i = 1; i <= 5; i++) a.send(`message ${i}`);
  for (let i = 1; i <= 5; i++) assert.equal(await b.next(), `message ${i}`);
  const late = await join('past?history=3');
  a.send('live');
  for (const text of ['message 3', 'message 4', 'message 5', 'live']) assert.equal(await late.next(), text);
  await leave(a, b, late);
});

test('members with presence=1 get the number of members on each change', TIMEOUT, async () => {
  const presence = (n) => ({ presence: n });
  const a = await join('presence?presence=1');
  assert.deepEqual(JSON.parse(await a.next()), presence(1));
  const b = await join('presence');
  assert.deepEqual(JSON.parse(await a.next()), presence(2));
  a.send('text');
  assert.equal(await b.next(), 'text');
  await leave(b);
  assert.deepEqual(JSON.parse(await a.next()), presence(1));
  await leave(a);
});
