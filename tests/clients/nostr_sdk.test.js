'use strict';
// The relay with nostr-sdk of PyPI.

const { before, after, test } = require('node:test');
const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const path = require('node:path');
const { promisify } = require('node:util');
const { CONTENTS, WITHOUT_RATES, startRelay } = require('./nostr.js');

// SYNC=100000 is a synchronisation of that size instead of 1,000 events.
const SYNC = process.env.SYNC ?? '1000';
const TIMEOUT = { timeout: 120_000 };
let weir;

before(async () => (weir = await startRelay(WITHOUT_RATES)));
after(async () => assert.deepEqual(await weir.end(), { code: 0, signal: null }));

const script = path.join(__dirname, 'nostr_client.py');
const run = (name, ...args) => promisify(execFile)(process.env.PYTHON, ['-B', script, name, `${weir.url}/`, ...args]);

test('events are stored, fetched and delivered', TIMEOUT, () => run('exchange'));

test('contents as nostr-sdk hashes them', TIMEOUT, () => run('contents', JSON.stringify(Object.values(CONTENTS))));

test('gift wraps with automatic AUTH', TIMEOUT, () => run('gift_wraps'));

for (const count of ['0', '1', SYNC]) {
  const timeout = TIMEOUT.timeout + Number(count) * 5;
  test(`sync() both ways of ${count} events, of which 1 % differ`, { timeout }, () => run('sync', count));
}
