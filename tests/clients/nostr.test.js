'use strict';
// The relay with nostr-tools, on npm `ws` and in Chromium.

const { before, after, test } = require('node:test');
const assert = require('node:assert/strict');
const { readFileSync } = require('node:fs');
const path = require('node:path');
const { chromium } = require('playwright-core');
const nip11 = require('nostr-tools/nip11');
const nip45 = require('nostr-tools/nip45');
const nip59 = require('nostr-tools/nip59');
const { getPublicKey, verifyEvent } = require('nostr-tools/pure');
const { Relay, useWebSocketImplementation } = require('nostr-tools/relay');
const WebSocket = require('ws');
const { CONTENTS, generateSecretKey, sign, signer, startRelay } = require('./nostr.js');
const { until, within } = require('./weir.js');

const TIMEOUT = { timeout: 60_000 };
const WAIT_MS = 10_000;
let weir;

useWebSocketImplementation(WebSocket);
before(async () => (weir = await startRelay()));
after(async () => assert.deepEqual(await weir.end(), { code: 0, signal: null }));

const connect = () => Relay.connect(`${weir.url}/`);

/** Answers the challenge, which is the relay's first message. */
async function authenticate(relay, sign) {
  await until(WAIT_MS, 'challenge', () => relay.challenge);
  return relay.auth(sign);
}

/** A subscription that collects its events; `opened` resolves at EOSE, `closed` to the reason of CLOSED. */
function subscribe(relay, filters, params = {}) {
  const collected = { events: [] };
  collected.closed = new Promise((resolve) => {
    collected.opened = new Promise((eose) => {
      collected.sub = relay.subscribe(filters, {
        eoseTimeout: WAIT_MS, onevent: (event) => collected.events.push(event), oneose: eose, onclose: resolve, ...params,
      });
    });
  });
  return collected;
}

/** The stored events of a filter. */
async function stored(relay, filter) {
  const found = subscribe(relay, [filter]);
  await within(WAIT_MS, 'EOSE', found.opened);
  found.sub.close();
  return found.events;
}

const contents = (events) => events.map(({ content }) => content);

test('stored events come newest first, then EOSE, then live events until CLOSE', TIMEOUT, async () => {
  const key = generateSecretKey();
  const [a, b] = await Promise.all([connect(), connect()]);
  const now = Math.floor(Date.now() / 1000);
  for (const age of [20, 10, 30]) await a.publish(sign(key, { content: `${age}`, created_at: now - age }));
  const authors = [getPublicKey(key)];
  const feed = subscribe(b, [{ authors }]);
  const other = subscribe(b, [{ authors, kinds: [7] }]);
  await within(WAIT_MS, 'EOSE', Promise.all([feed.opened, other.opened]));
  assert.deepEqual(contents(feed.events), ['10', '20', '30']);
  await a.publish(sign(key, { content: 'live' }));
  await until(WAIT_MS, 'live event', () => feed.events.length === 4);
  feed.sub.close();
  // CLOSE is read before the EVENTs of the same connection, so only the other subscription gets the next ones.
  await b.publish(sign(key, { content: 'after CLOSE' }));
  await b.publish(sign(key, { kind: 7, content: '+' }));
  await until(WAIT_MS, 'event of the other subscription', () => other.events.length === 1);
  assert.deepEqual(contents(feed.events), ['10', '20', '30', 'live']);
  assert.ok(feed.events.every(verifyEvent));
  [a, b].forEach((relay) => relay.close());
});

test('a refused event rejects with the text of the relay', TIMEOUT, async () => {
  const relay = await connect();
  const event = sign(generateSecretKey(), { content: 'original' });
  await assert.rejects(relay.publish({ ...event, content: 'forged' }), /^Error: invalid:/);
  await assert.rejects(relay.publish({ ...event, sig: '0'.repeat(128) }), /^Error: invalid:/);
  await relay.publish(event);
  assert.match(await relay.publish(event), /^duplicate:/);
  relay.close();
});

