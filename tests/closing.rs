//! The closing handshake (RFC 6455, 7), started by either side, and the end of the stream after it.

use std::io::Write;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use weir::protocol::{CloseCode, ProtocolError};
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{CloseReason, SendOutcome};

use crate::support::{
    BINARY, CLOSE, CONTINUATION, Client, DEADLINE, PING, Seen, Server, TEXT, Watched, frame,
    next_end, only_end,
};

fn code(code: u16) -> CloseCode {
    CloseCode::new(code).unwrap()
}

/// A service that echoes. On the text `close` it closes with 4001 "bye", sends a message, and reports the
/// outcome of that.
fn closes_on_request(settings: Settings) -> (Server, Receiver<Seen>, Receiver<SendOutcome>) {
    let (sender, receiver) = channel();
    let (service, seen) = Watched::new(move |cx, conn, message| {
        if message.as_bytes() == b"close" {
            cx.close(conn, code(4001), "bye");
            cx.close(conn, code(4002), "too late");
            sender.send(cx.send(conn, "too late")).unwrap();
        } else {
            let _ = cx.send(conn, message);
        }
    });
    let server = Server::start(settings, move |reactor| {
        let service = reactor.add_service(service).unwrap();
        reactor.add_route("/", service, RouteSettings::default()).unwrap();
    });
    (server, seen, receiver)
}

fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    frame(true, CLOSE, &payload)
}

/// A close timeout that does not pass in a test.
fn patient() -> Settings {
    Settings::default().close_timeout(10 * DEADLINE)
}

#[test]
fn a_close_is_answered_with_its_code_and_the_server_ends_the_stream_first() {
    let (server, seen) = Server::watched(patient(), RouteSettings::default());
    let mut client = Client::open(server.address, "/");
    client.close(4321, "so long");
    assert_eq!(client.expect_close(), (4321, "so long".into()));
    client.expect_end();
    drop(client);
    let (reason, metrics) = only_end(server, &seen);
    assert_eq!(reason, CloseReason::PeerClosed(Some(code(4321))));
    assert_eq!((metrics.ended_peer_closed, metrics.close_timeouts), (1, 0));
}

#[test]
fn an_empty_close_is_answered_with_an_empty_one() {
    let (server, seen) = Server::watched(patient(), RouteSettings::default());
    let mut client = Client::open(server.address, "/");
    client.send(CLOSE, b"");
    assert_eq!(client.expect_close(), (0, String::new()));
    client.expect_end();
    drop(client);
    assert_eq!(only_end(server, &seen).0, CloseReason::PeerClosed(None));
}

#[test]
fn nothing_is_sent_after_our_close_and_only_a_close_is_read() {
    let (server, seen, receiver) = closes_on_request(patient());
    let mut client = Client::open(server.address, "/");
    client.text("close");
    client.text("ignored");
    assert_eq!(receiver.recv_timeout(DEADLINE), Ok(SendOutcome::Gone));
    assert_eq!(client.expect_close(), (4001, "bye".into()));
    client.send(PING, b"no pong");
    client.text("ignored, too");
    client.close(1000, "");
    client.expect_end();
    drop(client);
    let opened = seen.recv_timeout(DEADLINE).unwrap();
    let Seen::Opened(id) = opened else { panic!("{opened:?}") };
    assert_eq!(seen.recv_timeout(DEADLINE), Ok(Seen::Message(id, b"close".to_vec())));
    let end = Seen::Closed(id, CloseReason::Service(code(4001)));
    assert_eq!(seen.recv_timeout(DEADLINE), Ok(end), "no message is delivered in between");
    let metrics = server.stop();
    assert_eq!((metrics.ended_service, metrics.close_timeouts, metrics.messages_in), (1, 0, 1));
}

#[test]
fn simultaneous_closes_are_one_close_each() {
    let (server, seen, _told) = closes_on_request(patient());
    let mut client = Client::open(server.address, "/");
    client.raw(&[frame(true, TEXT, b"close"), close_frame(1000, "")].concat());
    assert_eq!(client.expect_close(), (4001, "bye".into()));
    client.expect_end();
    drop(client);
    assert_eq!(only_end(server, &seen).0, CloseReason::Service(code(4001)));
}

