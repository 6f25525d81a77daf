//! Large bodies, and a side that reads slowly: nothing is lost, and memory stays bounded.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::{self, JoinHandle};

use weir::reactor::ExchangeOutcome;
use weir::reactor::settings::{RouteSettings, Settings};

use super::forwarding::{Proxy, get};

const BODY_BYTES: usize = 64 << 20;
const PIECE_BYTES: usize = 1 << 20;

/// All connections together may hold this: less than a tenth of the body.
const BUFFERED_BYTES_MAX: usize = 6 << 20;

fn proxy() -> Proxy {
    let route = RouteSettings::default().message_bytes_max(1 << 30).outbox_hard_bytes(2 << 30);
    Proxy::with(Settings::default().buffered_bytes_max(BUFFERED_BYTES_MAX), route, |_| {})
}

/// Byte `at` of the body.
fn byte(at: usize) -> u8 {
    (at ^ at >> 8 ^ at >> 16) as u8
}

fn send(mut stream: TcpStream) -> JoinHandle<()> {
    thread::spawn(move || {
        for start in (0..BODY_BYTES).step_by(PIECE_BYTES) {
            let piece: Vec<u8> = (start..start + PIECE_BYTES).map(byte).collect();
            stream.write_all(&piece).unwrap();
        }
    })
}

/// Reads the body. Before that, the receiver stops for as long as the sender makes progress.
fn receive(mut stream: impl Read) {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut at = 0;
    while at < BODY_BYTES {
        let len = stream.read(&mut buffer).unwrap();
        assert!(len > 0, "the stream ended after {at} bytes");
        for (offset, &value) in buffer[..len].iter().enumerate() {
            assert_eq!(value, byte(at + offset));
        }
        at += len;
    }
}

#[test]
fn a_large_response_passes_with_bounded_memory() {
    let proxy = proxy();
    let (mut client, mut upstream) = proxy.ask(&get("/"));
    upstream.raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\n\r\n").as_bytes());
    let sender = send(upstream.stream.try_clone().unwrap());
    client.head();
    // The sender is far ahead until it is paused.
    thread::sleep(std::time::Duration::from_millis(300));
    assert!(!sender.is_finished(), "the response is not spooled");
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
    let sender = send(client.writer());
    thread::sleep(std::time::Duration::from_millis(300));
    assert!(!sender.is_finished(), "the request is not spooled");
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
