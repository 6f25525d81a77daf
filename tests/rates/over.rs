//! `over = "close"`: which connections are closed with 1008, and which are not.

use std::time::Duration;

use weir::protocol::CloseCode;
use weir::reactor::settings::{OverRate, RouteSettings, Settings};
use weir::reactor::{CloseReason, Excess};

use super::{numbered, only, rate};
use crate::support::{BINARY, CONTINUATION, Client, PING, Server, TEXT, frame, next_end, only_end};

fn closing(grace: Duration) -> RouteSettings {
    RouteSettings::default().over(OverRate::Close).over_grace(grace)
}

#[test]
fn without_grace_the_first_message_above_the_rate_closes_the_connection() {
    let route = closing(Duration::ZERO).messages_rate(only(3));
    let (server, seen) = Server::watched(Settings::default(), route);
    let mut client = Client::open(server.address, "/");
    client.raw(&numbered(0..3));
    for number in 0..3 {
        client.expect(TEXT, number.to_string().as_bytes());
    }
    client.raw(&numbered(3..9));
    assert_eq!(client.expect_close(), (1008, "too many messages".into()));
    client.close(1008, "");
    let (reason, metrics) = only_end(server, &seen);
    assert_eq!(reason, CloseReason::Rate(Excess::Messages));
    assert_eq!(reason.close_code(), Some(CloseCode::POLICY));
    assert_eq!((metrics.ends["rate"], metrics.throttled["/"]["messages"]), (1, 0));
    assert_eq!(metrics.messages_in, 4, "the others were not handled");
}

#[test]
fn a_ping_flood_closes_the_connection() {
    let route = closing(Duration::ZERO).messages_rate(only(100));
    let (server, seen) = Server::watched(Settings::default(), route);
    let mut client = Client::open(server.address, "/");
    client.raw(&frame(true, PING, b"").repeat(1000));
    assert_eq!(next_end(&seen), CloseReason::Rate(Excess::Messages));
    assert_eq!(client.expect_close().0, 1008);
}

#[test]
fn without_grace_a_fragment_and_a_close_are_not_too_many() {
    let route = closing(Duration::ZERO).messages_rate(only(1));
    let (server, seen) = Server::watched(Settings::default(), route);
    let mut client = Client::open(server.address, "/");
    client.text("a");
    client.expect(TEXT, b"a");
    client.raw(&[frame(false, TEXT, b"b"), frame(false, CONTINUATION, b"c")].concat());
    client.close(1000, "done");
    assert_eq!(client.expect_close(), (1000, "done".into()));
    assert_eq!(only_end(server, &seen).0, CloseReason::PeerClosed(Some(CloseCode::NORMAL)));
}

#[test]
fn a_peer_that_exceeds_its_rate_for_the_grace_time_is_closed() {
    let grace = Duration::from_millis(400);
    let route = closing(grace).messages_rate(rate(20.0, 20));
    let (server, seen) = Server::watched(Settings::default(), route);
    let mut client = Client::open(server.address, "/");
    client.raw(&numbered(0..5000));
    assert_eq!(next_end(&seen), CloseReason::Rate(Excess::Messages));
    assert_eq!(client.expect_close(), (1008, "too many messages".into()));
    let metrics = server.stop();
    assert!(metrics.throttled["/"]["messages"] > 1, "it was paused first: {metrics:?}");
    assert_eq!(metrics.throttled_now, 0);
}

#[test]
fn a_peer_that_waits_less_than_the_grace_time_is_not_closed() {
    let route = closing(Duration::from_secs(60)).messages_rate(rate(100.0, 40));
    let (server, seen) = Server::watched(Settings::default(), route);
    let mut client = Client::open(server.address, "/");
    client.raw(&numbered(0..80));
    for number in 0..80 {
        client.expect(TEXT, number.to_string().as_bytes());
    }
    client.close(1000, "");
    assert_eq!(client.expect_close().0, 1000);
    let (reason, metrics) = only_end(server, &seen);
    assert_eq!(reason, CloseReason::PeerClosed(Some(CloseCode::NORMAL)));
    assert!(metrics.throttled["/"]["messages"] > 0);
}

#[test]
fn a_grace_shorter_than_the_time_to_the_next_token_is_kept() {
    let route = closing(Duration::from_millis(100)).bytes_rate(only(1000));
    let (server, seen) = Server::watched(Settings::default(), route);
    let mut client = Client::open(server.address, "/");
    for _ in 0..10 {
        client.send(BINARY, &[0; 2000]);
    }
    assert_eq!(next_end(&seen), CloseReason::Rate(Excess::Bytes));
    assert_eq!(client.expect_close(), (1008, "too many bytes".into()));
}

#[test]
fn without_grace_bytes_above_the_rate_close_the_connection() {
    let route = closing(Duration::ZERO).bytes_rate(only(1000));
    let (server, seen) = Server::watched(Settings::default(), route);
    let mut client = Client::open(server.address, "/");
    for _ in 0..10 {
        client.send(BINARY, &[0; 2000]);
    }
    assert_eq!(next_end(&seen), CloseReason::Rate(Excess::Bytes));
    assert_eq!(client.expect_close(), (1008, "too many bytes".into()));
}
