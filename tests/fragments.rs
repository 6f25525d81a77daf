//! An unfinished message has a deadline of its own (RFC 6455, 10.4): those who never finish are ended,
//! those who only send slowly, or much, are not.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use weir::protocol::ProtocolError;
use weir::reactor::CloseReason;
use weir::reactor::settings::{RouteSettings, Settings};

use crate::support::{
    CLOSE, CONTINUATION, Client, DEADLINE, PING, PONG, Server, TEXT, frame, only_end,
};

/// Sends one piece after the other from a thread of its own, with a little time in between, until the
/// stream breaks or the returned end is dropped.
fn drip(client: &Client, mut next: impl FnMut() -> Vec<u8> + Send + 'static) -> Sender<()> {
    const PAUSE: Duration = Duration::from_millis(5);
    let mut stream = client.stream.try_clone().unwrap();
    let (stop, stopped) = channel();
    thread::spawn(move || {
        while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
            if stream.write_all(&next()).is_err() {
                return;
            }
        }
    });
    stop
}

/// Whoever begins a message and goes on like this is told why it ends; pings are answered until then.
fn expect_timeout(begin: &[u8], next: impl FnMut() -> Vec<u8> + Send + 'static, pongs_min: usize) {
    let fragment_timeout = Duration::from_millis(500);
    let route = RouteSettings { fragment_timeout, ..RouteSettings::default() };
    let (server, seen) = Server::watched(Settings::default(), route);
    let mut client = Client::open(server.address, "/");
    let started = Instant::now();
    client.raw(begin);
    let stop = drip(&client, next);
    let mut pongs = 0;
    let close = loop {
        assert!(started.elapsed() < DEADLINE, "it goes on");
        let frame = client.frame();
        match frame.opcode {
            PONG => pongs += 1,
            opcode => {
                assert_eq!(opcode, CLOSE);
                break frame.payload;
            }
        }
    };
    assert!(started.elapsed() >= fragment_timeout);
    assert!(pongs >= pongs_min, "{pongs} pongs");
    assert_eq!(close, [&1002_u16.to_be_bytes()[..], b"message not finished in time"].concat());
    drop(stop);
    drop(client);
    let (reason, metrics) = only_end(server, &seen);
    assert_eq!(reason, CloseReason::Protocol(ProtocolError::FragmentTimeout));
    assert_eq!((metrics.ended_protocol, metrics.messages_in), (1, 0));
}

#[test]
fn endless_fragments_end() {
    let more = || [frame(false, CONTINUATION, b"x"), frame(true, PING, b"alive")].concat();
    expect_timeout(&frame(false, TEXT, b"begin"), more, 1);
}

#[test]
fn endless_empty_fragments_end() {
    expect_timeout(&frame(false, TEXT, b""), || frame(false, CONTINUATION, b""), 0);
}

#[test]
fn endless_single_bytes_of_a_frame_end() {
    let whole = frame(true, TEXT, &[b'a'; 100_000]);
    let mut bytes = whole.into_iter();
    let first = bytes.next().unwrap();
    expect_timeout(&[first], move || vec![bytes.next().unwrap()], 0);
}

#[test]
fn one_fragment_and_then_only_pings_end() {
    expect_timeout(&frame(false, TEXT, b"begin"), || frame(true, PING, b"alive"), 1);
}

#[test]
fn half_a_header_ends() {
    expect_timeout(&[0x81], Vec::new, 0);
}

#[test]
fn whole_messages_never_do_although_every_read_ends_within_a_frame() {
    let fragment_timeout = Duration::from_millis(1000);
    let route = RouteSettings { fragment_timeout, ..RouteSettings::default() };
    let (server, _seen) = Server::watched(Settings::default(), route);
    let mut client = Client::open(server.address, "/");
    let two = [frame(true, TEXT, b"message"), frame(true, PING, b"ping")].concat();
    let cut = frame(true, TEXT, b"message").len() / 2;
    client.raw(&two[..cut]);
    let piece = [&two[cut..], &two[..cut]].concat();
    let _stop = drip(&client, move || piece.clone());
    let started = Instant::now();
    while started.elapsed() < 2 * fragment_timeout {
        client.expect(TEXT, b"message");
        assert_eq!(client.frame().opcode, PONG);
    }
    assert!(started.elapsed() < DEADLINE);
}

#[test]
fn a_message_may_take_its_time_within_the_deadline_and_each_has_its_own() {
    let fragment_timeout = Duration::from_millis(1000);
    let route = RouteSettings { fragment_timeout, ..RouteSettings::default() };
    let (server, _seen) = Server::watched(Settings::default(), route);
    let mut client = Client::open(server.address, "/");
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < 2 * fragment_timeout {
        client.raw(&frame(false, TEXT, b"a"));
        client.send(PING, b"between");
        assert_eq!(client.frame().opcode, PONG);
        client.raw(&frame(false, CONTINUATION, b"b"));
        client.raw(&[frame(true, CONTINUATION, b"c"), frame(false, TEXT, b"d")].concat());
        client.expect(TEXT, b"abc");
        client.raw(&frame(true, CONTINUATION, b""));
        client.expect(TEXT, b"d");
        count += 1;
    }
    assert!(count > 1);
}
