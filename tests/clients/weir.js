'use strict';
// Starts weir processes for tests and ends exactly those. Every wait here has a deadline.

const { spawn } = require('node:child_process');
const readline = require('node:readline');

const LISTEN_MS = 10_000;
const EXIT_MS = 15_000;

/** Rejects with an error that names `what` when `promise` has not settled within `ms`. */
function within(ms, what, promise) {
  let timer;
  const deadline = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing within ${ms} ms`)), ms);
  });
  return Promise.race([promise, deadline]).finally(() => clearTimeout(timer));
}

/** Resolves when `condition()` is true; checks every 10 ms until the deadline. */
async function until(ms, what, condition) {
  const end = Date.now() + ms;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A running server: `url` (WebSocket), `http`, and `admin` if it has that, all without the last slash. */
class Weir {
  /** Starts `weir serve` on a free port with these additional arguments; resolves when it listens. */
  static start(...args) {
    return Weir.serve('127.0.0.1:0', args);
  }

  /** Starts it with TLS, with the certificates that the arguments name. */
  static secure(...args) {
    return Weir.serve('wss://127.0.0.1:0', args);
  }

  /** Starts an example of the library on a free port. It ends by the signal, without an exit code. */
  static example(name) {
    return Weir.listening(`${process.env.EXAMPLES}/${name}`, ['127.0.0.1:0']);
  }

  static serve(address, args) {
    return Weir.listening(process.env.WEIR, ['serve', '--listen', address, '--log', 'warn', ...args]);
  }

  static async listening(program, args) {
    const weir = new Weir(program, args);
    try {
      weir.url = (await within(LISTEN_MS, 'listening line', weir.listening)).replace(/\/$/, '');
    } catch (error) {
      weir.process.kill('SIGKILL');
      throw new Error(`${error.message}\n${weir.log}`);
    }
    weir.http = weir.url.replace(/^ws/, 'http');
    return weir;
  }

  constructor(program, args) {
    this.process = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.log = '';
    this.process.stderr.on('data', (bytes) => (this.log = (this.log + bytes).slice(-16_384)));
    this.exited = new Promise((resolve, reject) => {
      this.process.once('error', reject);
      this.process.once('exit', (code, signal) => resolve({ code, signal }));
    });
    this.listening = new Promise((resolve, reject) => {
      readline.createInterface({ input: this.process.stdout }).on('line', (line) => {
        if (/^listening (proxy\+)?wss?:/.test(line)) resolve(line.slice('listening '.length));
        if (line.startsWith('admin ')) this.admin = line.slice('admin '.length).replace(/\/$/, '');
      });
      this.exited.then((end) => reject(new Error(`weir ended early: ${JSON.stringify(end)}`)), reject);
    });
    this.listening.catch(() => {});
    process.once('exit', () => this.process.kill('SIGKILL'));
  }

  /** The sum of a metric's samples that have this label, such as `project="main"`. */
  async metric(name, label) {
    const text = await (await fetch(`${this.admin}/metrics`)).text();
    const samples = text.split('\n').filter((line) => line.startsWith(`weir_${name}{`) && line.includes(label));
    return samples.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  }

  /** Asks the server to stop and resolves to its `{ code, signal }`. */
  async stop() {
    this.process.kill('SIGTERM');
    try {
      return await within(EXIT_MS, 'exit after SIGTERM', this.exited);
    } catch (error) {
      this.process.kill('SIGKILL');
      throw new Error(`${error.message}\n${this.log}`);
    }
  }
}

// A test file that is ended by a signal still ends its servers, through the exit handlers.
process.once('SIGTERM', () => process.exit(143));

module.exports = { Weir, within, until };
