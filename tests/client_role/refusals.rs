//! Outbound connections that fail: no listener, invalid or late responses, violations, and limits.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use weir::protocol::handshake::{Accept, ClientError, ClientRequest, EMPTY_SLOTS, Request};
use weir::protocol::{CloseCode, Decoder, Event, ProtocolError, Role, Spares};
use weir::reactor::settings::{Rate, RouteSettings, Settings};
use weir::reactor::{CloseReason, ConnId, Connect, Context, RouteId, SendOutcome};

use crate::puppet::{Puppet, Report, Strings};
use crate::support::{Client, DEADLINE, PING, PONG, Server, TEXT, frame};

fn request() -> ClientRequest {
    ClientRequest::new("test", "/").unwrap()
}

/// A loop whose service can make outbound connections.
fn client(settings: Settings) -> (Server, Strings, RouteId) {
    let (puppet, strings) = Puppet::new();
    let (server, route) = puppet.serve_and_connect(settings);
    (server, strings, route)
}

fn connect(strings: &Strings, route: RouteId, to: SocketAddr) -> ConnId {
    strings.run(move |cx| cx.connect(Connect::to(to), route, &request())).unwrap()
}

/// A server whose responses the test writes.
struct Peer {
    listener: TcpListener,
    address: SocketAddr,
}

impl Peer {
    fn new() -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        Peer { listener, address }
    }

    /// Accepts one connection and reads its request.
    fn accept(&self) -> (TcpStream, Vec<u8>) {
        let (mut stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a whole request");
            head.push(byte[0]);
        }
        (stream, head)
    }

    /// Accepts one connection, and writes the response that opens it and `behind` at once.
    fn open(&self, behind: &[u8]) -> TcpStream {
        let (mut stream, head) = self.accept();
        let mut answer = answer(&head);
        answer.extend_from_slice(behind);
        stream.write_all(&answer).unwrap();
        stream
    }
}

fn answer(head: &[u8]) -> Vec<u8> {
    let mut slots = EMPTY_SLOTS;
    let request = Request::parse(head, &mut slots).unwrap();
    let accept = request.upgrade().unwrap().accept();
    let mut answer = Vec::new();
    Accept::new().write(&mut answer, &accept, "").unwrap();
    answer
}

/// Opcode and payload of the next frame from a client, which must be masked.
fn next_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut decoder = Decoder::new(Role::Server);
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a whole frame");
        let step = decoder.decode(&mut byte, 1024, &mut Spares::default()).expect("a masked frame");
        match step.event {
            None | Some(Event::Compressed(_)) => {}
            Some(Event::Message(message)) => break (TEXT, message.as_bytes().to_vec()),
            Some(Event::Ping(payload)) => break (PING, payload.to_vec()),
            Some(Event::Pong(payload)) => break (PONG, payload.to_vec()),
            Some(Event::Close(close)) => {
                let code = close.map_or(0, |close| close.code.get());
                break (crate::support::CLOSE, code.to_be_bytes().to_vec());
            }
        }
    }
}

/// An unmasked frame with up to 125 bytes of payload.
fn server_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    [&[0x80 | opcode, payload.len() as u8], payload].concat()
}

#[test]
fn a_refused_connection_is_connect_failed() {
    let closed = Peer::new().address;
    let (server, strings, route) = client(Settings::default());
    let id = connect(&strings, route, closed);
    let refused = CloseReason::ConnectFailed(ErrorKind::ConnectionRefused);
    assert_eq!(strings.next(), Report::Closed(id, refused));
    assert_eq!(refused.to_string(), "connect_failed (connection refused)");
    assert!(strings.run(move |cx| cx.record(id).is_none()));
    assert_eq!(server.stop().connections_now, 0);
    assert_eq!(strings.rest(), []);
}

