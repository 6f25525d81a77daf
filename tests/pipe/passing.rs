//! What passes a tunnel, byte by byte, and how a slow side pauses the other.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use weir::protocol::CloseCode;
use weir::reactor::CloseReason;
use weir::reactor::settings::{RouteSettings, Settings};

use super::upstream::{Joined, Joining, Upstream, join, joining, listener, unmasked};
use crate::support::{BINARY, ByHand, CONTINUATION, Client, PING, PONG, TEXT, frame, upgrade};

/// Frames up to this length are held until they are complete.
const HOLD_BYTES_MAX: usize = 64 * 1024;

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % end
    }
}

/// Writes in pieces of 1 to `most` bytes.
fn write_split(stream: &mut TcpStream, mut bytes: &[u8], most: usize, numbers: &mut Numbers) {
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(bytes.len().min(1 + numbers.below(most)));
        stream.write_all(piece).unwrap();
        bytes = rest;
    }
}

#[test]
fn frames_pass_both_ways_and_closes_end_the_tunnel() {
    let mut tunnel = Joined::new();
    tunnel.client.text("hello");
    tunnel.upstream.expect(TEXT, b"hello");
    tunnel.upstream.send(BINARY, b"world");
    tunnel.client.expect(BINARY, b"world");
    tunnel.client.close(1000, "done");
    assert_eq!(tunnel.upstream.expect_close(), (1000, "done".into()));
    tunnel.upstream.close(1000, "done");
    assert_eq!(tunnel.client.expect_close(), (1000, "done".into()));
    tunnel.client.expect_end();
    tunnel.client.finish();
    drop(tunnel.upstream.stream.shutdown(std::net::Shutdown::Both));
    let (end, client, upstream) = tunnel.ends();
    assert_eq!(client, CloseReason::PeerClosed(Some(CloseCode::NORMAL)));
    assert_eq!(upstream, CloseReason::TunnelEnded);
    assert_eq!((end.from_client.messages, end.from_upstream.messages), (1, 1));
    assert_eq!((end.from_client.bytes, end.from_upstream.bytes), (6 + 5 + 6 + 6, 2 + 5 + 2 + 6));
}

/// Frames of these lengths pass unchanged, masking key included, however they are split.
#[test]
fn frames_that_are_held_pass_unchanged() {
    let lens = [0, 1, 124, 125, 126, 127, 1000, 65534, 65535, 65536];
    let mut numbers = Numbers(1);
    let mut tunnel = Joined::new();
    for most in [3, 200, 5000, 100_000] {
        for len in lens.into_iter().filter(|len| len / most < 2000) {
            let sent = frame(true, BINARY, &payload(len));
            write_split(&mut tunnel.client.stream, &sent, most, &mut numbers);
            assert!(tunnel.upstream.bytes(sent.len()) == sent, "{len} bytes, at most {most}");
            let sent = unmasked(false, TEXT, &payload(len));
            let sent = [sent, unmasked(true, CONTINUATION, &payload(len))].concat();
            write_split(&mut tunnel.upstream.stream, &sent, most, &mut numbers);
            assert!(tunnel.client.bytes(sent.len()) == sent, "{len} bytes, at most {most}");
        }
    }
}

/// Longer ones are split, and are the same message. Fragments are not small.
#[test]
fn long_frames_pass_as_fragments() {
    let mut numbers = Numbers(2);
    let route = RouteSettings::default();
    let mut tunnel = Joined::with(Settings::default(), route, |_| {});
    for len in [HOLD_BYTES_MAX + 1, 200 * 1024, 1024 * 1024] {
        let sent = payload(len);
        let mut writer = tunnel.client.writer();
        let bytes = frame(true, BINARY, &sent);
        let thread = thread::spawn(move || {
            let mut numbers = Numbers(3);
            write_split(&mut writer, &bytes, 1448, &mut numbers);
        });
        let (mut received, mut fin) = (Vec::new(), false);
        while !fin {
            let next = tunnel.upstream.frame();
            let expected = if received.is_empty() { BINARY } else { CONTINUATION };
            assert_eq!(next.opcode, expected);
            fin = next.fin;
            assert!(fin || next.payload.len() >= HOLD_BYTES_MAX, "{}", next.payload.len());
            received.extend_from_slice(&next.payload);
        }
        assert!(received == sent, "{len} bytes from the client");
        thread.join().unwrap();

        let mut writer = tunnel.upstream.stream.try_clone().unwrap();
        let bytes = unmasked(true, BINARY, &sent);
        let most = 1 + numbers.below(100_000);
        let thread = thread::spawn(move || {
            let mut numbers = Numbers(4);
            write_split(&mut writer, &bytes, most, &mut numbers);
        });
        let (mut received, mut fin) = (Vec::new(), false);
        while !fin {
            let next = tunnel.client.frame();
            fin = next.fin;
            received.extend_from_slice(&next.payload);
        }
        assert!(received == sent, "{len} bytes from the upstream");
        thread.join().unwrap();
    }
    drop(tunnel.client);
    let (end, ..) = tunnel.events.ends();
    assert!(end.from_client.fragments >= 4, "{end:?}");
    assert_eq!((end.from_client.messages, end.from_upstream.messages), (3, 3));
}