#[test]
fn nothing_after_the_peers_close_is_delivered() {
    let (server, seen) = Server::watched(patient(), RouteSettings::default());
    let mut client = Client::open(server.address, "/");
    let bad = [0xFF; 20];
    let all = [close_frame(1000, ""), frame(true, TEXT, b"late"), bad.to_vec()].concat();
    client.raw(&all);
    assert_eq!(client.expect_close(), (1000, String::new()));
    client.text("later");
    client.expect_end();
    drop(client);
    let (reason, metrics) = only_end(server, &seen);
    assert_eq!(reason, CloseReason::PeerClosed(Some(CloseCode::NORMAL)));
    assert_eq!(metrics.messages_in, 0);
}

#[test]
fn a_close_between_fragments_ends_the_connection() {
    let (server, seen) = Server::watched(patient(), RouteSettings::default());
    let mut client = Client::open(server.address, "/");
    client.raw(&frame(false, TEXT, b"unfin"));
    client.close(3000, "changed my mind");
    client.raw(&frame(true, CONTINUATION, b"ished"));
    assert_eq!(client.expect_close(), (3000, "changed my mind".into()));
    client.expect_end();
    drop(client);
    let (reason, metrics) = only_end(server, &seen);
    assert_eq!(reason, CloseReason::PeerClosed(Some(code(3000))));
    assert_eq!(metrics.messages_in, 0);
}

#[test]
fn frames_before_a_violation_are_answered_before_the_close() {
    let (server, seen) = Server::watched(patient(), RouteSettings::default());
    let mut client = Client::open(server.address, "/");
    let bad = [0x83, 0x80, 0, 0, 0, 0];
    let all = [
        frame(true, TEXT, b"one"),
        frame(true, PING, b"two"),
        frame(true, BINARY, &[3; 70_000]),
        bad.to_vec(),
        frame(true, TEXT, b"never"),
    ];
    client.raw(&all.concat());
    client.expect(TEXT, b"one");
    assert_eq!(client.frame().payload, b"two");
    client.expect(BINARY, &[3; 70_000]);
    assert_eq!(client.expect_close(), (1002, "reserved opcode".into()));
    client.close(1002, "");
    client.expect_end();
    drop(client);
    let (reason, metrics) = only_end(server, &seen);
    assert_eq!(reason, CloseReason::Protocol(ProtocolError::ReservedOpcode));
    assert_eq!((metrics.messages_in, metrics.ended_protocol), (2, 1));
}

#[test]
fn the_close_timeout_ends_a_connection_without_an_answer() {
    let close_timeout = Duration::from_millis(300);
    let (server, seen, _told) = closes_on_request(Settings::default().close_timeout(close_timeout));
    let mut client = Client::open(server.address, "/");
    client.text("close");
    assert_eq!(client.expect_close().0, 4001);
    client.expect_gone();
    let (reason, metrics) = only_end(server, &seen);
    assert_eq!(reason, CloseReason::Service(code(4001)));
    assert_eq!(metrics.close_timeouts, 1);
}

#[test]
fn a_peer_that_answers_but_does_not_end_the_stream_is_dropped_after_a_linger() {
    let (server, seen, _told) = closes_on_request(patient());
    let mut client = Client::open(server.address, "/");
    client.text("close");
    assert_eq!(client.expect_close().0, 4001);
    client.close(4001, "");
    client.expect_end();
    let (reason, metrics) = only_end(server, &seen);
    assert_eq!(reason, CloseReason::Service(code(4001)));
    assert_eq!(metrics.close_timeouts, 0);
}

#[test]
fn the_end_of_the_stream_after_a_close_is_a_clean_end() {
    let (server, seen) = Server::watched(patient(), RouteSettings::default());
    let mut client = Client::open(server.address, "/");
    client.close(1001, "");
    drop(client);
    assert_eq!(only_end(server, &seen).0, CloseReason::PeerClosed(Some(CloseCode::GOING_AWAY)));
}

#[test]
fn the_reason_of_our_close_stands_if_the_peer_does_not_answer() {
    let (server, seen, _told) = closes_on_request(patient());
    let mut client = Client::open(server.address, "/");
    client.text("close");
    drop(client);
    let (reason, metrics) = only_end(server, &seen);
    assert_eq!(reason, CloseReason::Service(code(4001)));
    assert_eq!(metrics.close_timeouts, 0);
}

