'use strict';
// Ethereum libraries and a node: npm `viem`, `ethers`, `web3`, and PyPI `web3`.

const { before, after, test } = require('node:test');
const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const path = require('node:path');
const { promisify } = require('node:util');
const viem = require('viem');
const { ethers } = require('ethers');
const { Web3 } = require('web3');
const { Node, eventually } = require('./node.js');
const { within } = require('./weir.js');

const TIMEOUT = { timeout: 60_000 };
const WAIT_MS = 10_000;
const CHAIN_ID = 0x849;
const ADDRESS = '0x00000000000000000000000000000000000000ab';
const TRANSFER = 'event Transfer(address indexed from, address indexed to, uint256 value)';
const [FROM, TO] = [viem.pad('0x11', { size: 20 }), viem.pad('0x22', { size: 20 })];
const TOPICS = [viem.toEventSelector(TRANSFER), viem.pad(FROM), viem.pad(TO)];
let leader;
let follower;

before(async () => {
  leader = await Node.start('--block-time', 'off');
  follower = await Node.start('--role', 'follower', '--follow-rpc', leader.http);
  await leader.call('weir_mine', 3);
  await eventually(WAIT_MS, 'the follower follows', async () => (await follower.watched()).ready);
});

after(async () => {
  for (const node of [follower, leader]) assert.deepEqual(await node.stop(), { code: 0, signal: null });
});

/** A queue that tests fill from callbacks. */
function queue() {
  const items = [];
  const takers = [];
  return {
    put: (item) => (takers.length > 0 ? takers.shift()(item) : items.push(item)),
    next: () => (items.length > 0 ? Promise.resolve(items.shift()) : within(WAIT_MS, 'news', new Promise((resolve) => takers.push(resolve)))),
    get length() {
      return items.length;
    },
  };
}

const emit = (value) =>
  leader.call('weir_emit', [{ address: ADDRESS, topics: TOPICS, data: viem.pad(viem.toHex(value), { size: 32 }) }]);
const subscriptions = async () => (await leader.watched()).subscriptions;

const chain = { id: CHAIN_ID, name: 'weir', nativeCurrency: { name: 'x', symbol: 'X', decimals: 18 }, rpcUrls: { default: { http: [] } } };

for (const [name, transport] of [
  // The library shares a connection between all clients of one key.
  ['webSocket', () => viem.webSocket(leader.ws, { key: 'calls', keepAlive: { interval: 50 } })],
  ['http', () => viem.http(leader.http, { batch: true })],
]) {
  test(`viem over ${name}: numbers, blocks and batches`, TIMEOUT, async () => {
    const client = viem.createPublicClient({ chain, transport: transport() });
    assert.equal(await client.getChainId(), CHAIN_ID);
    const number = await client.getBlockNumber({ cacheTime: 0 });
    const blocks = await Promise.all([1n, 2n, number].map((blockNumber) => client.getBlock({ blockNumber, includeTransactions: true })));
    assert.deepEqual(blocks.map((block) => block.number), [1n, 2n, number]);
    assert.equal(blocks[1].parentHash, blocks[0].hash);
    assert.equal(await client.getGasPrice(), 1_000_000_000n);
    await assert.rejects(client.request({ method: 'eth_nothing' }), /does not exist/);
    if (name === 'webSocket') {
      // viem sends keep-alives meanwhile, calls with a null id, which must not end the connection.
      await new Promise((resolve) => setTimeout(resolve, 200));
      assert.equal(await client.getChainId(), CHAIN_ID);
      (await client.transport.getRpcClient()).close();
    }
  });
}

