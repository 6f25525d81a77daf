'use strict';
// Messages, pings and closes with npm `ws`.

const { before, after, test } = require('node:test');
const assert = require('node:assert/strict');
const { randomBytes } = require('node:crypto');
const { Weir } = require('./weir.js');
const { Client } = require('./client.js');

const TIMEOUT = { timeout: 30_000 };
const MESSAGE_MAX = 256 * 1024;
let weir;

before(async () => (weir = await Weir.start('--message-max', '256KiB')));
after(async () => assert.deepEqual(await weir.stop(), { code: 0, signal: null }));

const connect = (options) => Client.connect(`${weir.url}/`, options);

async function echoes(message) {
  const client = await connect();
  client.send(message);
  assert.deepEqual(await client.next(), message);
  assert.equal((await client.close(1000)).code, 1000);
}

for (const [name, text] of [
  ['emoji', 'grüße 👩‍👩‍👧‍👦 🏳️‍🌈'],
  ['combining characters', 'e\u0301 a\u0308\u0323 ที่นี่'],
  ['astral characters', '𝔘𐍈𠀋\u{10FFFF}'],
  ['a NUL and a BOM', '\u0000\uFEFFx'],
  ['nothing', ''],
]) {
  test(`text of ${name} is echoed exactly`, TIMEOUT, () => echoes(text));
}

for (const size of [0, 1, 125, 126, 65_535, 65_536, 200_000, MESSAGE_MAX]) {
  test(`${size} bytes of binary are echoed exactly`, TIMEOUT, () => echoes(randomBytes(size)));
}

test('a ping is answered with a pong of the same payload', TIMEOUT, async () => {
  const client = await connect();
  for (const payload of [Buffer.alloc(0), randomBytes(8), randomBytes(125)]) {
    assert.deepEqual(await client.ping(payload), payload);
  }
  await client.close(1000);
});

test('fragments with a ping among them are echoed as one message', TIMEOUT, async () => {
  const client = await connect();
  const bytes = Buffer.from('a👋b');
  client.send(bytes.subarray(0, 2), { binary: false, fin: false });
  const pong = await client.ping(Buffer.from('between'));
  client.send(bytes.subarray(2, 4), { binary: false, fin: false });
  client.send(Buffer.alloc(0), { binary: false, fin: false });
  client.send(bytes.subarray(4), { binary: false, fin: true });
  assert.equal(pong.toString(), 'between');
  assert.equal(await client.next(), 'a👋b');
  await client.close(1000);
});

for (const code of [1000, 3000, 3999, 4000, 4999]) {
  test(`close ${code} is answered with its code and reason`, TIMEOUT, async () => {
    const client = await connect();
    assert.deepEqual(await client.close(code, 'bis später'), { code, reason: 'bis später' });
    assert.deepEqual(client.socketErrors, []);
  });
}

test('close without a code is answered without a code', TIMEOUT, async () => {
  const client = await connect();
  assert.deepEqual(await client.close(), { code: 1005, reason: '' });
});

// The server must keep reading input that is on its way; otherwise a reset would discard its Close.
for (const excess of [1, 1024, 8 * 1024 * 1024]) {
  test(`a message of ${excess} bytes too many is refused with 1009`, TIMEOUT, async () => {
    const client = await connect();
    client.send(Buffer.alloc(MESSAGE_MAX + excess));
    assert.equal((await client.closed()).code, 1009);
    assert.deepEqual(client.socketErrors, []);
  });
}

test('fragments that together are too large are refused with 1009', TIMEOUT, async () => {
  const client = await connect();
  client.send(Buffer.alloc(MESSAGE_MAX), { fin: false });
  client.send(Buffer.alloc(1), { fin: true });
  assert.equal((await client.closed()).code, 1009);
  assert.deepEqual(client.socketErrors, []);
});
