'use strict';
// The load gates of a chain node, leader and follower, with npm `ws` as the client.

const { before, after, test } = require('node:test');
const assert = require('node:assert/strict');
const { execFile, spawnSync } = require('node:child_process');
const net = require('node:net');
const { promisify } = require('node:util');
const { Node, eventually } = require('./node.js');
const { Client } = require('./client.js');
const gates = require('./gates.js');

const TIMEOUT = { timeout: 60_000 };
const SAMPLE_KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
let leader;
let follower;

before(async () => {
  leader = await Node.start('--block-time', '200ms');
  follower = await Node.start('--role', 'follower', '--follow-rpc', leader.http);
});

test('help exits 0', TIMEOUT, () => {
  const { status, stdout } = spawnSync(process.env.WEIR, ['node', '--help'], { encoding: 'utf8' });
  assert.equal(status, 0);
  for (const flag of ['--role', '--follow-rpc', '--rpc-addr', '--health-addr', '--chain-id', '--block-time', '--data-dir']) {
    assert.ok(stdout.includes(flag), flag);
  }
});

test('a second node on one data directory is refused', TIMEOUT, () => {
  const flags = ['node', '--data-dir', leader.directory, '--rpc-addr', '127.0.0.1:0', '--health-addr', '127.0.0.1:0'];
  const { status, stderr } = spawnSync(process.env.WEIR, flags, { encoding: 'utf8' });
  assert.equal(status, 1);
  assert.match(stderr, /another process is using this data directory/);
});

test('the follower soon has the head of its leader', TIMEOUT, async () => {
  assert.match(await leader.call('eth_blockNumber'), /^0x[0-9a-f]+$/);
  await eventually(10_000, 'the same head', async () => {
    const heads = await Promise.all([leader.call('eth_blockNumber'), follower.call('eth_blockNumber')]);
    return heads[0] === heads[1];
  });
});

test('the follower answers subscriptions with leader-only', TIMEOUT, async () => {
  for (const method of ['eth_subscribe', 'eth_unsubscribe']) {
    const error = { code: -32000, message: 'leader-only' };
    assert.deepEqual(await gates.refused(follower.ws, method, ['newHeads']), { id: 7, error });
  }
});

for (const name of ['leader', 'follower']) {
  const node = () => (name === 'leader' ? leader : follower);

  test(`${name}: eth_chainId over HTTP`, TIMEOUT, async () => {
    assert.deepEqual(await node().answer('eth_chainId'), { jsonrpc: '2.0', id: 1, result: '0x849' });
  });

  test(`${name}: curl upgrades with the sample key`, TIMEOUT, async () => {
    const headers = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', `Sec-WebSocket-Key: ${SAMPLE_KEY}`];
    const flags = ['-sS', '-i', '-N', '--http1.1', '--max-time', '1', ...headers.flatMap((line) => ['-H', line])];
    // The connection stays open, so that curl ends with its timeout (28).
    const { stdout } = await promisify(execFile)('curl', [...flags, `${node().http}/`]).catch((error) => {
      if (error.code !== 28) throw error;
      return error;
    });
    assert.ok(stdout.startsWith('HTTP/1.1 101 Switching Protocols\r\n'), stdout);
    assert.match(stdout, /Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/);
  });

  test(`${name}: a blast of 20,000 requests ends with 1000`, TIMEOUT, async () => {
    // Every request is answered before the Close.
    const expected = { sent: 20_000, answered: 20_000, inOrder: true, code: 1000, reason: '', errors: [] };
    assert.deepEqual(await gates.blast(node().ws), expected);
  });

  test(`${name}: a client that does not read is closed with 1013`, TIMEOUT, async () => {
    assert.deepEqual(await gates.nonReader(node().ws), { code: 1013, reason: 'slow consumer', errors: [] });
  });

  test(`${name}: a message of 1 MiB and 1024 bytes is refused with 1009`, TIMEOUT, async () => {
    assert.deepEqual(await gates.oversize(node().ws), { bytes: 1024 * 1025, code: 1009, errors: [] });
  });
}

test('afterwards both nodes run, and no connection is left', TIMEOUT, async () => {
  assert.equal(await leader.call('eth_chainId'), '0x849');
  assert.equal(await follower.call('eth_chainId'), '0x849');
  const left = async (node) => {
    const { connections, subscriptions, calls } = await node.watched();
    return JSON.stringify({ connections, subscriptions, calls });
  };
  // The leader has one more connection, that of its follower.
  await eventually(10_000, 'counts of the leader', async () => (await left(leader)) === '{"connections":1,"subscriptions":1,"calls":0}');
  await eventually(10_000, 'counts of the follower', async () => (await left(follower)) === '{"connections":0,"subscriptions":0,"calls":0}');
});

test('SIGINT: 1001 to every client, exit 0, ports free', TIMEOUT, async () => {
  for (const node of [follower, leader]) {
    const clients = [await Client.connect(node.ws), await Client.connect(node.ws)];
    const ends = clients.map((client) => client.closed());
    assert.deepEqual(await node.stop('SIGINT'), { code: 0, signal: null });
    for (const { code } of await Promise.all(ends)) assert.equal(code, 1001);
    for (const url of [node.ws, node.health]) {
      const port = Number(new URL(url.replace(/^ws/, 'http')).port);
      const server = net.createServer();
      await new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
      await new Promise((resolve) => server.close(resolve));
    }
  }
});

after(async () => {
  for (const node of [leader, follower]) if (node && node.process.exitCode === null) await node.stop();
});
