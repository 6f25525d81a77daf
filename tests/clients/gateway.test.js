'use strict';
// A gateway in front of anvil, with viem, ethers, web3.js and web3.py. The upstream is used by a WebSocket
// that pushes heads, and by HTTP, which is polled.

const { before, after, test } = require('node:test');
const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { promisify } = require('node:util');
const { createPublicClient, parseAbiItem, webSocket } = require('viem');
const ethers = require('ethers');
const { Web3 } = require('web3');
const WebSocket = require('ws');
const { Weir, within, until } = require('./weir.js');
const { eventually } = require('./node.js');
const { Anvil } = require('./anvil.js');

const TIMEOUT = { timeout: 60_000 };
const WAIT_MS = 15_000;
const CHAIN = 31337;

// A contract whose every call logs one event, Ping(): PUSH32 topic, two zeros, LOG1.
const PING = ethers.id('Ping()');
const CODE = `7f${PING.slice(2)}5f5fa100`;
const INIT = `0x60${(CODE.length / 2).toString(16)}600c60003960${(CODE.length / 2).toString(16)}6000f3${CODE}`;

let anvil, weir, directory, contract;

/** A weir with a network for each protocol of the upstream at `url`, and an admin address. */
async function start(upstreams) {
  directory ??= fs.mkdtempSync(path.join(os.tmpdir(), 'weir-gateway-'));
  const networks = Object.entries(upstreams).map(
    ([project, urls]) => `[[network]]\nproject = "${project}"\nchain_id = ${CHAIN}\nupstreams = ${JSON.stringify(urls)}\n`);
  const file = path.join(directory, `${Math.random()}.toml`);
  fs.writeFileSync(file, networks.join('\n'));
  return Weir.start('--admin', '127.0.0.1:0', '--config', file);
}

const url = (project) => `${weir.url}/${project}/evm/${CHAIN}`;

/** Sends a transaction from one of anvil's own accounts; resolves to its receipt once it is mined. */
async function transact(transaction) {
  const [from] = await anvil.ask('eth_accounts');
  const hash = await anvil.ask('eth_sendTransaction', [{ from, gas: '0x100000', ...transaction }]);
  await anvil.mine();
  return anvil.ask('eth_getTransactionReceipt', [hash]);
}

const ping = () => transact({ to: contract });

/** Resolves when this many subscriptions are active: from then on every block is announced. */
async function subscribed(project, count) {
  const is = async (name, value) => (await weir.metric(name, `project="${project}"`)) === value;
  await eventually(WAIT_MS, `${count} subscriptions`, async () =>
    (await is('rpc_subscriptions', count)) && (await is('rpc_pending_calls', 0)));
}

before(async () => {
  anvil = await Anvil.start({ args: ['--no-mining'] });
  weir = await start({ ws: [anvil.ws], http: [anvil.http] });
  contract = (await transact({ data: INIT })).contractAddress;
});
after(async () => {
  assert.deepEqual(await weir.stop(), { code: 0, signal: null });
  await anvil.kill();
  fs.rmSync(directory, { recursive: true });
});

for (const project of ['ws', 'http']) {
  test(`viem over ${project}: block numbers, watchBlocks, watchEvent, and once more`, TIMEOUT, async () => {
    const transport = webSocket(url(project), { keepAlive: false, reconnect: false });
    const client = createPublicClient({ transport });
    const height = Number(await anvil.ask('eth_blockNumber'));
    assert.equal(Number(await client.getBlockNumber({ cacheTime: 0 })), height);
    assert.equal(await client.getChainId(), CHAIN);
    for (let round = 0; round < 2; round++) {
      const blocks = [];
      const logs = [];
      const errors = [];
      const stopBlocks = client.watchBlocks({ onBlock: (block) => blocks.push(block), onError: (e) => errors.push(e) });
      const stopEvents = client.watchEvent({
        address: contract,
        event: parseAbiItem('event Ping()'),
        onLogs: (found) => logs.push(...found),
        onError: (e) => errors.push(e),
      });
      // Watchers subscribe at different times.
      await subscribed(project, 2);
      const mined = [];
      for (let block = 0; block < 3; block++) mined.push(Number((await ping()).blockNumber));
      await until(WAIT_MS, 'the last block and log', () => logs.length >= 3 && blocks.length >= 3);
      // viem fetches each announced block before it reports it.
      assert.deepEqual(blocks.map((block) => Number(block.number)).sort((a, b) => a - b), mined);
      assert.deepEqual(logs.map((log) => Number(log.blockNumber)), mined);
      assert.ok(logs.every((log) => log.topics[0] === PING && !log.removed));
      assert.deepEqual(errors, []);
      stopBlocks();
      stopEvents();
      await subscribed(project, 0);
    }
    (await client.transport.getRpcClient()).close();
  });

  test(`ethers over ${project}: block events and logs, off and on again`, TIMEOUT, async () => {
    const provider = new ethers.WebSocketProvider(url(project), CHAIN, { staticNetwork: true });
    assert.equal(await provider.getBlockNumber(), Number(await anvil.ask('eth_blockNumber')));
    const several = await Promise.all([provider.getBlock(0), provider.getBalance(contract), provider.getCode(contract)]);
    assert.equal(several[2], `0x${CODE}`);
    for (let round = 0; round < 2; round++) {
      const heads = [];
      const logs = [];
      await provider.on('block', (number) => heads.push(number));
      await provider.on({ address: contract, topics: [PING] }, (log) => logs.push(log));
      await subscribed(project, 2);
      const receipt = await ping();
      await until(WAIT_MS, 'a head and a log', () => heads.length > 0 && logs.length > 0);
      assert.deepEqual(heads, [Number(receipt.blockNumber)]);
      assert.equal(logs[0].transactionHash, receipt.transactionHash);
      await provider.removeAllListeners();
      await subscribed(project, 0);
    }
    // Its unsubscribe calls are answered by now: it reports a pending call on a closed connection as an error.
    await provider.send('eth_gasPrice', []);
    await provider.destroy();
  });

  test(`web3.js over ${project}: heads, logs, batches`, TIMEOUT, async () => {
    const web3 = new Web3(new Web3.providers.WebsocketProvider(url(project), {}, { autoReconnect: false }));
    const batch = new web3.BatchRequest();
    const answers = ['eth_blockNumber', 'eth_gasPrice', 'eth_accounts'].map((method) =>
      batch.add({ method, params: [] }));
    await batch.execute();
    const [height, , accounts] = await Promise.all(answers);
    assert.equal(Number(height), Number(await anvil.ask('eth_blockNumber')));
    assert.equal(accounts.length, 10);
    for (let round = 0; round < 2; round++) {
      const heads = await web3.eth.subscribe('newBlockHeaders');
      const logs = await web3.eth.subscribe('logs', { address: contract });
      const said = { heads: [], logs: [] };
      heads.on('data', (head) => said.heads.push(head));
      logs.on('data', (log) => said.logs.push(log));
      const receipt = await ping();
      await until(WAIT_MS, 'a head and a log', () => said.heads.length > 0 && said.logs.length > 0);
      assert.deepEqual(said.heads.map((head) => head.hash), [receipt.blockHash]);
      assert.deepEqual(said.logs.map((log) => log.transactionHash), [receipt.transactionHash]);
      await heads.unsubscribe();
      await logs.unsubscribe();
    }
    web3.provider.disconnect();
  });

  test(`web3.py over ${project}: heads, logs, batches`, TIMEOUT, async () => {
    const script = path.join(__dirname, 'gateway_client.py');
    const args = ['-B', script, url(project), anvil.http, contract, PING];
    await promisify(execFile)(process.env.PYTHON, args);
  });
}

