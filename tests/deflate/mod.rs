//! permessage-deflate over real sockets: negotiation, what is sent, and its memory.

use std::time::Duration;

use weir::protocol::ProtocolError;
use weir::protocol::deflate::{Inflater, Offer};
use weir::protocol::handshake::ClientRequest;
use weir::reactor::settings::{DeflateMode, RouteSettings, Settings};
use weir::reactor::{CloseReason, ConnId, Context, Metrics, PublishOptions, Target};
use weir::services::Echo;
use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush};

use crate::support::{
    BINARY, ByHand, COMPRESSED, CONTINUATION, Client, PING, PONG, Seen, Server, TEXT, Watched,
    frame, header, next_end, upgrade,
};

mod inflating;
mod windows;

pub const OFFER: &str = "permessage-deflate; client_max_window_bits";
pub const ALONE: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

fn route(mode: DeflateMode) -> RouteSettings {
    RouteSettings::default().deflate(mode)
}

pub fn lines(offer: &str) -> String {
    format!("Sec-WebSocket-Extensions: {offer}\r\n")
}

/// A client with zlib streams: one for each direction, for the whole connection.
pub struct Peer {
    pub client: Client,
    deflate: Deflate,
    pub inflate: Inflate,
    /// Whether the stream is reset for each message that it sends.
    alone: bool,
}

impl Peer {
    /// Opens a connection; the server must answer the offer with `answer`.
    fn open(server: &Server, offer: &str, answer: &str) -> Peer {
        let (client, head) = Client::open_with(server.address, "/", &lines(offer));
        assert_eq!(header(&head, "Sec-WebSocket-Extensions"), Some(answer));
        Peer::on(client, answer)
    }

    pub fn on(client: Client, answer: &str) -> Peer {
        let bits = answer.split("client_max_window_bits=").nth(1);
        let bits = bits.map_or(15, |rest| rest.split(';').next().unwrap().parse().unwrap());
        Peer {
            client,
            deflate: Deflate::new(6, false, bits),
            inflate: Inflate::new(false, 15),
            alone: answer.contains("client_no_context_takeover"),
        }
    }

    fn compress(&mut self, message: &[u8]) -> Vec<u8> {
        if self.alone {
            self.deflate.reset();
        }
        let before = self.deflate.total_out();
        let mut out = vec![0; 2 * message.len() + 1024];
        self.deflate.compress(message, &mut out, DeflateFlush::SyncFlush).unwrap();
        out.truncate((self.deflate.total_out() - before) as usize - 4);
        out
    }

    pub fn send(&mut self, message: &[u8]) {
        let payload = self.compress(message);
        self.client.raw(&frame(true, COMPRESSED | BINARY, &payload));
    }

    /// Expects this message; returns the length of its frame's payload, and whether it was compressed.
    pub fn receive(&mut self, message: &[u8]) -> (usize, bool) {
        let frame = self.client.frame();
        assert!(frame.fin && (frame.opcode == TEXT || frame.opcode == BINARY), "{frame:?}");
        if !frame.compressed {
            assert!(frame.payload == message, "{} bytes came differently", frame.payload.len());
            return (frame.payload.len(), false);
        }
        let payload = [&frame.payload[..], &[0, 0, 0xFF, 0xFF]].concat();
        let mut out = vec![0; message.len() + 1];
        let before = self.inflate.total_out();
        self.inflate.decompress(&payload, &mut out, InflateFlush::SyncFlush).unwrap();
        out.truncate((self.inflate.total_out() - before) as usize);
        assert!(out == message, "{} bytes came differently", out.len());
        (frame.payload.len(), true)
    }

    fn echo(&mut self, message: &[u8]) -> (usize, bool) {
        self.send(message);
        self.receive(message)
    }
}

/// A kilobyte of JSON, a little different for each index.
pub fn json(index: usize) -> Vec<u8> {
    let item = |i: usize| {
        format!("{{\"id\":{},\"price\":{}.5,\"side\":\"buy\"}},", index + i, i * 7919 % 1000)
    };
    (0..28).map(item).collect::<String>().into_bytes()
}

pub fn noise(len: usize) -> Vec<u8> {
    let step = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((*state >> 24) as u8)
    };
    std::iter::successors(Some(7_u32), |state| {
        Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223))
    })
    .map(|mut state| step(&mut state).unwrap())
    .take(len)
    .collect()
}

fn watched(settings: Settings, route: RouteSettings) -> (Server, std::sync::mpsc::Receiver<Seen>) {
    Server::watched(settings, route)
}

/// Settings with a short close timeout, for peers that answer no Close.
fn impatient() -> Settings {
    Settings::default().close_timeout(Duration::from_millis(50))
}

