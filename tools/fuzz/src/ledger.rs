//! The memory account of a whole loop: random peers over real sockets, and services that queue
//! messages for them.
//!
//! In a debug build the loop compares the account with its connections after each turn. This target
//! checks it against its limit, and that it is zero once all peers are gone.

use std::cell::{OnceCell, RefCell};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use socket2::SockRef;
use weir::protocol::{CloseCode, FrameHeader, Message, Opcode};
use weir::reactor::settings::{
    CertificateFiles, DeflateMode, ListenSettings, RouteSettings, Settings, TlsSettings,
};
use weir::reactor::{ConnId, Context, Metrics, Reactor, SendOutcome, Service, ServiceId, Target};
use weir_authority::{Authority, Files};

use crate::bytes::Bytes;

/// Longer than any step takes.
const DEADLINE: Duration = Duration::from_secs(10);
const PEERS_MAX: usize = 8;
/// So small that some inputs reach it.
const LIMIT: usize = 4 * 1024 * 1024;
/// Maximum memory above the limit: one growth of an outbox for each peer.
const SLACK: u64 = (PEERS_MAX * 80 * 1024) as u64;
const DEFLATED: usize = 0x40;

thread_local! {
    /// Creating keys and certificates takes longer than a run: one authority and one loop serve all
    /// runs.
    static LOOP: OnceCell<RefCell<Fixture>> = const { OnceCell::new() };
}

/// The input selects the actions of peers and services, one after the other.
pub fn ledger(data: &[u8]) {
    LOOP.with(|cell| {
        cell.get_or_init(|| Fixture::new().into()).borrow_mut().run(Bytes(data));
    });
}

/// Echoes messages, and pauses reading while the peer does not read.
struct Echo;

impl Service for Echo {
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        cx.subscribe(conn, "all").unwrap();
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        if cx.send(conn, message) == SendOutcome::Congested {
            cx.pause(conn);
        }
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        cx.resume(conn);
    }
}

struct Peer {
    socket: TcpStream,
    tls: Option<ClientConnection>,
    /// Bytes that the kernel did not accept.
    unsent: Vec<u8>,
}

