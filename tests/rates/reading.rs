//! What a connection with a rate may send, and when it is read.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use weir::reactor::CloseReason;
use weir::reactor::budget::SHORT_READ_BYTES;
use weir::reactor::settings::{RouteSettings, Settings};

use super::{add_echo, echo, numbered, only, pauses, rate};
use crate::deflate::{ALONE, Peer, lines};
use crate::support::{
    BINARY, CLOSE, CONTINUATION, Client, DEADLINE, PING, PONG, Seen, Server, TEXT, Watched, frame,
    next_end, upgrade,
};

fn messages(burst: u32) -> RouteSettings {
    RouteSettings::default().messages_rate(only(burst))
}

#[test]
fn a_burst_passes_in_order_and_the_rest_waits_in_the_socket() {
    let mut server = echo(messages(5));
    let mut client = server.open("/");
    client.raw(&numbered(0..8));
    server.turn_until("reading pauses", |metrics| pauses(metrics, "messages") == 1);
    for number in 0..5 {
        client.expect(TEXT, number.to_string().as_bytes());
    }
    // A neighbour is served as often as it asks.
    let mut neighbour = server.open("/");
    for number in 0..5 {
        neighbour.raw(&numbered(number..number + 1));
        server.turn_until_readable(&neighbour.stream);
        neighbour.expect(TEXT, number.to_string().as_bytes());
    }
    let metrics = server.reactor.metrics();
    assert_eq!((metrics.messages_in, metrics.throttled_now), (10, 1));
    // The end of the stream needs no token.
    drop(neighbour);
    server.turn_until("the neighbour is gone", |metrics| metrics.connections_now == 1);
    assert_eq!(server.reactor.metrics().throttled_now, 1);
}

#[test]
fn pings_and_pongs_take_tokens_and_fragments_take_none() {
    let mut server = echo(messages(4));
    let mut client = server.open("/");
    let fragments = (0..50).map(|n| frame(n == 49, if n == 0 { TEXT } else { CONTINUATION }, b"a"));
    let parts = [
        fragments.flatten().collect(),
        frame(true, PING, b"1"),
        frame(true, PONG, b""),
        frame(true, PING, b"2"),
        frame(true, PING, b"3"),
    ];
    client.raw(&parts.concat());
    server.turn_until("reading pauses", |metrics| pauses(metrics, "messages") == 1);
    client.expect(TEXT, &[b'a'; 50]);
    client.expect(PONG, b"1");
    client.expect(PONG, b"2");
    let metrics = server.reactor.metrics();
    assert_eq!((metrics.messages_in, metrics.controls_in, metrics.fragments_in), (1, 3, 49));
}

#[test]
fn messages_sent_with_the_request_take_tokens() {
    let mut server = echo(messages(3));
    let mut client = Client::tcp(server.address);
    client.raw(&[upgrade("/", "").into_bytes(), numbered(0..8)].concat());
    server.turn_until("reading pauses", |metrics| pauses(metrics, "messages") == 1);
    assert_eq!(server.reactor.metrics().messages_in, 3);
}

#[test]
fn a_compressed_message_takes_one_token_whatever_it_inflates_to() {
    let mut server = echo(messages(3).deflate_bytes_min(2 << 20));
    let mut client = Client::tcp(server.address);
    client.raw(upgrade("/", &lines(ALONE)).as_bytes());
    server.turn_until_readable(&client.stream);
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    let mut peer = Peer::on(client, ALONE);
    let large = vec![b'x'; 1 << 20];
    for _ in 0..4 {
        peer.send(&large);
    }
    server.turn_until("reading pauses", |metrics| pauses(metrics, "messages") == 1);
    let metrics = server.reactor.metrics();
    assert_eq!((metrics.messages_inflated, metrics.bytes_inflated_to), (3, 3 << 20));
}

