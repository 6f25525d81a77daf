//! Tunnels that weir ends by a limit, by an identity or because of its load: the client gets the code of
//! the reason and the upstream 1001, in both modes of compression.
//!
//! No client here answers its Close before the upstream has got one.

use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use weir::protocol::CloseCode;
use weir::reactor::CloseReason;
use weir::reactor::settings::{DeflateMode, RouteSettings, Settings};

use super::front::{Front, message, url};
use super::scripted::{Scripted, switching};
use crate::auth::gated::TestFile;
use crate::auth::tokens::{SECRET, hs256, now, valid};
use crate::support::{
    BINARY, COMPRESSED, Client, DEADLINE, Seen, Server, TEXT, Watched, eventually, frame, header,
    next_end,
};

const KIB: usize = 1024;

/// "Hello", compressed (RFC 7692, 7.2.3.1).
const HELLO: [u8; 7] = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];

const MODES: [DeflateMode; 2] = [DeflateMode::Shared, DeflateMode::Dedicated];

/// An echo as upstream, which compresses in this mode.
fn upstream(mode: DeflateMode) -> (Server, Receiver<Seen>) {
    let (service, seen) = Watched::echo();
    let server = Server::start(Settings::default(), move |reactor| {
        let service = reactor.add_service(service).unwrap();
        let route = RouteSettings::default().deflate(mode);
        reactor.add_route("/*", service, route).unwrap();
    });
    (server, seen)
}

/// An open tunnel whose ends compress in this mode, after one message.
fn tunnel(front: &Front, path: &str, lines: &str, mode: DeflateMode) -> Client {
    let lines = format!("Sec-WebSocket-Extensions: permessage-deflate\r\n{lines}");
    let (mut client, head) = Client::open_with(front.address, path, &lines);
    let agreed = header(&head, "Sec-WebSocket-Extensions").expect(&head);
    let is_shared = agreed.contains("server_no_context_takeover");
    assert_eq!(is_shared, mode == DeflateMode::Shared, "{agreed}");
    hello(&mut client);
    client
}

fn hello(client: &mut Client) {
    client.send(TEXT | COMPRESSED, &HELLO);
    assert_eq!(client.frame().opcode, TEXT);
}

/// Expects the Close of the client, then that of the upstream, then the reason in the metrics.
fn expect_end(
    front: &Front,
    client: &mut Client,
    seen: &Receiver<Seen>,
    (code, text): (u16, &str),
    reason: &str,
) {
    assert_eq!(client.expect_close(), (code, text.to_owned()));
    assert_eq!(next_end(seen), CloseReason::PeerClosed(Some(CloseCode::GOING_AWAY)), "{reason}");
    client.close(code, "");
    client.expect_end();
    let label = format!("reason=\"{reason}\"");
    front.admin.await_metric("weir_proxy_closed_total", &[&label], 1.0);
}

#[test]
fn a_tunnel_above_its_rate_closes_its_upstream_with_1001() {
    for mode in MODES {
        // Five frames of 13 bytes, then one more.
        for (rate, grace, text) in [
            ("messages_rate = '5/h'", "0s", "too many messages"),
            ("messages_rate = '5/h'", "200ms", "too many messages"),
            ("bytes_rate = '65B/h'", "0s", "too many bytes"),
        ] {
            let (upstream, seen) = upstream(mode);
            let route = format!("{rate}\nover = 'close'\nover_grace = '{grace}'");
            let front = Front::new(&[url(upstream.address)], "", &route);
            let mut client = tunnel(&front, "/", "", mode);
            for _ in 1..5 {
                hello(&mut client);
            }
            client.send(TEXT | COMPRESSED, &HELLO);
            expect_end(&front, &mut client, &seen, (1008, text), "rate");
        }
    }
}