#[test]
fn an_invalid_response_is_upgrade_failed() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n";
    let wrong_accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let answers = [
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
            ClientError::Status(404),
        ),
        (format!("{switching}Upgrade: websocket\r\n{wrong_accept}"), ClientError::Accept),
        (format!("{switching}Upgrade: h2c\r\n{wrong_accept}"), ClientError::Upgrade),
        ("SSH-2.0-OpenSSH_9.6\r\n\r\n".to_owned(), ClientError::Malformed),
        ("\0\u{1}\u{2}\r\n\r\n".to_owned(), ClientError::Malformed),
        (format!("{switching}X: {}\r\n\r\n", "x".repeat(20_000)), ClientError::HeadTooLong),
    ];
    let (server, strings, route) = client(Settings::default());
    let peer = Peer::new();
    for (answer, error) in answers {
        let id = connect(&strings, route, peer.address);
        let (mut stream, _) = peer.accept();
        stream.write_all(answer.as_bytes()).unwrap();
        assert_eq!(strings.next(), Report::Closed(id, CloseReason::UpgradeFailed(error)));
    }
    assert_eq!(server.stop().opened, 0);
    assert_eq!(strings.rest(), []);
}

#[test]
fn a_404_is_upgrade_failed() {
    let far = Server::start(Settings::default(), |_| {});
    let (_server, strings, route) = client(Settings::default());
    let id = connect(&strings, route, far.address);
    let why = CloseReason::UpgradeFailed(ClientError::Status(404));
    assert_eq!(strings.next(), Report::Closed(id, why));
}

#[test]
fn the_handshake_timeout_ends_a_connection_without_a_response() {
    let settings = Settings::default().handshake_timeout(Duration::from_millis(200));
    let (_server, strings, route) = client(settings);
    let peer = Peer::new();
    let id = connect(&strings, route, peer.address);
    let (mut stream, head) = peer.accept();
    // Half a response does not count.
    stream.write_all(&answer(&head)[..40]).unwrap();
    assert_eq!(strings.next(), Report::Closed(id, CloseReason::HandshakeTimeout));
    strings.expect_no_report();
}

#[test]
fn a_response_may_arrive_in_pieces_with_frames_behind_it() {
    let (_server, strings, route) = client(Settings::default());
    let peer = Peer::new();
    let id = connect(&strings, route, peer.address);
    let (mut stream, head) = peer.accept();
    let mut bytes = answer(&head);
    bytes.extend(server_frame(TEXT, b"behind it"));
    for byte in bytes {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(strings.next(), Report::Opened(id));
    assert_eq!(strings.next(), Report::Text(id, "behind it".to_owned()));

    let id = connect(&strings, route, peer.address);
    let _stream = peer.open(&server_frame(TEXT, b"in one write"));
    assert_eq!(strings.next(), Report::Opened(id));
    assert_eq!(strings.next(), Report::Text(id, "in one write".to_owned()));
}

#[test]
fn a_server_that_ends_before_its_response_is_peer_gone() {
    let (_server, strings, route) = client(Settings::default());
    let peer = Peer::new();
    let id = connect(&strings, route, peer.address);
    drop(peer.accept());
    assert_eq!(strings.next(), Report::Closed(id, CloseReason::PeerGone));
    strings.expect_no_report();
}

#[test]
fn a_masked_frame_from_a_server_is_an_error() {
    let (_server, strings, route) = client(Settings::default());
    let peer = Peer::new();
    let id = connect(&strings, route, peer.address);
    let mut stream = peer.open(&frame(true, TEXT, b"masked"));
    assert_eq!(strings.next(), Report::Opened(id));
    assert_eq!(next_frame(&mut stream), (crate::support::CLOSE, 1002_u16.to_be_bytes().to_vec()));
    drop(stream);
    let why = CloseReason::Protocol(ProtocolError::Masked);
    assert_eq!(strings.next(), Report::Closed(id, why));
    strings.expect_no_report();
}

#[test]
fn pings_go_both_ways_masked_from_the_client() {
    let (_server, strings, route) = client(Settings::default());
    let peer = Peer::new();
    let id = connect(&strings, route, peer.address);
    let mut stream = peer.open(&server_frame(PING, b"from the server"));
    assert_eq!(strings.next(), Report::Opened(id));
    assert_eq!(next_frame(&mut stream), (PONG, b"from the server".to_vec()));
    strings.run(move |cx| assert_eq!(cx.ping(id, b"from the client"), SendOutcome::Queued));
    assert_eq!(next_frame(&mut stream), (PING, b"from the client".to_vec()));
    stream.write_all(&server_frame(PONG, b"from the client")).unwrap();

    // The server closes; the client's Close is masked, too.
    stream.write_all(&server_frame(crate::support::CLOSE, &1001_u16.to_be_bytes())).unwrap();
    assert_eq!(next_frame(&mut stream), (crate::support::CLOSE, 1001_u16.to_be_bytes().to_vec()));
    drop(stream);
    let why = CloseReason::PeerClosed(Some(CloseCode::GOING_AWAY));
    assert_eq!(strings.next(), Report::Closed(id, why));
}

#[test]
fn a_connection_that_is_not_open_sends_nothing_and_can_be_closed() {
    let (_server, strings, route) = client(Settings::default());
    let peer = Peer::new();
    let to = peer.address;
    let id = strings.run(move |cx| {
        let id = cx.connect(Connect::to(to), route, &request()).unwrap();
        assert_eq!(cx.send(id, "too soon"), SendOutcome::Gone);
        assert!(!cx.record(id).unwrap().is_open);
        cx.close(id, CloseCode::NORMAL, "");
        id
    });
    let why = CloseReason::Service(CloseCode::NORMAL);
    assert_eq!(strings.next(), Report::Closed(id, why));
    strings.expect_no_report();
}

#[test]
fn outbound_connections_have_a_limit_of_their_own() {
    let settings = Settings::default().outbound_max(1);
    let (server, strings, route) = client(settings);
    let peer = Peer::new();
    let made = connect(&strings, route, peer.address);
    let stream = peer.open(b"");
    assert_eq!(strings.opened(), made);
    let to = peer.address;
    let refused = move |cx: &mut Context<'_>| {
        cx.connect(Connect::to(to), route, &request()).err().map(|error| error.kind())
    };
    assert_eq!(strings.run(refused), Some(ErrorKind::QuotaExceeded));
    // The refused attempt sends no request: the next request is that of the attempt after it.
    drop(stream);
    assert_eq!(strings.closed().0, made);
    assert_eq!(strings.run(refused), None);
    assert_eq!(strings.run(move |cx| cx.occupancy().outbound), 1);
    drop(peer.open(b""));
    let metrics = server.stop();
    assert_eq!((metrics.connects, metrics.connects_refused), (2, 1));
}