/// If the socket were closed while the peer still sends, a reset could overtake the Close.
#[test]
fn a_peer_that_keeps_sending_after_a_violation_receives_the_close() {
    let route = || RouteSettings::default().message_bytes_max(1000);
    let unmasked = [0x81, 0x02, b'h', b'i'].to_vec();
    let too_big = frame(true, BINARY, &[0; 1001])[..8].to_vec();
    for (violation, code) in [(unmasked, 1002), (too_big, 1009)] {
        let (server, seen) = Server::watched(patient(), route());
        let mut client = Client::open(server.address, "/");
        client.raw(&violation);
        for _ in 0..256 {
            client.raw(&[0; 64 * 1024]);
        }
        assert_eq!(client.expect_close().0, code);
        client.raw(&[0; 64 * 1024]);
        client.close(code, "");
        client.expect_end();
        drop(client);
        assert!(matches!(only_end(server, &seen).0, CloseReason::Protocol(_)));
    }
}

/// Number and size of messages that a kernel cannot hold for a peer that does not read.
const MANY: usize = 16;
const LARGE: usize = 1024 * 1024;

/// A service that answers any message with [`MANY`] of [`LARGE`] bytes.
fn many_large() -> (Server, Receiver<Seen>) {
    let (service, seen) = Watched::new(|cx, conn, _| {
        for _ in 0..MANY {
            assert!(cx.send(conn, &[7; LARGE][..]).is_queued());
        }
    });
    let server = Server::start(patient(), move |reactor| {
        let service = reactor.add_service(service).unwrap();
        let settings = RouteSettings::default()
            .outbox_soft_bytes(2 * MANY * LARGE)
            .outbox_hard_bytes(4 * MANY * LARGE);
        reactor.add_route("/", service, settings).unwrap();
    });
    (server, seen)
}

fn await_message(seen: &Receiver<Seen>) {
    while !matches!(seen.recv_timeout(DEADLINE).expect("a message"), Seen::Message(..)) {}
}

fn expect_answers(client: &mut Client) {
    for _ in 0..MANY {
        client.expect(BINARY, &[7; LARGE]);
    }
}

#[test]
fn a_peer_that_has_sent_a_fin_receives_the_answers() {
    let (server, seen) = many_large();
    let mut client = Client::narrow_tcp(server.address);
    client.request(&crate::support::upgrade("/", ""));
    client.text("go");
    client.finish();
    await_message(&seen);
    expect_answers(&mut client);
    client.expect_end();
    let (reason, metrics) = only_end(server, &seen);
    assert_eq!(reason, CloseReason::PeerGone);
    assert_eq!((metrics.ended_peer_lost, metrics.messages_dropped), (1, 0));
}

#[test]
fn a_peer_that_has_sent_a_close_and_a_fin_receives_the_answers() {
    let (server, seen) = many_large();
    let mut client = Client::narrow_tcp(server.address);
    client.request(&crate::support::upgrade("/", ""));
    client.text("go");
    client.close(1000, "thanks");
    client.finish();
    await_message(&seen);
    expect_answers(&mut client);
    assert_eq!(client.expect_close(), (1000, "thanks".into()));
    client.expect_end();
    let (reason, metrics) = only_end(server, &seen);
    assert_eq!(reason, CloseReason::PeerClosed(Some(CloseCode::NORMAL)));
    assert_eq!(metrics.messages_dropped, 0);
}

/// The FIN arrives before the Close is written.
#[test]
fn a_peer_with_a_violation_and_a_fin_is_not_waited_for() {
    let (server, seen) = many_large();
    let mut client = Client::narrow_tcp(server.address);
    client.request(&crate::support::upgrade("/", ""));
    client.text("go");
    client.raw(&[0xFF]);
    client.finish();
    await_message(&seen);
    expect_answers(&mut client);
    assert_eq!(client.expect_close().0, 1002);
    client.expect_end();
    let reason = CloseReason::Protocol(ProtocolError::ReservedBits);
    assert_eq!(only_end(server, &seen).0, reason);
}

#[test]
fn a_peer_that_ends_the_stream_is_dropped_with_its_queued_output() {
    let (server, seen) = many_large();
    let mut client = Client::narrow_tcp(server.address);
    client.request(&crate::support::upgrade("/", ""));
    client.text("go");
    client.finish();
    await_message(&seen);
    client.bytes(100);
    let _ = client.stream.flush();
    drop(client);
    // The reset that follows the FIN may overtake it.
    let why = next_end(&seen);
    assert!(matches!(why, CloseReason::PeerGone | CloseReason::PeerReset), "{why}");
    assert_eq!(server.stop().buffered_now, 0);
}
