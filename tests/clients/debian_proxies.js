'use strict';
// nginx and HAProxy, run while a test uses them. Each has its files in a folder of its own.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { within } = require('./weir.js');

/** A port of 127.0.0.1 that is probably free: it was a moment ago. */
async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const accepts = (port) => new Promise((resolve) => {
  const socket = net.connect(port, '127.0.0.1');
  socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
  socket.once('connect', () => socket.destroy());
});

/** Runs a proxy while `body` runs; `port` is where it listens. */
async function proxied(program, args, port, body) {
  const proxy = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  proxy.stderr.on('data', (bytes) => (log += bytes));
  const ended = new Promise((resolve) => proxy.once('exit', resolve));
  try {
    await within(10_000, `${program} listens`, (async () => {
      while (!(await accepts(port))) {
        assert.equal(proxy.exitCode, null, log);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    })());
    await body(proxy);
  } catch (error) {
    throw new Error(`${error.message}\n${log}`, { cause: error });
  } finally {
    proxy.kill('SIGTERM');
    await within(10_000, `${program} ends`, ended);
  }
}

/** Runs `body` with a folder that exists until it ends. */
async function withFolder(body) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'weir-proxies-'));
  try {
    await body(directory);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

/**
 * nginx in front of `upstream`, an http URL, with these lines in its location. `listen` is what follows
 * its address, such as "ssl", and further lines of the server.
 */
function nginx(upstream, lines, body, listen = '') {
  return withFolder(async (directory) => {
    const port = await freePort();
    const file = path.join(directory, 'nginx.conf');
    fs.writeFileSync(file, `
    daemon off; pid ${directory}/pid; error_log stderr;
    events {}
    http {
      access_log off;
      client_body_temp_path ${directory}; proxy_temp_path ${directory};
      fastcgi_temp_path ${directory}; uwsgi_temp_path ${directory}; scgi_temp_path ${directory};
      server {
        listen 127.0.0.1:${port} ${listen};
        location / {
          proxy_pass ${upstream};
          proxy_http_version 1.1;
          proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
          ${lines}
        }
      }
    }`);
    await proxied('nginx', ['-c', file, '-p', directory, '-e', 'stderr'], port, () => body(port));
  });
}

/**
 * HAProxy in front of `upstream`, an address, with these options of its server. `bind` is what follows
 * its own address, such as "accept-proxy"; `mode` is "tcp" or "http".
 */
function haproxy(upstream, options, body, { bind = '', mode = 'tcp' } = {}) {
  return withFolder(async (directory) => {
    const port = await freePort();
    const file = path.join(directory, 'haproxy.cfg');
    fs.writeFileSync(file, `
    global
      maxconn 100
    defaults
      mode ${mode}
      timeout connect 5s
      timeout client 60s
      timeout server 60s
      timeout tunnel 60s
      ${mode === 'http' ? 'option forwardfor' : ''}
    frontend front
      bind 127.0.0.1:${port} ${bind}
      default_backend back
    backend back
      server weir ${upstream} ${options}
`);
    await proxied('haproxy', ['-db', '-f', file], port, (process) => body(port, process));
  });
}

module.exports = { freePort, haproxy, nginx };
