'use strict';
// Starts and ends processes of anvil, a development chain. Every wait has a deadline.

const { spawn } = require('node:child_process');
const path = require('node:path');
const readline = require('node:readline');
const { within } = require('./weir.js');

const START_MS = 20_000;
const EXIT_MS = 10_000;

const running = new Set();
process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** The binary that npm has installed for this platform. */
function binary() {
  const platform = `${process.platform}-${process.arch === 'x64' ? 'amd64' : process.arch}`;
  const package_ = require.resolve(`@foundry-rs/anvil-${platform}/package.json`);
  return path.join(path.dirname(package_), 'bin', 'anvil');
}

/** A running chain: `port`, and its URLs `ws` and `http`. */
class Anvil {
  /** Starts it with these additional arguments, on a free port unless one is given. */
  static async start({ port = 0, args = [] } = {}) {
    const anvil = new Anvil(port, args);
    try {
      anvil.port = Number(await within(START_MS, 'anvil listens', anvil.listening));
    } catch (error) {
      anvil.process.kill('SIGKILL');
      throw error;
    }
    anvil.ws = `ws://127.0.0.1:${anvil.port}`;
    anvil.http = `http://127.0.0.1:${anvil.port}`;
    return anvil;
  }

  constructor(port, args) {
    const command = ['--host', '127.0.0.1', '--port', String(port), ...args];
    this.process = spawn(binary(), command, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.exited = new Promise((resolve) => this.process.once('exit', resolve));
    this.listening = new Promise((resolve, reject) => {
      readline.createInterface({ input: this.process.stdout }).on('line', (line) => {
        const found = /^Listening on [\d.]+:(\d+)/.exec(line);
        if (found) resolve(found[1]);
      });
      this.process.once('error', reject);
      this.exited.then((code) => reject(new Error(`anvil ended early: ${code}`)));
    });
    this.listening.catch(() => {});
    running.add(this.process);
    this.exited.then(() => running.delete(this.process));
  }

  /** Ends it by SIGKILL. */
  async kill() {
    this.process.kill('SIGKILL');
    await within(EXIT_MS, 'anvil ends', this.exited);
  }

  /** Calls one of its own methods, such as one that mines a block. */
  async ask(method, params = []) {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
    const response = await fetch(this.http, {
      method: 'POST', body, headers: { 'content-type': 'application/json' },
    });
    const { result, error } = await response.json();
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  }

  mine(blocks = 1) {
    return this.ask('anvil_mine', [`0x${blocks.toString(16)}`]);
  }
}

module.exports = { Anvil };