#[test]
fn all_messages_pass_in_order_at_their_rate() {
    let route = RouteSettings::default().messages_rate(rate(100.0, 40));
    let server = Server::start(Settings::default(), |reactor| add_echo(reactor, "/", route));
    let mut client = Client::open(server.address, "/");
    let started = Instant::now();
    client.raw(&numbered(0..140));
    for number in 0..140 {
        client.expect(TEXT, number.to_string().as_bytes());
    }
    // 100 of them waited for a token. A slow machine only makes it longer.
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(990), "{took:?}");
    let metrics = server.stop();
    // At least ten tokens return during a pause.
    let pauses = pauses(&metrics, "messages");
    assert!((1..=10).contains(&pauses), "{pauses} pauses");
    assert_eq!(metrics.throttled_now, 0);
}

#[test]
fn bytes_wait_for_their_tokens_and_a_read_may_exceed_them() {
    let route = RouteSettings::default().bytes_rate(only(20_000));
    let mut server = echo(route);
    let mut client = server.open("/");
    client.raw(&frame(true, BINARY, &[7; 1992]).repeat(40));
    server.turn_until("reading pauses", |metrics| pauses(metrics, "bytes") == 1);
    let read = server.reactor.metrics().messages_in;
    // Frames of 2,000 bytes: ten, and what one small read takes beyond them.
    assert!((10..=12).contains(&read), "{read} messages");
    for _ in 0..read {
        client.expect(BINARY, &[7; 1992]);
    }
}

#[test]
fn a_rate_of_bytes_is_kept_over_time() {
    let route = RouteSettings::default().bytes_rate(rate(1_000_000.0, 300_000));
    let server = Server::start(Settings::default(), |reactor| add_echo(reactor, "/", route));
    let mut client = Client::open(server.address, "/");
    let mut writer = client.writer();
    let started = Instant::now();
    let sender = thread::spawn(move || {
        for _ in 0..20 {
            writer.write_all(&frame(true, BINARY, &[1; 65_000])).unwrap();
        }
    });
    for _ in 0..20 {
        client.expect(BINARY, &[1; 65_000]);
    }
    // 1.3 MB, of which the burst and one read did not wait.
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(700), "{took:?}");
    sender.join().unwrap();
}

#[test]
fn a_throttled_peer_holds_its_bytes_in_its_own_socket() {
    let mut server = echo(messages(300));
    let mut client = server.open("/");
    client.raw(&numbered(0..10_000));
    server.turn_until("reading pauses", |metrics| pauses(metrics, "messages") == 1);
    let metrics = server.reactor.metrics();
    assert_eq!(metrics.messages_in, 300);
    assert!(metrics.buffered_now <= 4096, "{} bytes", metrics.buffered_now);
}

/// Their bytes took tokens when they were read: 585 messages in one small read.
#[test]
fn messages_that_were_read_need_no_further_tokens_of_bytes() {
    let mut server = echo(RouteSettings::default().bytes_rate(only(4000)));
    let mut client = server.open("/");
    let message = frame(true, TEXT, b"a");
    client.raw(&message.repeat(1000));
    server.turn_until("reading pauses", |metrics| pauses(metrics, "bytes") == 1);
    let handled = server.reactor.metrics().messages_in as usize;
    assert_eq!(handled, SHORT_READ_BYTES / message.len());
}

/// Reads grow while all that they bring is handled. After one that was cut short, by the tokens or by
/// the messages of a read, they are small again.
#[test]
fn reads_are_small_after_one_that_was_cut_short() {
    for (rate, len, end, most) in
        [(rate(300.0, 100), 100, 6, 2 * SHORT_READ_BYTES), (only(3000), 3, 1, SHORT_READ_BYTES)]
    {
        let mut server = echo(RouteSettings::default().messages_rate(rate));
        let mut client = server.open("/");
        client.raw(&frame(true, TEXT, &vec![b'a'; len]).repeat(100_000 / len.max(10)));
        let started = Instant::now();
        while pauses(server.reactor.metrics(), "messages") < end {
            assert!(started.elapsed() < DEADLINE, "{} pauses", server.reactor.metrics());
            server.reactor.turn(Some(Duration::from_millis(20))).unwrap();
            let buffered = server.reactor.metrics().buffered_now;
            assert!(buffered <= most as u64, "{buffered} bytes of messages of {len}");
        }
    }
}

