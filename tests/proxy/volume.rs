//! Large bodies through the real binary: its memory does not grow with them.
//!
//! With bodies of another size: `VOLUME_MIB=1024 cargo test --test weir proxy::volume -- --nocapture`.

use std::fs;

use super::front::Front;
use super::scripted::Scripted;
use crate::support::Client;

/// What the process may need above its memory before the body: its queues and buffers. A body is at
/// least four times as large.
const GROWTH_KIB_MAX: u64 = 8 * 1024;
const CHUNK_BYTES: usize = 1 << 20;

/// The number of MiB of a body.
fn body_mib() -> usize {
    let given = std::env::var("VOLUME_MIB").ok();
    given.map_or(64, |count| count.parse().unwrap())
}

/// Resident memory of the process in KiB: its present value, and its largest so far.
fn resident_kib(front: &Front) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{}/status", front.process.pid())).unwrap();
    let value = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (value("VmRSS:"), value("VmHWM:"))
}

fn send(client: &mut Client) {
    let chunk = vec![b'b'; CHUNK_BYTES];
    (0..body_mib()).for_each(|_| client.raw(&chunk));
}

fn receive(client: &mut Client) {
    for at in 0..body_mib() {
        let chunk = client.bytes(CHUNK_BYTES);
        assert!(chunk.iter().all(|byte| *byte == b'b'), "in MiB {at}");
    }
}

#[test]
fn memory_does_not_grow_with_bodies() {
    let bytes = body_mib() << 20;
    let upstream = Scripted::persistent(move |client, head| {
        if head.starts_with("PUT /large ") {
            receive(client);
            client.raw(b"HTTP/1.1 204 No Content\r\n\r\n");
        } else if head.starts_with("GET /large ") {
            client.raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n").as_bytes());
            send(client);
        } else {
            client.raw(b"HTTP/1.1 204 No Content\r\n\r\n");
        }
    });
    let front = Front::new(&[upstream.url()], "", "message_max = '1 GiB'");
    let mut client = Client::tcp(front.address);
    client.raw(b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    let (start, _) = resident_kib(&front);
    let get = "GET /large HTTP/1.1\r\nHost: a\r\n\r\n".to_owned();
    let put = format!("PUT /large HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n");
    for (name, request) in [("response", get), ("request", put)] {
        client.raw(request.as_bytes());
        if name == "request" {
            send(&mut client);
        }
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 20"), "{name}: {head}");
        if name == "response" {
            receive(&mut client);
        }
        let (now, most) = resident_kib(&front);
        println!("{name} of {} MiB: {start} KiB before, {now} after, at most {most}", body_mib());
        assert!(most - start < GROWTH_KIB_MAX, "{name}: {start} KiB before, at most {most}");
    }
    assert_eq!(front.admin.metric("weir_proxy_held_bytes", &[]), 0.0);
}