#[test]
fn bytes_behind_either_head_are_the_first_of_the_tunnel() {
    let listener = listener();
    let (server, events) =
        joining(&listener, Settings::default(), RouteSettings::default(), |_| {});
    let mut client = Client::tcp(server.address);
    let first = [frame(true, TEXT, b"one"), frame(true, TEXT, b"two")].concat();
    client.raw(&[upgrade("/", "").as_bytes(), &first, &[0x81]].concat());
    let mut upstream = Upstream::accept(&listener);
    upstream.upgrade(&[unmasked(true, TEXT, b"three"), vec![0x82]].concat());
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    client.expect(TEXT, b"three");
    upstream.expect(TEXT, b"one");
    upstream.expect(TEXT, b"two");
    client.raw(&frame(true, TEXT, b"four")[1..]);
    upstream.expect(TEXT, b"four");
    upstream.raw(&unmasked(true, BINARY, b"five")[1..]);
    client.expect(BINARY, b"five");
    drop(client);
    assert_eq!(events.ends().1, CloseReason::PeerGone);
    server.stop_clean();
}

#[test]
fn a_preface_is_sent_before_the_request() {
    let listener = listener();
    let route = RouteSettings::default();
    let (server, _events) = joining(&listener, Settings::default(), route, |joining| {
        joining.preface = b"PROXY UNKNOWN\r\n";
    });
    let mut client = Client::tcp(server.address);
    client.raw(upgrade("/", "").as_bytes());
    let mut upstream = Upstream::accept(&listener);
    assert_eq!(upstream.bytes(15), b"PROXY UNKNOWN\r\n");
    upstream.upgrade(b"");
    assert!(client.head().starts_with("HTTP/1.1 101 "));
}

#[test]
fn pings_and_pongs_of_the_endpoints_pass() {
    let mut tunnel = Joined::new();
    tunnel.client.send(PING, b"a");
    tunnel.upstream.expect(PING, b"a");
    tunnel.upstream.send(PONG, b"a");
    tunnel.client.expect(PONG, b"a");
    tunnel.upstream.send(PING, &[7; 125]);
    tunnel.client.expect(PING, &[7; 125]);
    tunnel.client.send(PONG, &[7; 125]);
    tunnel.upstream.expect(PONG, &[7; 125]);
}

/// Writes what the kernel accepts; returns the number of bytes.
fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    match stream.write(bytes) {
        Ok(len) => len,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => panic!("{error}"),
    }
}

/// Turns a few times without waiting for anything; events that are there are handled.
fn turn(by_hand: &mut ByHand) {
    for _ in 0..4 {
        by_hand.reactor.turn(Some(Duration::from_millis(1))).unwrap();
    }
}