/** A subscriber that records heads, and the code of the Close. */
async function follow(target) {
  const socket = new WebSocket(target);
  const follower = { socket, heads: [], closed: null };
  socket.on('close', (code) => (follower.closed = code));
  const subscribed = new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.on('message', (data) => {
      const message = JSON.parse(data);
      if (message.id === 1) resolve();
      else follower.heads.push(message.params.result);
    });
  });
  await within(WAIT_MS, 'open', new Promise((resolve) => socket.once('open', resolve)));
  socket.send(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'eth_subscribe', params: ['newHeads'] }));
  await within(WAIT_MS, 'subscribed', subscribed);
  return follower;
}

/** Checks that each block was announced once, after its parent. */
function assertLinked({ heads }) {
  const seen = new Set();
  for (const { hash, parentHash } of heads) {
    assert.ok(seen.size === 0 || seen.has(parentHash), 'a block is missing');
    assert.ok(!seen.has(hash), 'a block came twice');
    seen.add(hash);
  }
}

for (const project of ['ws', 'http']) {
  test(`anvil is killed under 100 subscribers over ${project}, and comes back`, TIMEOUT, async () => {
    // Its state is kept in a file, so that the chain continues; without it a new chain would start.
    const state = path.join(directory, `state-${project}.json`);
    const args = ['--block-time', '1', '--state', state, '--state-interval', '1'];
    let chain = await Anvil.start({ args });
    const { port } = chain;
    const gateway = await start({ main: [chain[project]] });
    const target = `${gateway.url}/main/evm/${CHAIN}`;
    const followers = await Promise.all(Array.from({ length: 100 }, () => follow(target)));
    await until(WAIT_MS, 'heads', () => followers.every(({ heads }) => heads.length >= 3));
    await chain.kill();
    chain = await Anvil.start({ port, args });
    const over = ({ heads, closed }) => closed !== null || heads.length >= 6;
    await until(30_000, 'the next heads, or an end', () => followers.every(over));
    for (const follower of followers) {
      assertLinked(follower);
      assert.ok(follower.closed === null || follower.closed === 1012, `closed with ${follower.closed}`);
    }
    followers.forEach(({ socket }) => socket.terminate());
    assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
    await chain.kill();
  });

  test(`a restart of anvil with a new chain closes 100 subscribers over ${project} with 1012`, TIMEOUT, async () => {
    const args = ['--block-time', '1'];
    let chain = await Anvil.start({ args });
    const gateway = await start({ main: [chain[project]] });
    const target = `${gateway.url}/main/evm/${CHAIN}`;
    const followers = await Promise.all(Array.from({ length: 100 }, () => follow(target)));
    await until(WAIT_MS, 'heads', () => followers.every(({ heads }) => heads.length >= 2));
    await chain.kill();
    chain = await Anvil.start({ port: chain.port, args });
    await until(30_000, 'the end of each', () => followers.every(({ closed }) => closed !== null));
    for (const follower of followers) {
      assert.equal(follower.closed, 1012);
      assertLinked(follower);
    }
    const again = await follow(target);
    await until(WAIT_MS, 'heads of the new chain', () => again.heads.length >= 2);
    again.socket.terminate();
    assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
    await chain.kill();
  });
}
