//! The fragment timeout: the deadline of an unfinished message (RFC 6455, 10.4). Slow messages within it,
//! and any number of whole messages, pass.

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

/// Sends one piece after the other on a thread, with a short pause in between, until the stream breaks or
/// the returned sender is dropped.
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

/// Sends `begin`, then `next` again and again, and expects the Close of the fragment timeout. Pings are
/// answered until then.
fn expect_timeout(begin: &[u8], next: impl FnMut() -> Vec<u8> + Send + 'static, pongs_min: usize) {
    let fragment_timeout = Duration::from_millis(500);
    let route = RouteSettings::default().fragment_timeout(fragment_timeout);
    let (server, seen) = Server::watched(Settings::default(), route);
    let mut client = Client::open(server.address, "/");
    let started = Instant::now();
    client.raw(begin);
    let stop = drip(&client, next);
    let mut pongs = 0;
    let close = loop {
        assert!(started.elapsed() < DEADLINE, "the connection stays open");
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
fn endless_fragments_time_out() {
    let more = || [frame(false, CONTINUATION, b"x"), frame(true, PING, b"alive")].concat();
    expect_timeout(&frame(false, TEXT, b"begin"), more, 1);
}

#[test]
fn endless_empty_fragments_time_out() {
    expect_timeout(&frame(false, TEXT, b""), || frame(false, CONTINUATION, b""), 0);
}

#[test]
fn an_endless_frame_of_single_bytes_times_out() {
    let whole = frame(true, TEXT, &[b'a'; 100_000]);
    let mut bytes = whole.into_iter();
    let first = bytes.next().unwrap();
    expect_timeout(&[first], move || vec![bytes.next().unwrap()], 0);
}

#[test]
fn a_fragment_followed_by_pings_times_out() {
    expect_timeout(&frame(false, TEXT, b"begin"), || frame(true, PING, b"alive"), 1);
}

#[test]
fn half_a_header_times_out() {
    expect_timeout(&[0x81], Vec::new, 0);
}

#[test]
fn whole_messages_do_not_time_out_although_every_read_ends_within_a_frame() {
    let fragment_timeout = Duration::from_millis(1000);
    let route = RouteSettings::default().fragment_timeout(fragment_timeout);
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
fn each_message_has_the_whole_deadline() {
    let fragment_timeout = Duration::from_millis(1000);
    let route = RouteSettings::default().fragment_timeout(fragment_timeout);
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
