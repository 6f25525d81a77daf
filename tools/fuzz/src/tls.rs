//! A TLS listener of a whole loop, over a real socket: random bytes, and corrupted records of a
//! real client.
//!
//! The loop is driven turn by turn, so that a run ends deterministically. With any input, the loop
//! keeps running, holds only the memory it accounts for, and serves the next client.

use std::cell::OnceCell;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir::reactor::settings::{
    CertificateFiles, ListenSettings, RouteSettings, Settings, TlsSettings,
};
use weir::reactor::{Metrics, Reactor};
use weir::services::Echo;
use weir_authority::{Authority, Files};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::bytes::{Bytes, pieces};

/// Longer than any step takes.
const DEADLINE: Duration = Duration::from_secs(10);
/// An upgrade, and a message after it.
const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\
    \x82\x84\0\0\0\0ping";

thread_local! {
    /// Creating keys and certificates takes longer than a run: one authority and one loop serve all
    /// runs.
    static LOOP: OnceCell<std::cell::RefCell<Fixture>> = const { OnceCell::new() };
}

/// The first byte selects the input: random bytes; random bytes after a real hello; records of a
/// real session with some bytes changed, in parts; or unchanged records, which the server must
/// accept.
pub fn tls(data: &[u8]) {
    LOOP.with(|cell| {
        cell.get_or_init(|| Fixture::new().into()).borrow_mut().run(Bytes(data));
    });
}

struct Fixture {
    reactor: Reactor,
    address: SocketAddr,
    config: Arc<ClientConfig>,
    _authority: Authority,
}

impl Fixture {
    fn new() -> Fixture {
        let authority = Authority::new();
        let Files { chain, key } = authority.server(&["localhost"]);
        let settings = Settings::default()
            // No timeouts.
            .handshake_timeout(Duration::from_secs(3600))
            .close_timeout(Duration::from_secs(3600))
            .heartbeat(None);
        let mut reactor = Reactor::new(settings).unwrap();
        let watch = None;
        let tls = TlsSettings::new(CertificateFiles::new(chain, key)).watch(watch);
        reactor.set_tls(tls).unwrap();
        let echo = reactor.add_service(Echo).unwrap();
        reactor.add_route("/", echo, RouteSettings::default()).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let address = reactor.listen(&ListenSettings::new(any).secure(true)).unwrap();
        reactor.start().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority.file()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Fixture { reactor, address, config: Arc::new(config), _authority: authority }
    }

    fn run(&mut self, mut input: Bytes<'_>) {
        let kind = input.below(4).unwrap_or(0);
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let cuts = input.cuts();
        match kind {
            0 => self.send(&mut socket, input.0, &cuts),
            1 => {
                let mut hello = Vec::new();
                client.write_tls(&mut hello).unwrap();
                hello.extend_from_slice(input.0);
                self.send(&mut socket, &hello, &cuts);
            }
            kind => {
                let damage = if kind == 2 { input.0 } else { &[] };
                let is_whole = self.converse(&mut client, &mut socket, damage, &cuts);
                assert!(is_whole || !damage.is_empty(), "a real client was rejected");
            }
        }
        self.end(socket);
    }

    /// A handshake, a request and a message, with corrupted records of the client; returns whether
    /// the echo arrived.
    fn converse(
        &mut self,
        client: &mut ClientConnection,
        socket: &mut TcpStream,
        damage: &[u8],
        cuts: &[usize],
    ) -> bool {
        let mut damage = Bytes(damage);
        let mut is_sent = false;
        let mut received = Vec::new();
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < DEADLINE, "neither an echo nor an end");
            if !client.is_handshaking() && !is_sent {
                client.writer().write_all(REQUEST).unwrap();
                is_sent = true;
            }
            let mut records = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut records).unwrap();
            }
            let is_damaged = spoil(&mut records, &mut damage);
            self.send(socket, &records, cuts);
            if is_damaged {
                return false;
            }
            self.turn();
            match client.read_tls(socket) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(_) => return false,
            }
            if client.process_new_packets().is_err() {
                return false;
            }
            // Ends at the end of the available data, or of the stream.
            let _ = client.reader().read_to_end(&mut received);
            if received.ends_with(b"ping") {
                return true;
            }
        }
    }

    /// Sends in parts, with a turn after each, until the server closes the connection.
    fn send(&mut self, socket: &mut TcpStream, bytes: &[u8], cuts: &[usize]) {
        for piece in pieces(bytes, cuts) {
            if socket.write_all(piece).is_err() {
                return;
            }
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.reactor.turn(Some(Duration::from_millis(1))).unwrap();
        let held = self.reactor.metrics().buffered_now;
        assert!(held < 512 * 1024, "{held} bytes for one connection");
    }

    /// Closes the client; the server must keep nothing for it.
    fn end(&mut self, socket: TcpStream) {
        drop(socket);
        let start = Instant::now();
        let is_left = |metrics: &Metrics| metrics.connections_now > 0 || metrics.accepted == 0;
        while is_left(self.reactor.metrics()) {
            assert!(start.elapsed() < DEADLINE, "{}", self.reactor.metrics());
            self.turn();
        }
        assert_eq!(self.reactor.metrics().buffered_now, 0);
    }
}

/// Changes some bytes, drops some or repeats some; returns whether it did.
fn spoil(records: &mut Vec<u8>, damage: &mut Bytes<'_>) -> bool {
    let mut is_damaged = false;
    if records.is_empty() {
        return false;
    }
    // Some flights stay unchanged, so that later ones are reached, too.
    let count = damage.below(4).unwrap_or(0);
    for _ in 0..count {
        let (Some(at), Some(how), Some(value)) = (damage.u16(), damage.below(4), damage.u8())
        else {
            break;
        };
        let at = usize::from(at) % records.len();
        match how {
            0 | 1 => records[at] ^= value.max(1),
            2 => records.truncate(at + 1),
            _ => {
                let again = records[at..].to_vec();
                records.extend(again);
            }
        }
        is_damaged = true;
    }
    is_damaged
}