test('viem over webSocket: watchBlocks, watchEvent, and both again', TIMEOUT, async () => {
  const client = viem.createPublicClient({ chain, transport: viem.webSocket(leader.ws) });
  const before = await subscriptions();
  for (let round = 0; round < 2; round += 1) {
    const blocks = queue();
    const events = queue();
    const hashes = queue();
    const fail = (error) => assert.fail(error);
    const stops = [
      client.watchBlocks({ onBlock: blocks.put, onError: fail }),
      client.watchEvent({ address: ADDRESS, event: viem.parseAbiItem(TRANSFER), args: { from: FROM }, onLogs: (logs) => logs.forEach(events.put), onError: fail }),
      client.watchPendingTransactions({ onTransactions: (all) => all.forEach(hashes.put), onError: fail }),
    ];
    await eventually(WAIT_MS, 'three subscriptions', async () => (await subscriptions()) === before + 3);
    const hash = await emit(42n + BigInt(round));
    assert.equal(await hashes.next(), hash);
    await leader.call('weir_mine', 2);
    const [first, second] = [await blocks.next(), await blocks.next()];
    assert.equal(second.number, first.number + 1n);
    assert.equal(second.parentHash, first.hash);
    const log = await events.next();
    assert.deepEqual([log.args.value, log.transactionHash, log.blockNumber], [42n + BigInt(round), hash, first.number]);
    stops.forEach((stop) => stop());
    await eventually(WAIT_MS, 'none of them', async () => (await subscriptions()) === before);
    await leader.call('weir_mine');
    assert.equal(blocks.length + events.length + hashes.length, 0);
  }
  (await client.transport.getRpcClient()).close();
});

test('ethers: blocks, logs with null topics, subscribe again', TIMEOUT, async () => {
  const provider = new ethers.WebSocketProvider(leader.ws);
  assert.equal((await provider.getNetwork()).chainId, BigInt(CHAIN_ID));
  const filter = { address: [ADDRESS], topics: [null, TOPICS[1]] };
  for (let round = 0; round < 2; round += 1) {
    const before = await subscriptions();
    const numbers = queue();
    const logs = queue();
    await provider.on('block', numbers.put);
    await provider.on(filter, logs.put);
    await eventually(WAIT_MS, 'two subscriptions', async () => (await subscriptions()) === before + 2);
    const hash = await emit(7n);
    await leader.call('weir_mine', 2);
    const first = await numbers.next();
    assert.equal(await numbers.next(), first + 1);
    assert.equal((await logs.next()).transactionHash, hash);
    const block = await provider.getBlock(first);
    assert.deepEqual(block.transactions, [hash]);
    assert.equal((await provider.getTransaction(hash)).blockNumber, first);
    assert.equal((await provider.getLogs({ ...filter, fromBlock: first, toBlock: first })).length, 1);
    await provider.off('block');
    await provider.off(filter);
    await eventually(WAIT_MS, 'none of them', async () => (await subscriptions()) === before);
  }
  await provider.destroy();
  const http = new ethers.JsonRpcProvider(follower.http);
  const numbers = await Promise.all([http.getBlock(1), http.getBlock(2), http.getBlockNumber()]);
  assert.equal(numbers[1].parentHash, numbers[0].hash);
  http.destroy();
});

test('web3.js: subscriptions, batches, string ids', TIMEOUT, async () => {
  const web3 = new Web3(leader.ws);
  assert.equal(await web3.eth.getChainId(), BigInt(CHAIN_ID));
  const before = await subscriptions();
  for (let round = 0; round < 2; round += 1) {
    const heads = queue();
    const logs = queue();
    const blocks = await web3.eth.subscribe('newHeads');
    blocks.on('data', heads.put);
    const events = await web3.eth.subscribe('logs', { address: ADDRESS });
    events.on('data', logs.put);
    const syncing = await web3.eth.subscribe('syncing');
    assert.equal(await subscriptions(), before + 3);
    const hash = await emit(9n);
    await leader.call('weir_mine', 2);
    const [first, second] = [await heads.next(), await heads.next()];
    assert.equal(second.parentHash, first.hash);
    assert.equal((await logs.next()).transactionHash, hash);
    for (const one of [blocks, events, syncing]) await one.unsubscribe();
    assert.equal(await subscriptions(), before);
  }
  const batch = new web3.BatchRequest();
  const answers = [
    batch.add({ jsonrpc: '2.0', method: 'eth_chainId', params: [] }),
    batch.add({ jsonrpc: '2.0', method: 'eth_getBlockByNumber', params: ['0x1', false] }),
    batch.add({ jsonrpc: '2.0', method: 'eth_blockNumber', params: [] }),
  ];
  await batch.execute();
  const [id, block] = await Promise.all(answers);
  assert.deepEqual([id, block.number], ['0x849', '0x1']);
  web3.provider.disconnect();
});

for (const what of ['http', 'websocket', 'subscriptions']) {
  test(`web3.py: ${what}`, TIMEOUT, async () => {
    const script = path.join(__dirname, 'web3_client.py');
    await promisify(execFile)(process.env.PYTHON, ['-B', script, what, leader.ws, leader.http]);
  });
}
