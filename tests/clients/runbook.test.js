'use strict';
// The runbook for operators of a node passes as it is written.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const path = require('node:path');

test('every gate of the runbook passes', { timeout: 120_000 }, async () => {
  const flags = [path.join(__dirname, 'runbook'), '--own-address'];
  const output = await new Promise((resolve) => {
    execFile(process.execPath, flags, { timeout: 110_000, maxBuffer: 1 << 24 }, (_, stdout, stderr) => resolve(stdout + stderr));
  });
  assert.ok(output.endsWith('RUNBOOK PASS\n'), output);
  for (const evidence of ['HELP_EXIT=0', 'PORTS_FREE', 'LISTEN ', '-boot-peers', '101 Switching Protocols', 'end of the log']) {
    assert.ok(output.includes(evidence), evidence);
  }
});
