// npm ws: echo at /, relay at /rooms/{name}. No compression without --deflate, no pings of its own; Node
// sets TCP_NODELAY itself. Options are --listen ADDR:PORT and --pin CPU, as for the other peers.

import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';

// From NODE_PATH, which imports ignore: the package is installed outside the tree.
const { WebSocketServer } = createRequire(import.meta.url)('ws');

const { values } = parseArgs({
  options: {
    listen: { type: 'string', default: '127.0.0.1:0' },
    pin: { type: 'string' },
    deflate: { type: 'boolean', default: false },
  },
});
if (values.pin !== undefined) {
  // Node has no API for it; -a also moves threads that are already running.
  const { status } = spawnSync('taskset', ['-acp', values.pin, `${process.pid}`]);
  if (status !== 0) throw new Error('taskset, of the package util-linux, is needed for --pin');
}

const { hostname, port } = new URL(`ws://${values.listen}`);
const server = new WebSocketServer({
  host: hostname.replace(/^\[|\]$/g, ''),
  port: Number(port),
  backlog: 4096,
  perMessageDeflate: values.deflate,
});
const rooms = new Map();

server.on('connection', (socket, request) => {
  socket.on('error', () => socket.terminate());
  if (!request.url.startsWith('/rooms/')) {
    socket.on('message', (data, binary) => socket.send(data, { binary }));
    return;
  }
  const room = rooms.get(request.url) ?? new Set();
  rooms.set(request.url, room.add(socket));
  socket.on('close', () => room.delete(socket));
  socket.on('message', (data, binary) => {
    for (const member of room) {
      if (member !== socket) member.send(data, { binary });
    }
  });
});
server.on('listening', () => {
  const { address, family, port } = server.address();
  console.log(`listening ws://${family === 'IPv6' ? `[${address}]` : address}:${port}/`);
});
// The parent process holds the other end: the server ends when the parent does.
process.stdin.on('end', () => process.exit()).on('error', () => process.exit()).resume();