#[test]
fn clients_and_outbound_connections_have_separate_limits() {
    let settings = Settings::default()
        .connections_max(1)
        .connections_per_address(1)
        .rate_per_address(Rate { per_second: 0.001, burst: 1 });
    let (server, strings, route) = client(settings);
    let peer = Peer::new();
    let made: Vec<ConnId> = (0..3).map(|_| connect(&strings, route, peer.address)).collect();
    let _streams: Vec<TcpStream> = made.iter().map(|_| peer.open(b"")).collect();
    for _ in &made {
        assert!(made.contains(&strings.opened()));
    }
    // Three outbound connections have the client's address.
    let (_client, _) = strings.client(&server, "/");
    let mut late = Client::tcp(server.address);
    assert!(late.request(&crate::support::upgrade("/", "")).starts_with("HTTP/1.1 503 "));
    let occupancy = strings.run(|cx| cx.occupancy());
    assert_eq!((occupancy.clients, occupancy.outbound, occupancy.is_full), (1, 3, true));
    // The server is full for clients, and the service can connect.
    connect(&strings, route, peer.address);
    let _stream = peer.open(b"");
    strings.opened();
}

#[test]
fn limits_of_the_outbound_route_apply() {
    let (puppet, strings) = Puppet::new();
    let (sender, receiver) = std::sync::mpsc::channel();
    let _server = Server::start(Settings::default(), move |reactor| {
        let service = reactor.add_service(puppet).unwrap();
        let small = RouteSettings::default().message_bytes_max(125);
        sender.send(reactor.add_outbound(service, small).unwrap()).unwrap();
    });
    let route = receiver.recv_timeout(DEADLINE).unwrap();
    let peer = Peer::new();
    let id = connect(&strings, route, peer.address);
    let mut stream = peer.open(&[0x81, 126, 0, 126]);
    assert_eq!(next_frame(&mut stream), (crate::support::CLOSE, 1009_u16.to_be_bytes().to_vec()));
    drop(stream);
    let why = CloseReason::Protocol(ProtocolError::MessageTooBig);
    assert_eq!(strings.closed(), (id, why));
}
