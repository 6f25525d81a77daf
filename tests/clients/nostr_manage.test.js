'use strict';
// Management of the relay (NIP-86) with the HTTP authorization (NIP-98) of nostr-tools.

const { before, after, test } = require('node:test');
const assert = require('node:assert/strict');
const nip98 = require('nostr-tools/nip98');
const { getPublicKey } = require('nostr-tools/pure');
const { Relay, useWebSocketImplementation } = require('nostr-tools/relay');
const WebSocket = require('ws');
const { generateSecretKey, sign, signer, startRelay } = require('./nostr.js');

const TIMEOUT = { timeout: 60_000 };
const administrator = generateSecretKey();
let weir;

useWebSocketImplementation(WebSocket);
before(async () => (weir = await startRelay({ administrators: [getPublicKey(administrator)] })));
after(async () => assert.deepEqual(await weir.end(), { code: 0, signal: null }));

/** Calls a method with the authorization of a key. */
async function call(key, method, ...params) {
  const url = `${weir.http}/`;
  const body = { method, params };
  const authorization = await nip98.getToken(url, 'post', signer(key), true, body);
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/nostr+json+rpc', Authorization: authorization },
    body: JSON.stringify(body),
  });
  return { status: response.status, ...await response.json() };
}

test('an administrator bans an author and lifts the ban', TIMEOUT, async () => {
  const author = generateSecretKey();
  const relay = await Relay.connect(`${weir.url}/`);
  await relay.publish(sign(author, { content: 'before' }));
  assert.deepEqual(await call(administrator, 'banpubkey', getPublicKey(author), 'spam'), { status: 200, result: true });
  await assert.rejects(relay.publish(sign(author, { content: 'banned' })), /blocked: the author is banned/);
  assert.deepEqual((await call(administrator, 'listbannedpubkeys')).result,
    [{ pubkey: getPublicKey(author), reason: 'spam' }]);
  assert.deepEqual(await call(administrator, 'unbanpubkey', getPublicKey(author)), { status: 200, result: true });
  await relay.publish(sign(author, { content: 'after' }));
  relay.close();
});

test('another key is refused', TIMEOUT, async () => {
  const { status, error } = await call(generateSecretKey(), 'supportedmethods');
  assert.equal(status, 401);
  assert.match(error, /not an administrator/);
});

test('a changed name is in the NIP-11 document', TIMEOUT, async () => {
  assert.equal((await call(administrator, 'changerelayname', 'Harbour')).result, true);
  const response = await fetch(`${weir.http}/`, { headers: { Accept: 'application/nostr+json' } });
  assert.equal((await response.json()).name, 'Harbour');
});
