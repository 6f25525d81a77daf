'use strict';
// A backend for auth_request of nginx, as one for oauth2-proxy's cookie: 2xx passes, 401 and 403 refuse. It
// knows nothing of weir.

const http = require('node:http');

const USERS = new Map([['s1', 'ann'], ['s2', 'bob']]);

/** Listens on a free port; `seen` collects the requests. */
async function authRequestBackend() {
  const seen = [];
  const server = http.createServer((request, response) => {
    seen.push(request);
    const session = /(?:^|; )session=(\w+)/.exec(request.headers.cookie ?? '')?.[1];
    const user = USERS.get(session);
    if (request.method !== 'GET' || request.url !== '/auth') return response.writeHead(404).end();
    if (user === undefined) {
      return response.writeHead(401, { 'WWW-Authenticate': 'Basic realm="login"' }).end('log in\n');
    }
    if (request.headers['x-original-uri'].startsWith('/admin') && user !== 'ann') {
      return response.writeHead(403).end('only for ann\n');
    }
    return response.writeHead(200, { 'X-Auth-Request-User': user }).end('welcome\n');
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  return { port, seen, close: () => { server.close(); server.closeAllConnections(); } };
}

module.exports = { authRequestBackend };
