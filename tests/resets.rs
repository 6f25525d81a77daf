//! Connections that the peer resets, at every stage: no bytes of them stay in the memory ledger.
//!
//! The server is turned by hand, and some peers reset within a handler, so that the reset comes between
//! the read and the write of a turn.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use socket2::SockRef;
use weir::protocol::{CloseCode, Message};
use weir::reactor::settings::{
    CertificateFiles, DeflateMode, RouteSettings, Settings, TlsSettings,
};
use weir::reactor::{ConnId, Context, Reactor, Service, ServiceId, Target};
use weir_authority::{Authority, Files};

use crate::support::{
    BINARY, ByHand, CLOSE, COMPRESSED, CONTINUATION, DEADLINE, TEXT, frame, upgrade,
};

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

/// The client's end of a connection, in plaintext or with TLS.
struct Peer {
    socket: TcpStream,
    tls: Option<ClientConnection>,
}

impl Peer {
    fn send(&mut self, bytes: &[u8]) {
        let Some(tls) = &mut self.tls else {
            return self.socket.write_all(bytes).unwrap();
        };
        for piece in bytes.chunks(16 * 1024) {
            tls.writer().write_all(piece).unwrap();
            while tls.wants_write() {
                tls.write_tls(&mut self.socket).unwrap();
            }
        }
    }

    /// Ends the connection with a RST; bytes that either side has not read are lost.
    fn reset(self) {
        SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// Echoes each message, after resetting the peer that the test has put into `peer`. The text `"close"`
/// closes the connection.
struct Resetting {
    peer: Rc<RefCell<Option<Peer>>>,
}

impl Service for Resetting {
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        cx.subscribe(conn, "all").unwrap();
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        if let Some(peer) = self.peer.take() {
            peer.reset();
        }
        if message == Message::Text("close") {
            cx.close(conn, CloseCode::NORMAL, "as asked");
        } else {
            let _ = cx.send(conn, message);
        }
    }
}

struct Stage {
    server: ByHand,
    service: ServiceId,
    peer: Rc<RefCell<Option<Peer>>>,
    client: Option<(Arc<ClientConfig>, Authority)>,
}

impl Stage {
    fn new(secure: bool) -> Stage {
        let peer = Rc::new(RefCell::new(None));
        let service = Resetting { peer: Rc::clone(&peer) };
        let route = RouteSettings::default().deflate(DeflateMode::Dedicated);
        let mut added = None;
        let add = |reactor: &mut Reactor| {
            let service = reactor.add_service(service).unwrap();
            reactor.add_route("/", service, route).unwrap();
            added = Some(service);
        };
        let (server, client) = if secure {
            let authority = Authority::new();
            let Files { chain, key } = authority.server(&["localhost"]);
            let tls = TlsSettings::new(CertificateFiles::new(chain, key));
            let server = ByHand::secure(Settings::default(), |reactor| {
                reactor.set_tls(tls).unwrap();
                add(reactor);
            });
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(authority.file()).unwrap()).unwrap();
            let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            (server, Some((Arc::new(config), authority)))
        } else {
            (ByHand::new(Settings::default(), add), None)
        };
        Stage { server, service: added.unwrap(), peer, client }
    }

    /// A connection before its request, after its TLS handshake if it has one.
    fn connect(&mut self) -> Peer {
        let mut socket = TcpStream::connect(self.server.address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        let tls = self.client.as_ref().map(|(config, _)| {
            let name = ServerName::try_from("localhost").unwrap();
            ClientConnection::new(Arc::clone(config), name).unwrap()
        });
        let Some(mut tls) = tls else {
            return Peer { socket, tls };
        };
        let started = Instant::now();
        socket.set_nonblocking(true).unwrap();
        while tls.is_handshaking() || tls.wants_write() {
            assert!(started.elapsed() < DEADLINE, "no TLS within {DEADLINE:?}");
            if tls.wants_write() {
                tls.write_tls(&mut socket).unwrap();
            }
            self.server.reactor.turn(Some(Duration::from_millis(1))).unwrap();
            match tls.read_tls(&mut socket) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => drop(read.unwrap()),
            }
            tls.process_new_packets().unwrap();
        }
        socket.set_nonblocking(false).unwrap();
        Peer { socket, tls: Some(tls) }
    }

    /// An open WebSocket.
    fn open(&mut self, lines: &str) -> Peer {
        let mut peer = self.connect();
        let opened = self.server.reactor.metrics().opened;
        peer.send(upgrade("/", lines).as_bytes());
        self.server.turn_until("it opens", |metrics| metrics.opened > opened);
        peer
    }

    /// Sends, and turns until the server has read all of it.
    fn arrive(&mut self, peer: &mut Peer, bytes: &[u8]) {
        let before = self.server.reactor.metrics().bytes_read + bytes.len() as u64;
        peer.send(bytes);
        self.server.turn_until("it has arrived", |metrics| metrics.bytes_read >= before);
    }

    /// Sends a message whose handler resets the connection before it answers.
    fn reset_within(&mut self, mut peer: Peer, bytes: &[u8]) {
        peer.send(bytes);
        *self.peer.borrow_mut() = Some(peer);
    }

    /// Waits for the end of all connections; no bytes and no windows may be left.
    fn end(&mut self, what: &str) {
        self.server.turn_until(what, |metrics| metrics.connections_now == 0);
        let metrics = self.server.reactor.metrics();
        assert_eq!(metrics.buffered_now, 0, "bytes left after a reset in {what}");
        assert_eq!(metrics.deflate_windows_now, 0, "windows left after a reset in {what}");
    }
}

/// Resets a connection at one stage.
type Reset = fn(&mut Stage);

