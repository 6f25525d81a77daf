//! A secure listener of a whole loop, over a real socket: noise, and a client's own records damaged.
//!
//! Turned by hand, so that a run is over when it is over. Whatever comes, the loop lives, holds no more
//! than it says, and serves the next client.

use std::cell::OnceCell;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir::reactor::settings::{
    CertificateFiles, Heartbeat, ListenSettings, RouteSettings, Settings, TlsSettings,
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
/// An upgrade, and a message behind it.
const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\
    \x82\x84\0\0\0\0ping";

thread_local! {
    /// Keys and certificates cost more than a run: one authority, and one loop, for all of them.
    static LOOP: OnceCell<std::cell::RefCell<Fixture>> = const { OnceCell::new() };
}

/// The first byte chooses: nothing but noise; noise behind a true hello; records of a true session with
/// some of their bytes changed, in pieces; the same unchanged, which must be understood.
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
        let settings = Settings {
            // Nothing is to happen because time passes.
            handshake_timeout: Duration::from_secs(3600),
            close_timeout: Duration::from_secs(3600),
            heartbeat: None::<Heartbeat>,
            ..Settings::default()
        };
        let mut reactor = Reactor::new(settings).unwrap();
        let watch = None;
        let tls = TlsSettings { watch, ..TlsSettings::new(CertificateFiles { chain, key }) };
        reactor.set_tls(tls).unwrap();
        let echo = reactor.add_service(Echo).unwrap();
        reactor.add_route("/", echo, RouteSettings::default()).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let address = reactor.listen(&ListenSettings::secure(any)).unwrap();
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
                assert!(is_whole || !damage.is_empty(), "a true client was not understood");
            }
        }
        self.end(socket);
    }

    /// A handshake, a request and a message, with the client's records damaged as they go; whether the
    /// echo came back.
    fn converse(
        &mut self,
        client: &mut ClientConnection,
        socket: &mut TcpStream,
        damage: &[u8],
        cuts: &[usize],
    ) -> bool {
        let mut damage = Bytes(damage);
        let mut is_sent = false;
        let mut heard = Vec::new();
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < DEADLINE, "neither an echo nor an end");
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
            // Its end is the end of what there is, or of the stream.
            let _ = client.reader().read_to_end(&mut heard);
            if heard.ends_with(b"ping") {
                return true;
            }
        }
    }

    /// Sends in pieces, with a turn after each, until the server wants no more.
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

    /// The client goes; nothing may be left of it.
    fn end(&mut self, socket: TcpStream) {
        drop(socket);
        let begun = Instant::now();
        let is_left = |metrics: &Metrics| metrics.connections_now > 0 || metrics.accepted == 0;
        while is_left(self.reactor.metrics()) {
            assert!(begun.elapsed() < DEADLINE, "{}", self.reactor.metrics());
            self.turn();
        }
        assert_eq!(self.reactor.metrics().buffered_now, 0);
    }
}

/// Changes bytes here and there, drops some or repeats some; whether it did.
fn spoil(records: &mut Vec<u8>, damage: &mut Bytes<'_>) -> bool {
    let mut is_damaged = false;
    if records.is_empty() {
        return false;
    }
    // Some flights pass as they are, so that the later ones are met, too.
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
