//! Memory that the proxy holds: shown by pool, and bounded by `buffered_max`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::Value;

use super::front::{Front, echo};
use super::scripted::{Scripted, switching};
use crate::support::{BINARY, Client, TEXT, eventually, frame, header, upgrade};

const KIB: usize = 1024;

fn held(front: &Front) -> f64 {
    front.admin.metric("weir_proxy_held_bytes", &["pool=\"nodes\""])
}

/// The same by `/status`.
fn held_by_status(front: &Front) -> f64 {
    let mut client = Client::tcp(front.admin.address());
    let host = front.admin.address();
    let request = format!("GET /status?format=json HTTP/1.1\r\nHost: {host}\r\n\r\n");
    client.raw(request.as_bytes());
    let (_, body) = client.answer();
    let status: Value = serde_json::from_slice(&body).unwrap();
    status["pools"][0]["held_bytes"].as_f64().unwrap()
}

#[test]
fn bytes_of_an_incomplete_frame_are_held() {
    let (_echo, upstream) = echo(&[]);
    let front = Front::new(&[upstream], "", "");
    let mut client = front.tunnel();
    front.admin.await_metric("weir_proxy_held_bytes", &[], 0.0);
    let whole = frame(true, BINARY, &[7; 40 * KIB]);
    client.raw(&whole[..30 * KIB]);
    eventually(|| held(&front) >= 30.0 * KIB as f64, "the part of the frame is held");
    assert!(held(&front) < 100.0 * KIB as f64);
    client.raw(&whole[30 * KIB..]);
    client.expect(BINARY, &[7; 40 * KIB]);
    eventually(|| held(&front) == 0.0, "the frame was forwarded");
    client.raw(&whole[..30 * KIB]);
    eventually(|| held_by_status(&front) >= 30.0 * KIB as f64, "the status shows it, too");
    drop(client);
    eventually(|| held_by_status(&front) == 0.0, "the tunnel has ended");
}

#[test]
fn output_that_is_not_read_is_held() {
    const BODY_BYTES: usize = 32 << 20;
    let upstream = Scripted::new(|client, head| {
        if head.contains("Upgrade:") {
            client.raw(switching("").as_bytes());
            client.raw(
                &[b"\x82\x7f\0\0\0\0".as_slice(), &(BODY_BYTES as u32).to_be_bytes()].concat(),
            );
        } else {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
            client.raw(head.as_bytes());
        }
        client.raw(&vec![b'x'; BODY_BYTES]);
        client.expect_gone();
    });
    let front = Front::new(&[upstream.url()], "", "");
    for request in [upgrade("/", ""), "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()] {
        let mut client = Client::narrow_tcp(front.address);
        client.raw(request.as_bytes());
        client.head();
        eventually(|| held(&front) >= 100.0 * KIB as f64, "the outbox is full");
        let mut received = 0;
        while received < BODY_BYTES {
            received += client.bytes(16 * KIB).len();
        }
        eventually(|| held(&front) == 0.0, "all was read");
    }
}

#[test]
fn heads_of_waiting_requests_count_towards_the_memory_limit() {
    const HEAD_BYTES: usize = 50 * KIB;
    const CLIENTS_MAX: usize = 40;
    let is_released = Arc::<AtomicBool>::default();
    let released = Arc::clone(&is_released);
    let upstream = Scripted::new(move |client, _| {
        eventually(|| released.load(Relaxed), "the test lets the upstream respond");
        client.raw(switching("").as_bytes());
        client.expect_gone();
    });
    // Half of it for all connections together.
    let limits = "--buffered-max=1MiB --head-max=64KiB --outbox-hard=512KiB --outbox-soft=128KiB \
                  --connections-per-address=0";
    let limits: Vec<&str> = limits.split(' ').filter(|limit| !limit.is_empty()).collect();
    let front = Front::with(&[upstream.url()], "", "", &limits);
    let filler = format!("X-Filler: {}\r\n", "x".repeat(HEAD_BYTES));
    let mut waiting: Vec<Client> = Vec::new();
    let refused = loop {
        assert!(waiting.len() < CLIENTS_MAX, "nothing was refused");
        let mut client = Client::tcp(front.address);
        client.raw(upgrade("/", &filler).as_bytes());
        let count = waiting.len() + 1;
        let pending = || front.admin.metric("weir_upstream_connections", &["use=\"exchange\""]);
        let refused = || front.admin.metric("weir_proxy_refused_total", &["overloaded"]);
        eventually(|| pending() as usize == count || refused() > 0.0, "it waits or is refused");
        if refused() > 0.0 {
            break client.head();
        }
        waiting.push(client);
    };
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(header(&refused, "Retry-After").is_some(), "{refused}");
    assert_eq!(header(&refused, "X-WebSocket-Error"), Some("service unavailable"));
    assert!((6..10).contains(&waiting.len()), "{} heads fit", waiting.len());
    assert!(held(&front) >= (waiting.len() * HEAD_BYTES) as f64);
    assert!(front.admin.metric("weir_buffered_refusals_total", &[]) >= 1.0);
    is_released.store(true, Relaxed);
    for client in &mut waiting {
        assert!(client.head().starts_with("HTTP/1.1 101 "));
    }
    eventually(|| held(&front) == 0.0, "the heads are not needed in a tunnel");
    let mut client = Client::tcp(front.address);
    client.raw(upgrade("/", &filler).as_bytes());
    assert!(client.head().starts_with("HTTP/1.1 101 "), "there is room again");
    client.send(TEXT, b"a frame");
}
