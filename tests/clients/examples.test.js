'use strict';
// Examples of the library, used by npm `ws` as their text says.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { Weir } = require('./weir.js');
const { Client } = require('./client.js');

const TIMEOUT = { timeout: 30_000 };
const TOKENS = { alice: '51f2a7c0', bob: '9be4d318' };

/** Runs `use` with the running example, and ends it. */
async function running(name, use) {
  const example = await Weir.example(name);
  try {
    await use(example.url);
  } finally {
    await example.stop();
  }
}

test('echo returns text and binary, whether or not compression is offered', TIMEOUT, () =>
  running('echo', async (url) => {
    for (const perMessageDeflate of [false, true]) {
      const client = await Client.connect(`${url}/`, { perMessageDeflate });
      for (const message of ['grüße 👋', Buffer.from([0, 255, 128]), 'a'.repeat(100_000)]) {
        client.send(message);
        assert.deepEqual(await client.next(), message);
      }
      assert.equal((await client.close(1000)).code, 1000);
    }
  }));

test('chat refuses a client without a token', TIMEOUT, () =>
  running('chat', async (url) => {
    for (const query of ['', '?token=', '?token=alice']) {
      await assert.rejects(Client.connect(`${url}/${query}`), { status: 401 });
    }
  }));

test('chat sends each message to all users, with the name of its sender', TIMEOUT, () =>
  running('chat', async (url) => {
    const join = (name) => Client.connect(`${url}/?token=${TOKENS[name]}`);
    const [alice, bob] = [await join('alice'), await join('bob')];
    alice.send('hi');
    for (const client of [alice, bob]) assert.equal(await client.next(), 'alice: hi');
    bob.send('hi, alice');
    for (const client of [alice, bob]) assert.equal(await client.next(), 'bob: hi, alice');
    await bob.close(1000);
    assert.equal(await alice.next(), 'bob left');
    await alice.close(1000);
  }));

test('ticker sends one tick after another to all clients', TIMEOUT, () =>
  running('ticker', async (url) => {
    const clients = [await Client.connect(`${url}/`), await Client.connect(`${url}/`)];
    const ticks = await Promise.all(clients.map(async (client) => [await client.next(), await client.next()]));
    for (const [first, second] of ticks) {
      const number = Number(first.replace('tick ', ''));
      assert.ok(number >= 1, first);
      assert.equal(second, `tick ${number + 1}`);
    }
    await Promise.all(clients.map((client) => client.close(1000)));
  }));