/// Shuts down; no window may be held or reserved.
fn stop_clean(server: Server) -> Metrics {
    let metrics = server.stop_clean();
    let left = (metrics.deflate_windows_now, metrics.deflate_windows_reserved_now);
    assert_eq!(left, (0, 0), "windows left over: {metrics}");
    metrics
}

#[test]
fn shared_is_the_default_and_needs_no_memory() {
    let (server, _) = watched(Settings::default(), RouteSettings::default());
    let mut peer = Peer::open(&server, OFFER, ALONE);
    for index in 0..20 {
        let message = json(index);
        let (len, compressed) = peer.echo(&message);
        assert!(compressed && len < message.len() / 2, "{len} of {} bytes", message.len());
        // Without context takeover in either direction, a new stream inflates each message.
        peer.inflate.reset(false);
    }
    drop(peer);
    let metrics = stop_clean(server);
    assert_eq!(
        (metrics.deflate_agreed, metrics.messages_deflated, metrics.messages_inflated),
        (1, 20, 20)
    );
    let first = json(0).len() as u64;
    assert_eq!((metrics.messages_sized.total(), metrics.messages_sized.sum()), (1, first));
    assert_eq!(metrics.bytes_deflated_from, metrics.bytes_inflated_to);
    assert!(metrics.bytes_deflated_to < metrics.bytes_deflated_from / 2);
    assert!(metrics.bytes_inflated_from < metrics.bytes_inflated_to / 2);
}

#[test]
fn dedicated_messages_refer_to_earlier_ones() {
    let (server, _) = watched(Settings::default(), route(DeflateMode::Dedicated));
    let answer = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12";
    let mut peer = Peer::open(&server, OFFER, answer);
    let sizes: Vec<usize> = (0..20).map(|index| peer.echo(&json(index)).0).collect();
    assert!(sizes[19] < sizes[0] * 2 / 3, "{sizes:?}");
    // Without references they would be as large as the first.
    let mut alone = Peer::open(
        &server,
        &format!("{OFFER}; server_no_context_takeover"),
        "permessage-deflate; server_no_context_takeover; client_max_window_bits=12",
    );
    let first = alone.echo(&json(0)).0;
    assert_eq!(alone.echo(&json(0)).0, first);
    drop((peer, alone));
    stop_clean(server);
}

#[test]
fn off_negotiates_no_extension() {
    let (server, seen) = watched(Settings::default(), route(DeflateMode::Off));
    let (mut client, head) = Client::open_with(server.address, "/", &lines(OFFER));
    assert_eq!(header(&head, "Sec-WebSocket-Extensions"), None);
    let message = [b'a'; 1000];
    client.send(TEXT, &message);
    client.expect(TEXT, &message);
    client.raw(&frame(true, COMPRESSED | TEXT, &[0x00]));
    assert_eq!(client.expect_close(), (1002, "reserved bit set".into()));
    drop(client);
    assert_eq!(next_end(&seen), CloseReason::Protocol(ProtocolError::ReservedBits));
    let metrics = stop_clean(server);
    assert_eq!((metrics.deflate_agreed, metrics.messages_deflated), (0, 0));
}

#[test]
fn a_client_without_a_usable_offer_is_sent_no_compressed_message() {
    let (server, _) = watched(Settings::default(), RouteSettings::default());
    for offer in ["", "x-webkit-deflate-frame", "permessage-deflate; server_max_window_bits=8"] {
        let offered = if offer.is_empty() { String::new() } else { lines(offer) };
        let (mut client, head) = Client::open_with(server.address, "/", &offered);
        assert!(!head.to_ascii_lowercase().contains("sec-websocket-extensions"), "{head}");
        client.send(TEXT, &[b'a'; 1000]);
        client.expect(TEXT, &[b'a'; 1000]);
        client.raw(&frame(true, COMPRESSED | TEXT, &[0x00]));
        assert_eq!(client.expect_close().0, 1002);
    }
}

#[test]
fn small_and_incompressible_messages_are_sent_uncompressed() {
    let (server, _) = watched(Settings::default(), RouteSettings::default());
    let mut peer = Peer::open(&server, OFFER, ALONE);
    assert_eq!(peer.echo(&[b'a'; 255]), (255, false));
    assert!(peer.echo(&[b'a'; 256]).1);
    peer.inflate.reset(false);
    let noise = noise(5000);
    assert_eq!(peer.echo(&noise), (5000, false));
    assert!(peer.echo(&[b'a'; 5000]).1);
    // Control frames are never compressed.
    peer.client.send(PING, &[b'a'; 125]);
    peer.client.expect(PONG, &[b'a'; 125]);
    drop(peer);
    assert_eq!(stop_clean(server).messages_not_deflated, 1);
}

