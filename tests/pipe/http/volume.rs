//! Large bodies, and a side that reads slowly: nothing is lost, and memory stays bounded.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use weir::reactor::ExchangeOutcome;
use weir::reactor::settings::{RouteSettings, Settings};

use super::forwarding::{Proxy, get};
use crate::support::eventually;

const BODY_BYTES: usize = 64 << 20;

/// All connections together may hold this: less than a tenth of the body.
const BUFFERED_BYTES_MAX: usize = 6 << 20;

fn proxy() -> Proxy {
    let route = RouteSettings::default().message_bytes_max(1 << 30).outbox_hard_bytes(2 << 30);
    Proxy::with(Settings::default().buffered_bytes_max(BUFFERED_BYTES_MAX), route, |_| {})
}

/// The body repeats this pattern, whose length has no factor in common with any buffer's.
fn pattern() -> Vec<u8> {
    const PERIOD_BYTES: usize = 1_000_003;
    (0..PERIOD_BYTES).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect()
}

/// Sends the body on a thread; the number of bytes sent so far.
fn send(mut stream: TcpStream) -> (JoinHandle<()>, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let thread = thread::spawn(move || {
        let pattern = pattern();
        let mut left = BODY_BYTES;
        while left > 0 {
            let rest = &pattern[(BODY_BYTES - left) % pattern.len()..];
            left -= stream.write(&rest[..left.min(rest.len())]).unwrap();
            count.store(BODY_BYTES - left, Ordering::Relaxed);
        }
    });
    (thread, sent)
}

/// Waits until the sender makes no progress, because the receiver reads nothing.
fn await_pause(sent: &AtomicUsize) {
    let mut before = 0;
    eventually(
        || {
            thread::sleep(Duration::from_millis(200));
            let now = sent.load(Ordering::Relaxed);
            now > 0 && std::mem::replace(&mut before, now) == now
        },
        "the sender is paused",
    );
    assert!(before < BODY_BYTES, "the body is not spooled");
}

fn receive(mut stream: impl Read) {
    let pattern = pattern();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < BODY_BYTES {
        let most = buffer.len().min(pattern.len() - at % pattern.len());
        let len = stream.read(&mut buffer[..most]).unwrap();
        assert!(len > 0, "the stream ended after {at} bytes");
        assert!(buffer[..len] == pattern[at % pattern.len()..][..len], "at {at}");
        at += len;
    }
}

#[test]
fn a_large_response_passes_with_bounded_memory() {
    let proxy = proxy();
    let (mut client, mut upstream) = proxy.ask(&get("/"));
    upstream.raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\n\r\n").as_bytes());
    let (sender, sent) = send(upstream.stream.try_clone().unwrap());
    client.head();
    await_pause(&sent);
    receive(&mut client.stream);
    sender.join().unwrap();
    let end = proxy.end();
    assert_eq!((end.outcome, end.response_bytes), (ExchangeOutcome::Complete, BODY_BYTES as u64));
    drop((client, upstream));
    proxy.server.stop_clean();
}

#[test]
fn a_large_request_passes_with_bounded_memory() {
    let proxy = proxy();
    let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
    let (mut client, mut upstream) = proxy.ask(&head);
    let (sender, sent) = send(client.writer());
    await_pause(&sent);
    receive(&mut upstream.stream);
    sender.join().unwrap();
    upstream.raw(b"HTTP/1.1 204 No Content\r\n\r\n");
    client.head();
    let end = proxy.end();
    assert_eq!((end.outcome, end.request_bytes), (ExchangeOutcome::Complete, BODY_BYTES as u64));
    assert!(end.is_upstream_idle);
    drop((client, upstream));
    proxy.server.stop_clean();
}
