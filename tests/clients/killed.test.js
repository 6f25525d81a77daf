'use strict';
// Many clients of an upstream that is killed, reset or stopped, in whatever state their tunnels are: each gets
// a Close frame, never the end of the stream alone (1006). CLIENTS is the number of clients, 200 by default.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');
const { Weir, within } = require('./weir.js');
const { Client } = require('./client.js');

const TIMEOUT = { timeout: 120_000 };
const WAIT_MS = 60_000;
const CLIENTS = Number(process.env.CLIENTS ?? 200);
const STATES = ['/idle', '/held', '/fragments', '/message'];

const children = new Set();
process.once('exit', () => children.forEach((child) => child.kill('SIGKILL')));

/** A process that accepts WebSockets and leaves their tunnels in the state that their path names. */
async function dying() {
  const child = spawn(process.execPath, [path.join(__dirname, 'dying_upstream.js')], { stdio: ['pipe', 'pipe', 'inherit'] });
  children.add(child);
  child.stdin.on('error', () => {});
  const lines = readline.createInterface({ input: child.stdout });
  const port = await within(WAIT_MS, 'port of the upstream', new Promise((resolve) => lines.once('line', resolve)));
  return { port, kill: (signal = 'SIGKILL') => child.kill(signal), reset: () => child.stdin.write('\n') };
}

/** weir in front of these upstreams while `body` runs. */
async function fronting(upstreams, pool, args, body) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weir-killed-'));
  const file = path.join(directory, 'weir.toml');
  const urls = JSON.stringify(upstreams.map(({ port }) => `http://127.0.0.1:${port}`));
  fs.writeFileSync(file, `[[pool]]\nname = "nodes"\nupstreams = ${urls}\n${pool}\n`
    + '[[route]]\npath = "/*"\nservice = "proxy"\npool = "nodes"\n');
  const weir = await Weir.start('--admin', '127.0.0.1:0', '--config', file, ...args);
  try {
    await body(weir);
  } finally {
    upstreams.forEach((upstream) => upstream.kill());
    await weir.stop();
    fs.rmSync(directory, { recursive: true });
  }
}

/** This many clients, a quarter in each state, half of them with deflate; all have read "ready". */
async function crowd(weir, count, states = STATES) {
  const clients = [];
  // In groups, so that the queue of the upstream's listener is never full.
  while (clients.length < count) {
    const group = Array.from({ length: Math.min(50, count - clients.length) }, (_, i) => {
      const perMessageDeflate = Math.floor(i / states.length) % 2 === 0;
      return Client.connect(weir.url + states[i % states.length], { perMessageDeflate });
    });
    clients.push(...await Promise.all(group));
  }
  const first = await Promise.all(clients.map((client) => client.next()));
  assert.deepEqual(new Set(first), new Set(['ready']));
  return clients;
}

/** How often the clients were closed with each code and reason. */
async function ends(clients) {
  const counts = {};
  for (const client of clients) {
    const { code, reason } = await within(WAIT_MS, 'close', client.closing);
    counts[`${code} ${reason}`] = (counts[`${code} ${reason}`] ?? 0) + 1;
  }
  assert.deepEqual(new Set(clients.flatMap((client) => client.socketErrors)), new Set());
  return counts;
}

/** Waits until weir's queues and unfinished frames have this many bytes. */
async function buffered(weir, least) {
  const started = Date.now();
  for (;;) {
    const text = await (await fetch(`${weir.admin}/metrics`)).text();
    const now = Number(/^weir_buffered_bytes (.*)$/m.exec(text)[1]);
    if (now >= least) return;
    assert.ok(Date.now() - started < WAIT_MS, `${now} bytes are buffered, not ${least}`);
  }
}

const closed = (weir, reason) => weir.metric('proxy_closed_total', `reason="${reason}"`);

test(`SIGKILL: each of ${CLIENTS} clients gets 1012 while another upstream is up`, TIMEOUT, async () => {
  const [first, second] = [await dying(), await dying()];
  await fronting([first, second], '', [], async (weir) => {
    const clients = await crowd(weir, CLIENTS);
    // Half frames are held.
    await buffered(weir, Math.floor(CLIENTS / STATES.length) * 20_000);
    first.kill();
    assert.deepEqual(await ends(clients), { '1012 upstream lost': CLIENTS });
    assert.equal(await closed(weir, 'upstream_lost'), CLIENTS);
    assert.equal(await closed(weir, 'closed_mid_frame'), 0);
    const again = await crowd(weir, 4);
    second.kill();
    assert.deepEqual(await ends(again), { '1012 upstream lost': 4 });
  });
});

test(`SIGKILL: each of ${CLIENTS} clients gets 1013 if checks have found the only upstream down`, TIMEOUT, async () => {
  const only = await dying();
  await fronting([only], 'health = "/health"\nhealth_interval = "200ms"', [], async (weir) => {
    const clients = await crowd(weir, CLIENTS);
    only.kill('SIGSTOP');
    const started = Date.now();
    while (await weir.metric('upstream_up', '') !== 0) assert.ok(Date.now() - started < WAIT_MS, 'still up');
    only.kill();
    assert.deepEqual(await ends(clients), { '1013 upstream lost': CLIENTS });
  });
});

test('SIGSTOP: the heartbeat finds a silent upstream, and its clients get 1012', TIMEOUT, async () => {
  const [first, second] = [await dying(), await dying()];
  const heartbeat = ['--ping-interval', '2s', '--pong-timeout', '1s', '--pong-misses-max', '1'];
  await fronting([first, second], '', heartbeat, async (weir) => {
    const clients = await crowd(weir, 40);
    first.kill('SIGSTOP');
    assert.deepEqual(await ends(clients), { '1012 upstream lost': 40 });
    assert.equal(await closed(weir, 'upstream_silent'), 40);
  });
});

test('a reset instead of a FIN is 1012', TIMEOUT, async () => {
  const upstream = await dying();
  await fronting([upstream], '', [], async (weir) => {
    const clients = await crowd(weir, 40, ['/reset']);
    upstream.reset();
    assert.deepEqual(await ends(clients), { '1012 upstream lost': 40 });
  });
});

test('an upstream that is killed while clients send 10 MiB to it is 1012', TIMEOUT, async () => {
  const upstream = await dying();
  await fronting([upstream], '', ['--message-max', '16MiB'], async (weir) => {
    const clients = await crowd(weir, 8, ['/deaf']);
    clients.forEach((client) => client.send(Buffer.alloc(10 * 1024 * 1024)));
    await buffered(weir, clients.length * 50_000);
    upstream.kill();
    assert.deepEqual(await ends(clients), { '1012 upstream lost': 8 });
  });
});

test('a client that has just sent Close 1000 gets 1000', TIMEOUT, async () => {
  const upstream = await dying();
  await fronting([upstream], '', [], async (weir) => {
    const clients = await crowd(weir, 40);
    clients.forEach((client) => client.ws.close(1000, 'done'));
    upstream.kill();
    assert.deepEqual(await ends(clients), { '1000 ': 40 });
  });
});
