'use strict';
// An upstream that a test can kill: a process that accepts each WebSocket and never answers a frame.
// The path of the request names what it sends, behind the text "ready", and whether it reads:
//
//   /idle       nothing more
//   /held       half of a frame of 40,000 bytes
//   /fragments  300,000 bytes of a frame of 10 MiB
//   /message    one fragment of a message, and half of the next
//   /deaf       nothing more, and it does not read
//   /reset      half of a frame; it resets the connection (SO_LINGER 0) on the next line of its input
//
// It agrees to permessage-deflate if that is offered; its frames then have RSV1. The first line of its
// output is its port.

const { createHash, randomBytes } = require('node:crypto');
const net = require('node:net');
const readline = require('node:readline');
const { deflateRawSync } = require('node:zlib');

const FIN = 0x80, RSV1 = 0x40, TEXT = 1, BINARY = 2;
const MAGIC = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
/** A message of permessage-deflate: a stored block and nothing else (RFC 7692, 7.2.3.3). */
const READY = Buffer.concat([Buffer.from([0x00, 5, 0, 0xfa, 0xff]), Buffer.from('ready'), Buffer.from([0])]);
/** The start of a message, compressed or not. */
const NOISE = deflateRawSync(randomBytes(400_000), { level: 0 }).subarray(0, 300_000);

/** The header of a frame. */
function header(first, length) {
  const bytes = Buffer.alloc(10);
  bytes.writeUInt8(first, 0);
  bytes.writeUInt8(127, 1);
  bytes.writeBigUInt64BE(BigInt(length), 2);
  if (length > 65_535) return bytes;
  if (length < 126) return Buffer.from([first, length]);
  return Buffer.from([first, 126, length >> 8, length & 255]);
}

const resets = new Set();

function accept(socket, head) {
  const path = head.split(' ')[1];
  const key = /^sec-websocket-key: (.*)$/im.exec(head)[1].trim();
  const isDeflated = /^sec-websocket-extensions: .*permessage-deflate/im.test(head);
  const rsv = isDeflated ? RSV1 : 0;
  const ready = isDeflated ? READY : Buffer.from('ready');
  const digest = createHash('sha1').update(key + MAGIC).digest('base64');
  const lines = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade', `Sec-WebSocket-Accept: ${digest}`];
  if (isDeflated) lines.push('Sec-WebSocket-Extensions: permessage-deflate');
  const half = Buffer.concat([header(FIN | rsv | BINARY, 40_000), NOISE.subarray(0, 20_000)]);
  const behind = {
    '/idle': [],
    '/held': [half],
    '/fragments': [header(FIN | rsv | BINARY, 10 * 1024 * 1024), NOISE],
    '/message': [header(rsv | BINARY, 1000), NOISE.subarray(0, 1000), header(FIN, 1000), NOISE.subarray(0, 500)],
    '/deaf': [],
    '/reset': [half],
  }[path];
  const first = [Buffer.from(`${lines.join('\r\n')}\r\n\r\n`), header(FIN | rsv | TEXT, ready.length), ready];
  socket.write(Buffer.concat([...first, ...behind]));
  if (path === '/deaf') socket.pause();
  else socket.resume();
  if (path === '/reset') resets.add(socket);
}

const server = net.createServer((socket) => {
  let head = '';
  const read = (bytes) => {
    head += bytes.toString('latin1');
    if (!head.includes('\r\n\r\n')) return;
    socket.off('data', read);
    // A check of weir's.
    if (head.startsWith('GET /health ')) socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    else accept(socket, head);
  };
  socket.on('data', read).on('error', () => {});
});
server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => console.log(server.address().port));
readline.createInterface({ input: process.stdin })
  .on('line', () => resets.forEach((socket) => socket.resetAndDestroy()))
  .on('close', () => process.exit());
