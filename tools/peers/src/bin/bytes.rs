//! The bare relay: the cost of a proxy that only receives and sends.
//!
//! One thread, edge-triggered epoll by mio, sockets from std. Each client gets a connection to the
//! upstream, and bytes are passed both ways without a look at them. Back-pressure is by interest:
//! while a side takes no bytes, the other one is not read. It has no limits, timeouts or TLS.

use std::error::Error;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use slab::Slab;
use weir_peers::RelayOptions;

const LISTENER: Token = Token(usize::MAX);
const EVENTS: usize = 1024;
/// Bytes of one read: the same as weir's.
const READ_BYTES: usize = 256 * 1024;

/// One end of a pair: the client or the upstream.
struct Side {
    socket: TcpStream,
    /// Bytes from the other side that this one did not accept. While there are any, the other side
    /// is not read; so they are at most one read.
    unsent: Vec<u8>,
    /// Whether the socket has reached its end; everything before it was sent.
    is_ended: bool,
}

/// A client and its upstream connection, in this order.
type Pair = [Side; 2];

struct Bytes {
    upstream: SocketAddr,
    pairs: Slab<Pair>,
    buffer: Vec<u8>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let (listener, upstream) = RelayOptions::listen()?;
    Ok(relay(TcpListener::from_std(listener), upstream)?)
}

/// Relays until the process ends.
fn relay(mut listener: TcpListener, upstream: SocketAddr) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(EVENTS);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut bytes = Bytes { upstream, pairs: Slab::new(), buffer: vec![0; READ_BYTES] };
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => bytes.accept(&listener, poll.registry())?,
                Token(id) => {
                    bytes.serve(id / 2, id % 2, event.is_read_closed(), poll.registry());
                }
            }
        }
    }
}

impl Bytes {
    fn accept(&mut self, listener: &TcpListener, registry: &Registry) -> io::Result<()> {
        loop {
            let client = match listener.accept() {
                Ok((client, _)) => client,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let entry = self.pairs.vacant_entry();
            let mut pair = [Side::new(client)?, Side::new(TcpStream::connect(self.upstream)?)?];
            for (side, at) in pair.iter_mut().zip([0, 1]) {
                registry.register(&mut side.socket, token(entry.key(), at), Interest::READABLE)?;
            }
            entry.insert(pair);
        }
    }

    /// An event of side `at`: sends what is unsent to it, and passes what it has received. Both
    /// connections end after an error, and when both sides have ended.
    fn serve(&mut self, id: usize, at: usize, is_closed: bool, registry: &Registry) {
        // Two events of one poll: the first may have ended the pair.
        let Some(pair) = self.pairs.get_mut(id) else {
            return;
        };
        let served = flush(pair, id, at, registry)
            .and_then(|()| pass(pair, id, at, is_closed, &mut self.buffer, registry));
        if served.is_err() || pair.iter().all(|side| side.is_ended) {
            self.pairs.remove(id);
        }
    }
}

impl Side {
    fn new(socket: TcpStream) -> io::Result<Side> {
        socket.set_nodelay(true)?;
        Ok(Side { socket, unsent: Vec::new(), is_ended: false })
    }

    /// Sends `bytes`; the number that the socket accepted. It accepts none until it is connected.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.write(bytes) {
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) =>
            {
                Ok(0)
            }
            result => result,
        }
    }
}

/// Sends the unsent bytes of side `at`. Once there are none, the other side is read again.
fn flush(pair: &mut Pair, id: usize, at: usize, registry: &Registry) -> io::Result<()> {
    let side = &mut pair[at];
    if side.unsent.is_empty() {
        return Ok(());
    }
    let unsent = std::mem::take(&mut side.unsent);
    let sent = side.send(&unsent)?;
    if sent < unsent.len() {
        side.unsent = unsent;
        side.unsent.drain(..sent);
        return Ok(());
    }
    set_interests(pair, id, registry)
}