impl Peer {
    /// Writes to the kernel and reads up to `room` bytes. `false` if the connection is over.
    fn pump(&mut self, room: usize) -> bool {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut self.unsent).unwrap();
            }
        }
        match self.socket.write(&self.unsent) {
            Ok(taken) => drop(self.unsent.drain(..taken)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        let mut read = vec![0; room];
        let len = match self.socket.read(&mut read) {
            Ok(0) if room > 0 => return false,
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return false,
        };
        let Some(tls) = &mut self.tls else {
            return true;
        };
        let mut records = &read[..len];
        while !records.is_empty() {
            if tls.read_tls(&mut records).is_err() || tls.process_new_packets().is_err() {
                return false;
            }
            let _ = tls.reader().read_to_end(&mut Vec::new());
        }
        true
    }

    fn send(&mut self, bytes: &[u8]) {
        match &mut self.tls {
            None => self.unsent.extend_from_slice(bytes),
            Some(tls) => {
                for piece in bytes.chunks(16 * 1024) {
                    // Before the handshake is done, rustls buffers up to its own limit only.
                    let _ = tls.writer().write(piece);
                    while tls.wants_write() {
                        tls.write_tls(&mut self.unsent).unwrap();
                    }
                }
            }
        }
    }

    fn reset(self) {
        SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

struct Fixture {
    reactor: Reactor,
    service: ServiceId,
    plain: SocketAddr,
    secure: SocketAddr,
    config: Arc<ClientConfig>,
    peers: Vec<Peer>,
    _authority: Authority,
}

impl Fixture {
    fn new() -> Fixture {
        let authority = Authority::new();
        let Files { chain, key } = authority.server(&["localhost"]);
        let settings = Settings::default()
            // No timeouts, except for a peer that does not answer a Close.
            .handshake_timeout(Duration::from_secs(3600))
            .close_timeout(Duration::from_millis(50))
            .heartbeat(None)
            .connections_max(2 * PEERS_MAX)
            .outbound_max(1)
            .buffered_bytes_max(LIMIT);
        let route = RouteSettings::default()
            .deflate(DeflateMode::Dedicated)
            .deflate_bytes_min(2000)
            .message_bytes_max(300_000)
            .outbox_low_bytes(16 * 1024)
            .outbox_soft_bytes(64 * 1024)
            .outbox_hard_bytes(1024 * 1024);
        let mut reactor = Reactor::new(settings).unwrap();
        let tls = TlsSettings::new(CertificateFiles::new(chain, key)).watch(None);
        reactor.set_tls(tls).unwrap();
        let service = reactor.add_service(Echo).unwrap();
        reactor.add_route("/", service, route).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let plain = reactor.listen(&ListenSettings::new(any)).unwrap();
        let secure = reactor.listen(&ListenSettings::new(any).secure(true)).unwrap();
        reactor.start().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority.file()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (config, peers) = (Arc::new(config), Vec::new());
        Fixture { reactor, service, plain, secure, config, peers, _authority: authority }
    }

    fn run(&mut self, mut input: Bytes<'_>) {
        while let Some(()) = self.step(&mut input) {
            self.turn();
        }
        std::mem::take(&mut self.peers).into_iter().for_each(Peer::reset);
        let started = Instant::now();
        let is_left = |metrics: &Metrics| metrics.connections_now > 0;
        while is_left(self.reactor.metrics()) {
            assert!(started.elapsed() < DEADLINE, "{}", self.reactor.metrics());
            self.turn();
        }
        let metrics = self.reactor.metrics();
        let left = (metrics.buffered_now, metrics.deflate_windows_now);
        assert_eq!(left, (0, 0), "bytes left from the peers and their windows");
        assert_eq!((metrics.deflate_windows_reserved_now, metrics.inflate_streams_now), (0, 0));
    }

    fn turn(&mut self) {
        self.reactor.turn(Some(Duration::ZERO)).unwrap();
        let held = self.reactor.metrics().buffered_now;
        assert!(held <= LIMIT as u64 + SLACK, "{held} bytes held");
    }

    /// One action; `None` at the end of the input.
    fn step(&mut self, input: &mut Bytes<'_>) -> Option<()> {
        let (what, which) = (input.u8()?, input.u8()?);
        match what % 20 {
            0..3 => self.connect(which, self.plain, false),
            3 => self.connect(which, self.secure, true),
            4..9 => self.send_frame(which, input),
            9 => {
                let len = usize::from(input.u16()?);
                self.with(which, |peer| peer.send(&vec![which; len]));
            }
            10..12 => self.pump(which, usize::from(input.u16()?)),
            12 => {
                let (len, times) = (usize::from(input.u8()?) * 2, input.below(20)?);
                for _ in 0..times {
                    self.publish(&vec![which; len]);
                }
            }
            13 => self.publish(&vec![which; 1000 + 2 * usize::from(input.u16()?)]),
            14 => {
                let message = vec![which; 4 * usize::from(input.u16()?)];
                self.command(which, |cx, id| {
                    let _ = cx.send(id, &message[..]);
                });
            }
            15 => self.command(which, |cx, id| cx.close(id, CloseCode::NORMAL, "")),
            16 => self.command(which, |cx, id| cx.abort(id)),
            17 => self.command(which, |cx, id| match which & 0x40 {
                0 => cx.pause(id),
                _ => cx.resume(id),
            }),
            18 => self.remove(which).map_or((), Peer::reset),
            _ => drop(self.remove(which)),
        }
        Some(())
    }

    /// Connects a new peer, which sends a request or a part of one.
    fn connect(&mut self, how: u8, address: SocketAddr, is_secure: bool) {
        if self.peers.len() == PEERS_MAX {
            return;
        }
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = is_secure
            .then(|| ClientConnection::new(Arc::clone(&self.config), name.to_owned()).unwrap());
        let mut peer = Peer { socket, tls, unsent: Vec::new() };
        // Some handshakes stay incomplete.
        for _ in 0..usize::from(how % 8) {
            if !peer.pump(64 * 1024) {
                return;
            }
            self.turn();
        }
        let deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        let offer = if how & 0x10 == 0 { "" } else { deflate };
        let request = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{offer}\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let len = if how & 0xE0 == 0xE0 { 50 } else { request.len() };
        peer.send(&request.as_bytes()[..len]);
        peer.pump(0);
        self.peers.push(peer);
    }

    /// Sends a frame, a fragment, or a part of one of them; some compressed, some control frames.
    fn send_frame(&mut self, which: u8, input: &mut Bytes<'_>) {
        let (Some(how), Some(len)) = (input.u8(), input.u16()) else {
            return;
        };
        let len =
            [usize::from(len % 126), usize::from(len), 4 * usize::from(len)][usize::from(how % 3)];
        let opcode =
            [Opcode::Binary, Opcode::Continuation, Opcode::Ping, Opcode::Close, Opcode::Binary]
                [usize::from(how / 3) % 5];
        let is_control = matches!(opcode, Opcode::Ping | Opcode::Close);
        let len = if is_control { len % 126 } else { len };
        let compressed = usize::from(how) & DEFLATED != 0 && opcode == Opcode::Binary;
        // A single stored block (RFC 1951, 3.2.4); the rest of it may be missing.
        let stored = len.clamp(6, 60_000) - 5;
        let (low, high) = ((stored & 0xFF) as u8, (stored >> 8) as u8);
        let payload = match compressed {
            true => [&[0, low, high, !low, !high][..], &vec![how; stored]].concat(),
            false => vec![how; len],
        };
        let header = FrameHeader {
            fin: how & 0x80 == 0 || is_control,
            compressed,
            opcode,
            mask: Some([0; 4]),
            payload_len: payload.len() as u64,
        };
        let mut frame = Vec::new();
        header.write(&mut frame);
        frame.extend_from_slice(&payload);
        let sent = if how % 7 == 0 { frame.len() / 2 } else { frame.len() };
        self.with(which, |peer| {
            peer.send(&frame[..sent]);
            peer.pump(0);
        });
    }

    fn pump(&mut self, which: u8, room: usize) {
        let index = usize::from(which) % self.peers.len().max(1);
        if self.peers.get_mut(index).is_some_and(|peer| !peer.pump(room)) {
            self.peers.remove(index);
        }
    }

    fn with(&mut self, which: u8, act: impl FnOnce(&mut Peer)) {
        let index = usize::from(which) % self.peers.len().max(1);
        if let Some(peer) = self.peers.get_mut(index) {
            act(peer);
        }
    }

    fn remove(&mut self, which: u8) -> Option<Peer> {
        let index = usize::from(which) % self.peers.len().max(1);
        (index < self.peers.len()).then(|| self.peers.remove(index))
    }

    fn publish(&mut self, payload: &[u8]) {
        let mut cx = self.reactor.context(self.service);
        let _ = cx.publish(Target::Topic("all"), payload, Default::default());
    }

    fn command(&mut self, which: u8, act: impl FnOnce(&mut Context<'_>, ConnId)) {
        let mut cx = self.reactor.context(self.service);
        let ids: Vec<ConnId> = cx.connections().collect();
        if let Some(&id) = ids.get(usize::from(which) % ids.len().max(1)) {
            act(&mut cx, id);
        }
    }
}