/// 16 MiB to a side that reads nothing: the sender is paused at a bounded size. Then it reads, and
/// every byte arrives.
fn pauses_for_slow_reader(is_client_slow: bool) {
    let listener = listener();
    let (joining, _events) = Joining::new(listener.local_addr().unwrap());
    let route = RouteSettings::default().write_timeout(Duration::from_secs(60));
    let soft = route.outbox_soft_bytes;
    let mut by_hand = ByHand::new(Settings::default(), |reactor| joining.place(reactor, route));
    let mut client = Client::narrow_tcp(by_hand.address);
    client.raw(upgrade("/", "").as_bytes());
    by_hand.turn_until("an upstream is dialled", |metrics| metrics.connects == 1);
    turn(&mut by_hand);
    let mut upstream = Upstream::accept(&listener);
    let upstream_thread = thread::spawn(move || {
        upstream.upgrade(b"");
        upstream
    });
    by_hand.turn_until("a tunnel is joined", |metrics| metrics.opened == 1);
    turn(&mut by_hand);
    let upstream = upstream_thread.join().unwrap();
    socket2::SockRef::from(&upstream.stream).set_recv_buffer_size(16 * 1024).unwrap();
    assert!(client.head().starts_with("HTTP/1.1 101 "));

    let (mut fast, mut slow) = match is_client_slow {
        true => (upstream.stream, client.stream),
        false => (client.stream, upstream.stream),
    };
    fast.set_nonblocking(true).unwrap();
    slow.set_nonblocking(true).unwrap();
    let one = match is_client_slow {
        true => unmasked(true, BINARY, &payload(50_000)),
        false => frame(true, BINARY, &payload(50_000)),
    };
    let sent: Vec<u8> = one.iter().copied().cycle().take(one.len() * 320).collect();
    let (mut written, mut stalls, mut held) = (0, 0, 0);
    while stalls < 50 {
        let more = write_some(&mut fast, &sent[written..]);
        written += more;
        stalls = if more > 0 { 0 } else { stalls + 1 };
        by_hand.reactor.turn(Some(Duration::from_millis(1))).unwrap();
        held = held.max(by_hand.reactor.metrics().buffered_now);
    }
    assert!(written < sent.len(), "16 MiB were accepted for a side that reads nothing");
    // One read beyond the soft limit, and the frame that it may complete; chunks have spare room.
    let most = 2 * (soft + 256 * 1024 + HOLD_BYTES_MAX) as u64;
    assert!(held > soft as u64 && held < most, "{held} bytes held");
    assert!(by_hand.reactor.metrics().congested > 0);

    let mut received = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    while received.len() < sent.len() {
        written += write_some(&mut fast, &sent[written..]);
        by_hand.reactor.turn(Some(Duration::ZERO)).unwrap();
        match slow.read(&mut chunk) {
            Ok(0) => panic!("the stream ended"),
            Ok(len) => received.extend_from_slice(&chunk[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(received == sent, "bytes were lost");
    drop((fast, slow));
    by_hand.stop_clean();
}

#[test]
fn a_client_that_does_not_read_pauses_its_upstream() {
    pauses_for_slow_reader(true);
}

#[test]
fn an_upstream_that_does_not_read_pauses_its_client() {
    pauses_for_slow_reader(false);
}

/// More frames in one write than one turn handles.
#[test]
fn many_small_frames_pass() {
    let mut tunnel = Joined::new();
    let count = 40_000;
    let bytes = frame(true, TEXT, b"").repeat(count);
    let (mut writer, sent) = (tunnel.client.writer(), bytes.clone());
    let thread = thread::spawn(move || writer.write_all(&sent).unwrap());
    assert!(tunnel.upstream.bytes(bytes.len()) == bytes);
    thread.join().unwrap();
    let bytes = unmasked(true, TEXT, b"").repeat(count);
    let (mut writer, sent) = (tunnel.upstream.stream.try_clone().unwrap(), bytes.clone());
    let thread = thread::spawn(move || writer.write_all(&sent).unwrap());
    assert!(tunnel.client.bytes(bytes.len()) == bytes);
    thread.join().unwrap();
    tunnel.client.finish();
    let _ = tunnel.upstream.stream.shutdown(std::net::Shutdown::Both);
    let (end, ..) = tunnel.ends();
    assert_eq!((end.from_client.messages, end.from_upstream.messages), (40_000, 40_000));
}

#[test]
fn several_tunnels_do_not_mix() {
    let listener = listener();
    let (server, _events) =
        joining(&listener, Settings::default(), RouteSettings::default(), |_| {});
    let mut pairs: Vec<_> = (0..20).map(|_| join(Client::tcp(server.address), &listener)).collect();
    for round in 0..3 {
        for (index, (client, upstream)) in pairs.iter_mut().enumerate() {
            client.text(&format!("{round} to {index}"));
            upstream.send(TEXT, format!("{round} from {index}").as_bytes());
        }
        for (index, (client, upstream)) in pairs.iter_mut().enumerate() {
            client.expect(TEXT, format!("{round} from {index}").as_bytes());
            upstream.expect(TEXT, format!("{round} to {index}").as_bytes());
        }
    }
}