/// Reads side `at` until a read is short, or to the end if its peer has closed it, and sends each
/// read to the other side.
fn pass(
    pair: &mut Pair,
    id: usize,
    at: usize,
    is_closed: bool,
    buffer: &mut [u8],
    registry: &Registry,
) -> io::Result<()> {
    let [client, upstream] = pair;
    let (from, to) = if at == 0 { (client, upstream) } else { (upstream, client) };
    while to.unsent.is_empty() && !from.is_ended {
        let len = match from.socket.read(buffer) {
            Ok(0) => {
                from.is_ended = true;
                return to.socket.shutdown(Shutdown::Write);
            }
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let sent = to.send(&buffer[..len])?;
        if sent < len {
            to.unsent.extend_from_slice(&buffer[sent..len]);
            return set_interests(pair, id, registry);
        }
        if len < buffer.len() && !is_closed {
            return Ok(());
        }
    }
    Ok(())
}

/// A side is read while the other one has nothing unsent, and waited for while it has itself. Each
/// call reports readiness again, so that an end behind the last bytes is noticed.
fn set_interests(pair: &mut Pair, id: usize, registry: &Registry) -> io::Result<()> {
    let is_blocked = [!pair[0].unsent.is_empty(), !pair[1].unsent.is_empty()];
    for (at, side) in pair.iter_mut().enumerate() {
        let interest = match (is_blocked[1 - at], is_blocked[at]) {
            (false, false) => Interest::READABLE,
            (false, true) => Interest::READABLE | Interest::WRITABLE,
            // Epoll has no empty interest that mio can express; its events find both blocked.
            (true, _) => Interest::WRITABLE,
        };
        registry.reregister(&mut side.socket, token(id, at), interest)?;
    }
    Ok(())
}

fn token(id: usize, at: usize) -> Token {
    Token(2 * id + at)
}

#[cfg(test)]
mod tests {
    use std::net;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);
    const BYTES: usize = 32 << 20;

    /// The two ends of one relayed connection: the client's and the upstream's.
    fn ends() -> (net::TcpStream, net::TcpStream) {
        let upstream = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let to = upstream.local_addr().unwrap();
        thread::spawn(move || relay(listener, to));
        let client = net::TcpStream::connect(address).unwrap();
        let (server, _) = upstream.accept().unwrap();
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream.set_write_timeout(Some(DEADLINE)).unwrap();
        }
        (client, server)
    }

    fn pattern(from: usize, len: usize) -> Vec<u8> {
        (from..from + len).map(|at| (at * 7 + at / 256) as u8).collect()
    }

    /// Sends [`BYTES`] in both directions at once, and reads only once both writers are blocked.
    #[test]
    fn bytes_and_ends_pass_both_ways_behind_readers_that_pause() {
        let (client, server) = ends();
        let sent: [&AtomicUsize; 2] = [&AtomicUsize::new(0), &AtomicUsize::new(0)];
        thread::scope(|scope| {
            for (mut stream, sent) in [&client, &server].into_iter().zip(sent) {
                scope.spawn(move || {
                    while sent.load(Ordering::Relaxed) < BYTES {
                        let from = sent.load(Ordering::Relaxed);
                        let len = stream.write(&pattern(from, 10_007.min(BYTES - from))).unwrap();
                        sent.fetch_add(len, Ordering::Relaxed);
                    }
                    stream.shutdown(Shutdown::Write).unwrap();
                });
            }
            blocked(&sent);
            for mut stream in [&server, &client] {
                scope.spawn(move || {
                    let mut received = vec![0; BYTES];
                    stream.read_exact(&mut received).unwrap();
                    assert!(received == pattern(0, BYTES), "other bytes");
                    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the end");
                });
            }
        });
    }

    /// Waits until neither writer gets on: the queues of kernel and relay are full.
    fn blocked(sent: &[&AtomicUsize; 2]) {
        let start = Instant::now();
        let mut last = [0; 2];
        loop {
            thread::sleep(Duration::from_millis(100));
            let now = sent.map(|sent| sent.load(Ordering::Relaxed));
            if now == last && now.iter().all(|sent| *sent > 0) {
                break;
            }
            assert!(start.elapsed() < DEADLINE, "{now:?}");
            last = now;
        }
        assert!(last.iter().all(|sent| *sent < BYTES), "nothing was held back: {last:?}");
    }

    #[test]
    fn the_end_of_one_direction_does_not_end_the_other() {
        let (mut client, mut server) = ends();
        client.write_all(b"last").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        server.read_to_end(&mut received).unwrap();
        assert_eq!(received, b"last");
        server.write_all(b"late").unwrap();
        drop(server);
        received.clear();
        client.read_to_end(&mut received).unwrap();
        assert_eq!(received, b"late");
    }

    #[test]
    fn a_client_that_is_reset_ends_its_upstream_connection() {
        let (client, mut server) = ends();
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        // An end or a reset, as the relay closes its socket with or without bytes in it.
        let end = server.read(&mut [0]).map_err(|error| error.kind());
        assert!(matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)), "{end:?}");
    }
}
