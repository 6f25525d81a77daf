'use strict';
// A client of npm `ws` whose messages wait in a queue until a test takes them.

const WebSocket = require('ws');
const { within } = require('./weir.js');

const WAIT_MS = 10_000;

class Client {
  /** Connects; rejects with the HTTP status in `error.status` when the upgrade is refused. */
  static async connect(url, options = {}) {
    const client = new Client(url, options);
    await within(WAIT_MS, `upgrade of ${url}`, client.opened);
    return client;
  }

  constructor(url, options) {
    this.ws = new WebSocket(url, { perMessageDeflate: false, ...options });
    this.socketErrors = [];
    this.queue = [];
    this.taker = null;
    this.opened = new Promise((resolve, reject) => {
      this.ws.once('open', resolve);
      this.ws.on('error', reject);
      this.ws.once('unexpected-response', (request, response) => {
        request.destroy();
        const { statusCode: status, headers } = response;
        reject(Object.assign(new Error(`refused with ${status}`), { status, headers }));
      });
    });
    this.ws.on('upgrade', ({ socket }) => socket.on('error', (e) => this.socketErrors.push(e.code)));
    this.ws.on('message', (data, binary) => this.put(binary ? data : data.toString()));
    this.closing = new Promise((resolve) => {
      this.ws.once('close', (code, reason) => resolve({ code, reason: reason.toString() }));
    });
  }

  put(message) {
    const taker = this.taker;
    this.taker = null;
    if (taker) taker(message);
    else this.queue.push(message);
  }

  /** Takes the oldest message: a string for text, a Buffer for binary. */
  next() {
    if (this.queue.length > 0) return Promise.resolve(this.queue.shift());
    return within(WAIT_MS, 'message', new Promise((resolve) => (this.taker = resolve)));
  }

  send(message, options = {}) {
    this.ws.send(message, options);
  }

  /** Resolves to the `{ code, reason }` with which the connection ended. */
  closed() {
    return within(WAIT_MS, 'close', this.closing);
  }

  close(...codeAndReason) {
    this.ws.close(...codeAndReason);
    return this.closed();
  }

  /** Sends a ping and resolves to the payload of the next pong. */
  ping(payload) {
    const pong = new Promise((resolve) => this.ws.once('pong', resolve));
    this.ws.ping(payload);
    return within(WAIT_MS, 'pong', pong);
  }
}

module.exports = { Client };
