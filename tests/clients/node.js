'use strict';
// Starts `weir node` processes for tests, each with a new data directory unless one is given.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');
const { within } = require('./weir.js');

const LISTEN_MS = 10_000;
const EXIT_MS = 15_000;

/** A directory that is removed at the end of the test's process. */
function directory() {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'weir-node-'));
  process.once('exit', () => fs.rmSync(made, { recursive: true, force: true }));
  return made;
}

/** A running node with its addresses `ws`, `http` and `health`. */
class Node {
  /** Starts a node with these flags; resolves when it listens. */
  static async start(...flags) {
    const node = new Node(flags);
    try {
      const [ws, health] = await within(LISTEN_MS, 'listening lines', node.listening);
      Object.assign(node, { ws, health, http: ws.replace(/^ws/, 'http') });
    } catch (error) {
      node.process.kill('SIGKILL');
      throw new Error(`${error.message}\n${node.log}`);
    }
    return node;
  }

  constructor(flags) {
    this.directory = directory();
    const usual = ['--data-dir', this.directory, '--rpc-addr', '127.0.0.1:0', '--health-addr', '127.0.0.1:0', '--log', 'warn'];
    // A repeated flag is refused, so the given flags replace the defaults.
    for (let at = 0; at < usual.length; at += 2) if (!flags.includes(usual[at])) flags = [...flags, usual[at], usual[at + 1]];
    this.process = spawn(process.env.WEIR, ['node', ...flags], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.log = '';
    this.process.stderr.on('data', (bytes) => (this.log = (this.log + bytes).slice(-16_384)));
    this.exited = new Promise((resolve, reject) => {
      this.process.once('error', reject);
      this.process.once('exit', (code, signal) => resolve({ code, signal }));
    });
    this.listening = new Promise((resolve, reject) => {
      const addresses = [];
      readline.createInterface({ input: this.process.stdout }).on('line', (line) => {
        if (!line.startsWith('listening ')) return;
        addresses.push(line.slice('listening '.length).replace(/\/$/, ''));
        if (addresses.length === 2) resolve(addresses);
      });
      this.exited.then((end) => reject(new Error(`weir ended early: ${JSON.stringify(end)}`)), reject);
    });
    this.listening.catch(() => {});
    process.once('exit', () => this.process.kill('SIGKILL'));
  }

  /** The whole answer to one call by HTTP POST. */
  async answer(method, params = []) {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
    const headers = { 'Content-Type': 'application/json' };
    const response = await fetch(this.http, { method: 'POST', headers, body });
    return response.json();
  }

  /** The result of a call that must succeed. */
  async call(method, ...params) {
    const { result, error } = await this.answer(method, params);
    if (error) throw new Error(`${method}: ${error.code} ${error.message}`);
    return result;
  }

  async watched() {
    return (await fetch(`${this.health}/healthz`)).json();
  }

  /** Sends a signal and resolves to the `{ code, signal }` of the end. */
  async stop(signal = 'SIGTERM') {
    this.process.kill(signal);
    try {
      return await within(EXIT_MS, `exit after ${signal}`, this.exited);
    } catch (error) {
      this.process.kill('SIGKILL');
      throw new Error(`${error.message}\n${this.log}`);
    }
  }
}

/** Resolves when `condition()` resolves to true; checks every 20 ms until the deadline. */
async function eventually(ms, what, condition) {
  const end = Date.now() + ms;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

module.exports = { Node, directory, eventually };