for (const [name, content] of Object.entries(CONTENTS)) {
  test(`content as nostr-tools hashes it: ${name}`, TIMEOUT, async () => {
    const key = generateSecretKey();
    const relay = await connect();
    const event = sign(key, { content, tags: [['t', content], ['x', '', content]] });
    await relay.publish(event);
    const [found, ...more] = await stored(relay, { ids: [event.id] });
    assert.deepEqual([found.content, found.tags, more], [content, event.tags, []]);
    assert.ok(verifyEvent(found));
    assert.equal((await stored(relay, { '#t': [content], authors: [event.pubkey] })).length, 1);
    relay.close();
  });
}

test('a newer version replaces, a deletion removes and stays', TIMEOUT, async () => {
  const key = generateSecretKey();
  const relay = await connect();
  const authors = [getPublicKey(key)];
  const now = Math.floor(Date.now() / 1000);
  const profile = (age) => sign(key, { kind: 0, content: `${age}`, created_at: now - age });
  await relay.publish(profile(10));
  await relay.publish(profile(5));
  await assert.rejects(relay.publish(profile(20)), /^Error: duplicate:/);
  assert.deepEqual(contents(await stored(relay, { authors, kinds: [0] })), ['5']);
  const note = sign(key, { content: 'oops' });
  await relay.publish(note);
  await relay.publish(sign(key, { kind: 5, tags: [['e', note.id]] }));
  assert.deepEqual(await stored(relay, { ids: [note.id] }), []);
  await assert.rejects(relay.publish(note), /^Error: blocked:/);
  relay.close();
});

test('COUNT has the registers that nostr-tools computes', TIMEOUT, async () => {
  const relay = await connect();
  const target = getPublicKey(generateSecretKey());
  const filter = nip45.getCountManyFilter(target, 'followers');
  const expected = nip45.newHll();
  const offset = nip45.computeOffset(nip45.getFilterFirstTagValue(filter));
  for (let i = 0; i < 50; i++) {
    const event = sign(generateSecretKey(), { kind: 3, tags: [['p', target]] });
    await relay.publish(event);
    nip45.feedPubkey(expected, event.pubkey, offset);
  }
  const { count, hll } = await relay.countWithHLL([filter], {});
  assert.equal(count, 50);
  assert.equal(hll, nip45.hllEncode(expected));
  assert.equal(await relay.count([{ kinds: [3], '#p': [target], limit: 1 }], {}), 50);
  relay.close();
});

test('gift wraps are sent after AUTH, to their recipient alone', TIMEOUT, async () => {
  const [sender, recipient, stranger] = [1, 2, 3].map(generateSecretKey);
  const wrap = nip59.wrapEvent({ kind: 14, content: 'secret', tags: [] }, sender, getPublicKey(recipient));
  const [open, own, foreign] = await Promise.all([connect(), connect(), connect()]);
  await open.publish(wrap);
  const filter = { kinds: [1059], '#p': [getPublicKey(recipient)] };
  const refused = subscribe(open, [filter]);
  assert.match(await within(WAIT_MS, 'CLOSED', refused.closed), /^auth-required:/);
  assert.deepEqual(await stored(open, { ids: [wrap.id] }), []);
  await authenticate(own, signer(recipient));
  const [found] = await stored(own, filter);
  assert.equal(nip59.unwrapEvent(found, recipient).content, 'secret');
  await authenticate(foreign, signer(stranger));
  const restricted = subscribe(foreign, [filter]);
  assert.match(await within(WAIT_MS, 'CLOSED', restricted.closed), /^restricted:/);
  [open, own, foreign].forEach((relay) => relay.close());
});

test('an AUTH for another relay is refused', TIMEOUT, async () => {
  const relay = await connect();
  const key = generateSecretKey();
  const elsewhere = async (template) => {
    const tags = template.tags.map(([name, value]) => [name, name === 'relay' ? 'wss://relay.example/' : value]);
    return signer(key)({ ...template, tags });
  };
  await assert.rejects(authenticate(relay, elsewhere), /^Error: invalid:/);
  relay.close();
});