const RESETS: [(&str, Reset); 10] = [
    ("a head", |stage| {
        let mut peer = stage.connect();
        stage.arrive(&mut peer, &upgrade("/", "").as_bytes()[..40]);
        peer.reset();
    }),
    ("a frame", |stage| {
        let mut peer = stage.open("");
        stage.arrive(&mut peer, &frame(true, BINARY, &[1; 30_000])[..20_000]);
        peer.reset();
    }),
    ("fragments", |stage| {
        let mut peer = stage.open("");
        stage.arrive(&mut peer, &frame(false, BINARY, &[1; 30_000]));
        stage.arrive(&mut peer, &frame(false, CONTINUATION, &[2; 3_000]));
        peer.reset();
    }),
    ("a compressed message", |stage| {
        let mut peer = stage.open(OFFER);
        // A stored block of 4,000 bytes, and the header of the next (RFC 1951, 3.2.4).
        let block = [&[0, 0xA0, 0x0F, 0x5F, 0xF0][..], &[7; 4_000], &[0, 0xA0]].concat();
        stage.arrive(&mut peer, &frame(false, COMPRESSED | BINARY, &block));
        peer.reset();
    }),
    ("an answer", |stage| {
        let peer = stage.open("");
        stage.reset_within(peer, &frame(true, BINARY, &[1; 30_000]));
    }),
    ("many answers", |stage| {
        let peer = stage.open("");
        stage.reset_within(peer, &frame(true, TEXT, &[b'a'; 100]).repeat(200));
    }),
    ("a compressed answer", |stage| {
        let peer = stage.open(OFFER);
        let text: Vec<u8> = (0..30_000u32).map(|n| b'a' + (n * n % 23) as u8).collect();
        stage.reset_within(peer, &frame(true, TEXT, &text));
    }),
    ("a Close", |stage| {
        let peer = stage.open("");
        stage.reset_within(peer, &frame(true, TEXT, b"close"));
    }),
    ("the answer to a Close", |stage| {
        let mut peer = stage.open("");
        peer.send(&frame(true, TEXT, b"close"));
        let read = stage.server.reactor.metrics().bytes_read;
        stage.server.turn_until("it has arrived", |metrics| metrics.bytes_read > read);
        peer.send(&frame(true, CLOSE, &[0x03, 0xE8]));
        peer.reset();
    }),
    ("a broadcast", |stage| {
        let peers: Vec<Peer> = (0..8).map(|_| stage.open("")).collect();
        let mut cx = stage.server.reactor.context(stage.service);
        for payload in [&[1; 100][..], &[2; 100], &[3; 30_000]] {
            let published = cx.publish(Target::Topic("all"), payload, Default::default());
            assert_eq!(published.sent, 8);
        }
        peers.into_iter().for_each(Peer::reset);
    }),
];

#[test]
fn a_reset_leaves_nothing_in_the_ledger() {
    let mut stage = Stage::new(false);
    for (what, reset) in RESETS {
        reset(&mut stage);
        stage.end(what);
    }
}

#[test]
fn a_reset_leaves_nothing_in_the_ledger_under_tls() {
    let mut stage = Stage::new(true);
    for (what, reset) in RESETS {
        reset(&mut stage);
        stage.end(what);
    }
}

/// The peer does not read until the server holds output that the kernel does not take.
#[test]
fn a_reset_by_a_peer_that_does_not_read_leaves_nothing_in_the_ledger() {
    for secure in [false, true] {
        let mut stage = Stage::new(secure);
        let mut peer = stage.open("");
        peer.socket.set_nonblocking(false).unwrap();
        let message = frame(true, BINARY, &[1; 30_000]);
        let started = Instant::now();
        while stage.server.reactor.metrics().buffered_now == 0 {
            assert!(started.elapsed() < DEADLINE, "the kernel takes more and more");
            stage.arrive(&mut peer, &message);
        }
        peer.reset();
        stage.end("output that waits");
    }
}

#[test]
fn an_aborted_connection_is_not_written_to() {
    let mut stage = Stage::new(false);
    let mut peer = stage.open("");
    let written = stage.server.reactor.metrics().bytes_written;
    let mut cx = stage.server.reactor.context(stage.service);
    let id = cx.connections().next().unwrap();
    let _ = cx.send(id, "lost");
    cx.abort(id);
    stage.server.turn_until("it ends", |metrics| metrics.connections_now == 0);
    assert_eq!(stage.server.reactor.metrics().bytes_written, written);
    let mut received = Vec::new();
    // The last bytes may be lost by the reset.
    let _ = peer.socket.read_to_end(&mut received);
    assert!(received.ends_with(b"\r\n\r\n"), "{received:?}");
    stage.end("an abort");
}

/// Its copy of the broadcast is not encrypted any more, and no bytes of it stay.
#[test]
fn a_batch_member_whose_tls_fails_is_sent_the_alert_alone() {
    let mut stage = Stage::new(true);
    let mut peer = stage.open("");
    let mut cx = stage.server.reactor.context(stage.service);
    let published = cx.publish(Target::Topic("all"), "news", Default::default());
    assert_eq!(published.sent, 1);
    // A record with an invalid MAC.
    peer.socket.write_all(&[0x17, 3, 3, 0, 40]).unwrap();
    peer.socket.write_all(&[7; 40]).unwrap();
    stage.server.turn_until("TLS fails", |metrics| metrics.tls_failed == 1);
    let mut tls = peer.tls.take().unwrap();
    let alert = loop {
        stage.server.turn_until_readable(&peer.socket);
        tls.read_tls(&mut peer.socket).unwrap();
        if let Err(error) = tls.process_new_packets() {
            break error;
        }
    };
    assert_eq!(alert, rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
    assert_eq!(stage.server.reactor.metrics().messages_dropped, 1);
    drop(peer);
    stage.end("an alert");
}