#[test]
fn every_message_is_compressed_with_a_minimum_of_zero() {
    let every = RouteSettings::default().deflate_bytes_min(0);
    let (server, _) = watched(Settings::default(), every);
    let mut peer = Peer::open(&server, OFFER, ALONE);
    assert!(peer.echo(&[b'a'; 20]).1);
    assert_eq!(peer.echo(b""), (0, false));
    peer.client.send(PING, &[b'a'; 100]);
    peer.client.expect(PONG, &[b'a'; 100]);
}

#[test]
fn a_broadcast_is_compressed_once_for_all_windows_that_hold_it() {
    let (service, _) = Watched::new(|cx, _, message| {
        let _ = cx.publish(Target::All, message, PublishOptions::default());
    });
    let server = Server::start(Settings::default(), move |reactor| {
        let service = reactor.add_service(service).unwrap();
        let dedicated = route(DeflateMode::Dedicated);
        reactor.add_route("/", service, dedicated).unwrap();
    });
    let wide = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12";
    let narrow = "permessage-deflate; server_max_window_bits=9";
    let mut plain = Client::open(server.address, "/");
    let mut first = Peer::open(&server, OFFER, wide);
    let mut second = Peer::open(&server, OFFER, wide);
    let mut third = Peer::open(
        &server,
        &narrow.replace("=9", "=9; a=b, permessage-deflate; server_max_window_bits=9"),
        narrow,
    );
    for index in 0..10 {
        let message = json(index);
        first.send(&message);
        plain.expect(BINARY, &message);
        let sizes = [first.receive(&message), second.receive(&message)];
        assert!(sizes[0] == sizes[1] && sizes[0].1, "{sizes:?}");
        // A message of a kilobyte may refer further back than a window of half a kilobyte.
        assert_eq!(third.receive(&message), (message.len(), false));
        let short = &message[..500];
        first.send(short);
        plain.expect(BINARY, short);
        assert!(first.receive(short).1 && second.receive(short).1 && third.receive(short).1);
    }
    drop((plain, first, second, third));
    assert_eq!(stop_clean(server).messages_deflated, 50);
}

/// Connects a server to itself with this offer, sends messages, and checks those that it receives.
fn dial(offer: Offer, mode: DeflateMode) -> Metrics {
    struct Dialer {
        route: weir::reactor::RouteId,
        server: std::net::SocketAddr,
        offer: Offer,
        received: std::sync::mpsc::Sender<Vec<u8>>,
    }
    impl weir::reactor::Service for Dialer {
        fn on_start(&mut self, cx: &mut Context<'_>) {
            let request = ClientRequest::new("localhost", "/").unwrap().deflate(self.offer);
            cx.connect(weir::reactor::Connect::to(self.server), self.route, &request).unwrap();
        }
        fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
            for index in 0..10 {
                let _ = cx.send(conn, &json(index)[..]);
            }
        }
        fn on_message(
            &mut self,
            _: &mut Context<'_>,
            _: ConnId,
            message: weir::protocol::Message<'_>,
        ) {
            let _ = self.received.send(message.as_bytes().to_vec());
        }
    }
    let (server, _) = watched(Settings::default(), route(mode));
    let (sender, received) = std::sync::mpsc::channel();
    let address = server.address;
    let client = Server::start(Settings::default(), move |reactor| {
        let unused = reactor.add_service(Echo).unwrap();
        let limits = reactor.add_outbound(unused, RouteSettings::default()).unwrap();
        let dialer = Dialer { route: limits, server: address, offer, received: sender };
        reactor.add_service(dialer).unwrap();
    });
    for index in 0..10 {
        assert_eq!(received.recv_timeout(crate::support::DEADLINE).unwrap(), json(index));
    }
    let metrics = stop_clean(client);
    let served = stop_clean(server);
    assert_eq!(served.messages_inflated, metrics.messages_deflated);
    assert_eq!(served.messages_deflated, metrics.messages_inflated);
    assert_eq!(served.bytes_deflated_to, metrics.bytes_inflated_from);
    metrics
}

#[test]
fn a_client_connection_compresses_too() {
    let mut sizes = Vec::new();
    for mode in [DeflateMode::Shared, DeflateMode::Dedicated] {
        for takeover in [false, true] {
            let metrics = dial(Offer { takeover }, mode);
            assert_eq!((metrics.messages_deflated, metrics.messages_inflated), (10, 10));
            sizes.push(metrics.bytes_deflated_to);
        }
    }
    assert!(
        sizes[3] < sizes[0] * 3 / 4 && sizes[0] == sizes[1] && sizes[1] == sizes[2],
        "{sizes:?}"
    );
    let metrics = dial(Offer { takeover: true }, DeflateMode::Off);
    assert_eq!((metrics.deflate_agreed, metrics.messages_deflated), (0, 0));
}