test('keepalives: a REQ for an id that does not exist, and one with limit 0', TIMEOUT, async () => {
  const relay = await connect();
  assert.equal(await within(WAIT_MS, 'EOSE', relay.waitForDummyReq()), true);
  const author = generateSecretKey();
  await relay.publish(sign(author, { content: 'stored' }));
  const feed = subscribe(relay, [{ authors: [getPublicKey(author)], limit: 0 }]);
  await within(WAIT_MS, 'EOSE', feed.opened);
  await relay.publish(sign(author, { content: 'live' }));
  await until(WAIT_MS, 'live event', () => feed.events.length > 0);
  assert.deepEqual(contents(feed.events), ['live']);
  relay.close();
});

test('200 subscriptions on one socket, not 201', TIMEOUT, async () => {
  const key = generateSecretKey();
  const [relay, publisher] = await Promise.all([connect(), connect()]);
  const kinds = Array.from({ length: 200 }, (_, i) => 2000 + i);
  const feeds = kinds.map((kind) => subscribe(relay, [{ kinds: [kind] }]));
  await within(WAIT_MS, '200 EOSEs', Promise.all(feeds.map(({ opened }) => opened)));
  const more = subscribe(relay, [{ kinds: [1] }]);
  assert.match(await within(WAIT_MS, 'CLOSED', more.closed), /^rate-limited:/);
  for (const kind of kinds) await publisher.publish(sign(key, { kind }));
  await until(WAIT_MS, '200 events', () => feeds.every(({ events }) => events.length === 1));
  assert.deepEqual(feeds.map(({ events: [event] }) => event.kind), kinds);
  [relay, publisher].forEach((each) => each.close());
});

test('the NIP-11 document is found and its numbers are those of the tests', TIMEOUT, async () => {
  nip11.useFetchImplementation(fetch);
  const document = await nip11.fetchRelayInformation(weir.url);
  assert.equal(document.limitation.max_subscriptions, 200);
  for (const nip of [1, 9, 11, 42, 45, 59]) assert.ok(document.supported_nips.includes(nip), `NIP ${nip}`);
});

test('in Chromium: publish, subscribe, EOSE, live, AUTH', TIMEOUT, async () => {
  const bundle = path.join(path.dirname(require.resolve('nostr-tools')), '..', 'nostr.bundle.js');
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM, args: ['--no-sandbox', '--disable-gpu'], timeout: 30_000,
  });
  try {
    const page = await browser.newPage({ bypassCSP: true });
    // On the page of the relay itself, so that the browser sends its Origin.
    await page.goto(`${weir.http}/`);
    await page.addScriptTag({ content: readFileSync(bundle, 'utf8') });
    const result = await within(30_000, 'page', page.evaluate(async ([url, texts]) => {
      const { Relay, finalizeEvent, generateSecretKey, getPublicKey } = globalThis.NostrTools;
      const key = generateSecretKey();
      const sign = (content, kind = 1) =>
        finalizeEvent({ kind, content, tags: [], created_at: Math.floor(Date.now() / 1000) }, key);
      const relay = await Relay.connect(url);
      for (const text of texts) await relay.publish(sign(text));
      const found = [];
      let live;
      const isLive = new Promise((resolve) => (live = resolve));
      await new Promise((eose) => relay.subscribe([{ authors: [getPublicKey(key)] }], {
        oneose: eose,
        onevent: (event) => {
          found.push(event.content);
          if (event.content === 'live') live();
        },
      }));
      const count = found.length;
      await relay.publish(sign('live'));
      await isLive;
      const auth = await relay.auth(async (template) => finalizeEvent(template, key));
      relay.close();
      return { auth, count, found };
    }, [`${weir.url}/`, Object.values(CONTENTS)]));
    assert.equal(result.count, Object.keys(CONTENTS).length);
    assert.deepEqual(new Set(result.found), new Set([...Object.values(CONTENTS), 'live']));
    assert.equal(typeof result.auth, 'string');
  } finally {
    await browser.close();
  }
});
