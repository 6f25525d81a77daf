'use strict';
// promtool checks the format, the names and the help of all metrics of a gateway and a node.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const WebSocket = require('ws');
const { Weir } = require('./weir.js');
const { Node } = require('./node.js');

const TIMEOUT = { timeout: 30_000 };

/** Fails if `promtool check metrics` reports anything about this text. */
function check(text) {
  const { status, stdout, stderr, error } = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
  assert.ifError(error);
  assert.deepEqual({ status, output: stdout + stderr }, { status: 0, output: '' }, text);
}

async function metrics(admin, accept) {
  const answer = await fetch(`${admin}/metrics`, { headers: accept ? { accept } : {} });
  return { type: answer.headers.get('content-type'), text: await answer.text() };
}

test('promtool accepts the metrics of a server with a network', TIMEOUT, async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weir-metrics-'));
  const file = path.join(directory, 'weir.toml');
  fs.writeFileSync(file, `
    [[route]]
    path = "/"
    service = "echo"
    [[network]]
    project = "main"
    chain_id = 1
    upstreams = ["http://127.0.0.1:9", "ws://127.0.0.1:9"]
  `);
  const weir = await Weir.start('--admin', '127.0.0.1:0', '--config', file);
  try {
    const client = new WebSocket(`${weir.url}/`);
    await new Promise((resolve, reject) => client.on('open', resolve).on('error', reject));
    client.send('message');
    await new Promise((resolve) => client.on('message', resolve));
    client.terminate();
    const { type, text } = await metrics(weir.admin);
    assert.equal(type, 'text/plain; version=0.0.4; charset=utf-8');
    assert.match(text, /^weir_received_messages_total 1$/m);
    check(text);
    const open = await metrics(weir.admin, 'application/openmetrics-text; version=1.0.0');
    assert.equal(open.type, 'application/openmetrics-text; version=1.0.0; charset=utf-8');
    assert.ok(open.text.endsWith('# EOF\n'));
  } finally {
    await weir.stop();
    fs.rmSync(directory, { recursive: true });
  }
});

test('promtool accepts the metrics of a node', TIMEOUT, async () => {
  const node = await Node.start('--block-time', '50ms');
  try {
    const { text } = await metrics(node.health);
    assert.match(text, /^weir_build_info\{version="[^"]+",commit="[^"]+"\} 1/m);
    check(text);
  } finally {
    await node.stop();
  }
});
