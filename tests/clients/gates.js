'use strict';
// The load gates of a node's WebSocket endpoint, as functions that return the client's observations: tests
// assert them, the runbook prints them.

const { Client } = require('./client.js');

const BLAST = 20_000;
const BLAST_BURST = 200;
const NON_READER_BURST = 500;
/** Longer than it takes to fill the kernel's buffers and to be closed as a slow consumer. */
const NON_READER_MS = 8_000;
const OVERSIZE_BYTES = 1024 * 1024 + 1024;

const request = (id, method = 'eth_chainId', params = []) =>
  JSON.stringify({ jsonrpc: '2.0', id, method, params });

/** Sends 20,000 requests in bursts of 200 without waiting, then closes with 1000. */
async function blast(url) {
  const client = await Client.connect(url);
  for (let id = 0; id < BLAST; id += BLAST_BURST) {
    for (let at = id; at < id + BLAST_BURST; at += 1) client.send(request(at));
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { code, reason } = await client.close(1000);
  const ids = client.queue.map((text) => JSON.parse(text).id);
  const inOrder = ids.every((id, index) => id === index);
  return { sent: BLAST, answered: ids.length, inOrder, code, reason, errors: client.socketErrors };
}

/** Sends bursts of 500 requests with its socket paused; reads again after some seconds. */
async function nonReader(url) {
  const client = await Client.connect(url);
  const { _socket: socket } = client.ws;
  socket.pause();
  const burst = Array.from({ length: NON_READER_BURST }, (_, id) => request(id));
  const end = Date.now() + NON_READER_MS;
  while (Date.now() < end) {
    // The limit of bytes that wait in the client itself.
    if (socket.writableLength < 4 << 20) for (const text of burst) client.send(text);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  socket.resume();
  const { code, reason } = await client.closed();
  return { code, reason, errors: client.socketErrors };
}

/** Sends one message of 1 MiB and 1024 bytes. */
async function oversize(url) {
  const client = await Client.connect(url);
  client.send('x'.repeat(OVERSIZE_BYTES));
  const { code } = await client.closed();
  return { bytes: OVERSIZE_BYTES, code, errors: client.socketErrors };
}

/** The error of a call. */
async function refused(url, method, params) {
  const client = await Client.connect(url);
  client.send(request(7, method, params));
  const { id, error } = JSON.parse(await client.next());
  await client.close(1000);
  return { id, error };
}

module.exports = { request, blast, nonReader, oversize, refused };