#[test]
fn a_service_and_a_rate_pause_a_connection_apart() {
    let (service, _seen) = Watched::new(|cx, conn, message| {
        cx.pause(conn);
        cx.resume(conn);
        let _ = cx.send(conn, message);
    });
    let mut server = crate::support::ByHand::new(Settings::default(), |reactor| {
        let service = reactor.add_service(service).unwrap();
        reactor.add_route("/", service, messages(2)).unwrap();
    });
    let mut client = server.open("/");
    client.raw(&numbered(0..4));
    server.turn_until("reading pauses", |metrics| pauses(metrics, "messages") == 1);
    assert_eq!(server.reactor.metrics().messages_in, 2);
}

/// A flood of pings is no data: pauses by the rate do not prolong the idle time.
#[test]
fn a_throttled_peer_does_not_evade_its_idle_timeout() {
    let route = RouteSettings::default()
        .messages_rate(rate(20.0, 6))
        .idle_timeout(Duration::from_millis(700));
    let (server, seen) = Server::watched(Settings::default(), route);
    let mut client = Client::open(server.address, "/");
    client.raw(&frame(true, PING, b"").repeat(2000));
    assert_eq!(next_end(&seen), CloseReason::IdleTimeout);
    assert_eq!(client.expect_close(), (1001, "idle timeout".into()));
    // Those of the first 700 ms, and of one read that came late.
    let controls = server.stop().controls_in;
    assert!(controls <= 6 + 14 + 6, "{controls} pings");
}

/// Nor does its own delay end it: messages that wait for tokens come before the idle time counts.
#[test]
fn a_pause_by_a_rate_is_not_idleness() {
    let route = RouteSettings::default()
        .messages_rate(rate(2.0, 1))
        .idle_timeout(Duration::from_millis(300));
    let (server, seen) = Server::watched(Settings::default(), route);
    let mut client = Client::open(server.address, "/");
    client.raw(&numbered(0..4));
    for number in 0..4 {
        client.expect(TEXT, number.to_string().as_bytes());
    }
    assert_eq!(next_end(&seen), CloseReason::IdleTimeout);
    drop((client, server));
    let messages = seen.iter().filter(|seen| matches!(seen, Seen::Message(..))).count();
    assert_eq!(messages, 0, "all came before the end");
}

/// Pauses are no time of an unfinished message, but they do not start it again.
#[test]
fn a_throttled_peer_does_not_evade_its_fragment_timeout() {
    let route = RouteSettings::default()
        .messages_rate(rate(20.0, 6))
        .fragment_timeout(Duration::from_millis(500));
    let (server, seen) = Server::watched(Settings::default(), route);
    let mut client = Client::open(server.address, "/");
    let flood = [frame(false, TEXT, b"never complete"), frame(true, PING, b"").repeat(40)];
    client.raw(&flood.concat());
    assert!(matches!(next_end(&seen), CloseReason::Protocol(_)));
    assert_eq!(client.expect_close().0, 1002);
    let metrics = server.stop();
    assert_eq!(metrics.controls_in, 40, "the pauses do not count");
}

#[test]
fn a_close_waits_for_a_token_like_any_frame() {
    let route = RouteSettings::default().messages_rate(rate(10.0, 3));
    let (server, seen) = Server::watched(Settings::default(), route);
    let mut client = Client::open(server.address, "/");
    client.raw(&[numbered(0..3), frame(true, CLOSE, &[])].concat());
    assert!(matches!(next_end(&seen), CloseReason::PeerClosed(None)));
    assert_eq!(client.expect_close(), (0, String::new()));
}

#[test]
fn a_shutdown_closes_a_throttled_connection() {
    let (server, _seen) = Server::watched(Settings::default(), messages(1));
    let mut client = Client::open(server.address, "/");
    client.raw(&numbered(0..3));
    client.expect(TEXT, b"0");
    server.shutdown();
    assert_eq!(client.expect_close().0, 1001);
    client.close(1001, "");
    let metrics = server.stop_clean();
    assert_eq!((metrics.throttled_now, metrics.close_timeouts), (0, 0));
}