/// A front with a gate, and the file of its secret.
fn gated(upstream: &Server) -> (Front, TestFile) {
    let secret = TestFile::new(SECRET);
    let gate = format!(
        "auth = 'users'\n[[auth]]\nname = 'users'\nkind = 'jwt'\nalgorithms = ['HS256']\n\
         secret_file = {:?}\nleeway = '0s'",
        secret.0
    );
    (Front::new(&[url(upstream.address)], "", &gate), secret)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[test]
fn a_tunnel_with_an_expired_identity_closes_its_upstream_with_1001() {
    for mode in MODES {
        let (upstream, seen) = upstream(mode);
        let (front, _secret) = gated(&upstream);
        let token = hs256(&format!(r#"{{"sub":"ann","exp":{}}}"#, now() + 8));
        let mut client = tunnel(&front, "/", &bearer(&token), mode);
        expect_end(&front, &mut client, &seen, (3000, "token expired"), "expired");
    }
}

#[test]
fn a_tunnel_of_a_subject_that_is_signed_out_closes_its_upstream_with_1001() {
    for mode in MODES {
        let (upstream, seen) = upstream(mode);
        let (front, _secret) = gated(&upstream);
        let mut other = tunnel(&front, "/", &bearer(&valid("bob")), mode);
        let mut client = tunnel(&front, "/", &bearer(&valid("ann")), mode);
        let mut operator = Client::tcp(front.admin.address());
        operator.raw(b"DELETE /auth/users/users/ann HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(operator.answer().1, b"{\"closed\":1}\n");
        expect_end(&front, &mut client, &seen, (3003, "signed out"), "signed_out");
        hello(&mut other);
    }
}

/// A front whose connections share 512 KiB, with one route of low priority and one of high. Half of this
/// memory is critical, and nothing else raises its level. It may shed one connection.
fn crowded(upstream: String) -> Front {
    let high = "priority = 'low'\n[[route]]\npath = '/high'\nservice = 'proxy'\npool = 'nodes'\n\
                priority = 'high'";
    let flags = [
        "--levels",
        "--delay-elevated=1h",
        "--delay-critical=2h",
        "--memory-max=off",
        "--memory-elevated=40%",
        "--memory-critical=50%",
        "--shed-max=1%",
        "--buffered-max=1MiB",
        "--head-max=64KiB",
        "--outbox-hard=512KiB",
        "--outbox-soft=128KiB",
        "--close-timeout=60s",
    ];
    Front::with(&[upstream], "", high, &flags)
}

/// What is critical of 512 KiB, and a little more.
const CRITICAL: f64 = 0.52 * 512.0 * KIB as f64;

fn buffered(front: &Front) -> f64 {
    front.admin.metric("weir_buffered_bytes", &[])
}

/// A frame that is held until it is complete.
fn whole_frame(bytes: usize) -> Vec<u8> {
    frame(true, BINARY, &vec![7; bytes])
}

/// Sends all but the end of a frame of so many bytes, which stay with weir.
fn leave_held(front: &Front, client: &mut Client, bytes: usize) {
    let before = buffered(front);
    let frame = whole_frame(bytes);
    client.raw(&frame[..frame.len() - 10]);
    let held = || buffered(front) >= before + (bytes - KIB) as f64;
    eventually(held, "the part of the frame is held");
}

/// Sends the end of that frame.
fn send_rest(client: &mut Client, bytes: usize) {
    let frame = whole_frame(bytes);
    client.raw(&frame[frame.len() - 10..]);
}

/// The same, and expects the message back, which may be compressed.
fn complete(client: &mut Client, bytes: usize) {
    send_rest(client, bytes);
    assert_eq!(message(client).0, BINARY);
}

/// Uses up the memory by tunnels of high priority; returns them.
fn use_up(front: &Front, open: impl Fn() -> Client, bytes: usize) -> Vec<Client> {
    let mut high = Vec::new();
    while buffered(front) < CRITICAL {
        let mut client = open();
        leave_held(front, &mut client, bytes);
        high.push(client);
    }
    high
}

/// Expects the Close of a tunnel that was shed.
fn expect_shed(client: &mut Client) {
    let (code, text) = client.expect_close();
    assert_eq!(code, 1013);
    let seconds = text.strip_prefix("server overloaded, retry in ").expect(&text);
    let seconds: u32 = seconds.strip_suffix(" s").expect(&text).parse().unwrap();
    assert!((5..=15).contains(&seconds), "{text}");
}

/// Each tunnel holds a part of a frame. Those of high priority hold more, and stay.
#[test]
fn the_largest_tunnel_of_low_priority_is_shed_and_closes_its_upstream_with_1001() {
    const LARGE: usize = 40 * KIB;
    const SMALL: usize = 20 * KIB;
    const OF_HIGH: usize = 60 * KIB;
    for mode in MODES {
        let (upstream, seen) = upstream(mode);
        let front = crowded(url(upstream.address));
        let mut small = tunnel(&front, "/", "", mode);
        let mut large = tunnel(&front, "/", "", mode);
        leave_held(&front, &mut small, SMALL);
        leave_held(&front, &mut large, LARGE);
        let mut high = use_up(&front, || tunnel(&front, "/high", "", mode), OF_HIGH);
        expect_shed(&mut large);
        assert_eq!(next_end(&seen), CloseReason::PeerClosed(Some(CloseCode::GOING_AWAY)));
        send_rest(&mut large, LARGE);
        large.close(1013, "");
        large.expect_end();
        front.admin.await_metric("weir_proxy_closed_total", &["reason=\"shed\""], 1.0);
        high.iter_mut().for_each(|client| complete(client, OF_HIGH));
        complete(&mut small, SMALL);
        assert_eq!(front.admin.metric("weir_shed_total", &[]), 1.0);
    }
}

/// An upstream that accepts tunnels. One to `/slow` is not read until the test allows it; the code of
/// the Close is then reported.
fn slow(is_read: &Arc<AtomicBool>) -> (Scripted, Receiver<u16>) {
    let is_read = Arc::clone(is_read);
    let (code, codes) = channel();
    let upstream = Scripted::new(move |client, head| {
        client.raw(switching("").as_bytes());
        if !head.starts_with("GET /slow ") {
            return client.expect_gone();
        }
        eventually(|| is_read.load(Relaxed), "the test lets the upstream read");
        let _ = code.send(masked_close(client));
    });
    (upstream, codes)
}

/// Reads until a masked Close with a code and no reason is the last frame; returns the code.
fn masked_close(client: &mut Client) -> u16 {
    const CLOSE_BYTES: usize = 2 + 4 + 2;
    let (mut last, mut chunk) = (Vec::new(), vec![0; 64 * KIB]);
    loop {
        let len = client.stream.read(&mut chunk).expect("a Close in time");
        assert!(len > 0, "the stream ended without a Close");
        last.extend_from_slice(&chunk[..len]);
        last.drain(..last.len().saturating_sub(CLOSE_BYTES));
        if let [0x88, 0x82, a, b, _, _, high, low] = last[..] {
            return u16::from_be_bytes([high ^ a, low ^ b]);
        }
    }
}

/// What an upstream does not read is held for its tunnel, and is more than the part of a frame that the
/// other tunnel holds.
#[test]
fn bytes_that_the_upstream_does_not_read_count_for_its_tunnel() {
    const HELD: usize = 60 * KIB;
    let is_read = Arc::<AtomicBool>::default();
    let (upstream, codes) = slow(&is_read);
    let front = crowded(upstream.url());
    let (mut blocked, mut other) =
        (Client::open(front.address, "/slow"), Client::open(front.address, "/"));
    leave_held(&front, &mut other, HELD);
    flood(&mut blocked, || buffered(&front) > (128 * KIB + HELD) as f64);
    let _high = use_up(&front, || Client::open(front.address, "/high"), HELD);
    expect_shed(&mut blocked);
    is_read.store(true, Relaxed);
    assert_eq!(codes.recv_timeout(DEADLINE), Ok(1001));
    assert_eq!(front.admin.metric("weir_shed_total", &[]), 1.0);
}

/// Sends messages until a condition holds. The other side may take nothing for a while.
fn flood(client: &mut Client, is_enough: impl Fn() -> bool) {
    let message = frame(true, BINARY, &vec![7; 32 * KIB]);
    client.stream.set_nonblocking(true).unwrap();
    let mut sent = 0;
    let send = || {
        match client.stream.write(&message[sent..]) {
            Ok(len) => sent = (sent + len) % message.len(),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        is_enough()
    };
    eventually(send, "the upstream takes no more");
    client.stream.set_nonblocking(false).unwrap();
}

/// The work that a tunnel causes is that of both sides: one client sends a little, the upstream of the other
/// one all the time.
#[test]
fn messages_of_the_upstream_count_for_its_tunnel() {
    let upstream = Scripted::new(|client, head| {
        client.raw(switching("").as_bytes());
        if !head.starts_with("GET /flood ") {
            return client.expect_gone();
        }
        let messages = b"\x81\x01a".repeat(1_000);
        while client.stream.write_all(&messages).is_ok() {}
    });
    let flags = [
        "--levels",
        "--delay-elevated=100us",
        "--delay-critical=200us",
        "--memory-max=off",
        "--shed-max=1%",
        "--close-timeout=1s",
    ];
    let front = Front::with(&[upstream.url()], "", "priority = 'low'", &flags);
    let mut quiet = Client::open(front.address, "/");
    let mut flooded = Client::open(front.address, "/flood");
    let mut writer = quiet.writer();
    let is_over = Arc::<AtomicBool>::default();
    let ends = Arc::clone(&is_over);
    let sending = thread::spawn(move || {
        while !ends.load(Relaxed) {
            writer.write_all(&frame(true, TEXT, b"now and then")).unwrap();
            thread::sleep(Duration::from_millis(10));
        }
    });
    let last = last_bytes(&mut flooded);
    assert!(last.contains("server overloaded, retry in "), "{last}");
    is_over.store(true, Relaxed);
    sending.join().unwrap();
    assert_eq!(front.admin.metric("weir_shed_total", &[]), 1.0);
    quiet.close(1000, "");
}

/// Reads to the end of the stream; returns its last bytes.
fn last_bytes(client: &mut Client) -> String {
    let (mut last, mut chunk) = (Vec::new(), vec![0; 64 * KIB]);
    loop {
        let len = client.stream.read(&mut chunk).expect("the end of the stream");
        if len == 0 {
            return String::from_utf8_lossy(&last).into_owned();
        }
        last.extend_from_slice(&chunk[..len]);
        last.drain(..last.len().saturating_sub(64));
    }
}
