//! What clients get if an upgrade does not become a tunnel.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use super::front::{Front, echo, refusing};
use super::scripted::{Scripted, switching};
use crate::support::{Client, KEY, TEXT, eventually, frame, header, upgrade};

fn status(front: &Front, request: &str) -> String {
    let head = Client::tcp(front.address).request(request);
    head.lines().next().unwrap().to_owned()
}

#[test]
fn a_pool_without_an_upstream_that_is_up_is_503_with_a_time() {
    let front = Front::new(&[refusing()], "health = 'connect'", "");
    front.admin.await_metric("weir_upstream_health_checks_total", &["outcome=\"failure\""], 1.0);
    let head = Client::tcp(front.address).request(&upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    let seconds: u8 = header(&head, "Retry-After").unwrap().parse().unwrap();
    assert!((2..=10).contains(&seconds), "{seconds}");
    let reason = "reason=\"no_upstream\"";
    assert_eq!(front.admin.metric("weir_proxy_refused_total", &[reason]), 1.0);
}

#[test]
fn open_breakers_do_not_close_a_pool() {
    let front = Front::new(&[refusing()], "", "");
    for _ in 0..5 {
        assert_eq!(status(&front, &upgrade("/", "")), "HTTP/1.1 502 Bad Gateway");
    }
    assert_eq!(front.admin.metric("weir_upstream_tries_total", &["outcome=\"connect\""]), 5.0);
    assert_eq!(front.admin.metric("weir_upstream_breaker", &[]), 2.0);
}

#[test]
fn a_pool_at_its_limit_is_503() {
    let upstream = Scripted::accepting("");
    let front = Front::new(&[upstream.url()], "upstream_connections_max = 1", "");
    let client = front.tunnel();
    let head = Client::tcp(front.address).request(&upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 503 ") && header(&head, "Retry-After").is_some(), "{head}");
    assert_eq!(front.admin.metric("weir_proxy_refused_total", &["reason=\"full\""]), 1.0);
    drop(client);
    let closing = "use=\"closing\"";
    for usage in ["use=\"tunnel\"", closing] {
        front.admin.await_metric("weir_upstream_connections", &[usage], 0.0);
    }
    front.tunnel();
}

#[test]
fn the_connection_of_an_ended_tunnel_counts_until_it_is_closed() {
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let upstream = Scripted::new(move |client, _| {
        client.raw(switching("").as_bytes());
        eventually(|| over.load(Relaxed), "the test ends the connection");
    });
    let front = Front::new(&[upstream.url()], "upstream_connections_max = 1", "");
    drop(front.tunnel());
    let closing = "use=\"closing\"";
    front.admin.await_metric("weir_upstream_connections", &[closing], 1.0);
    assert_eq!(status(&front, &upgrade("/", "")), "HTTP/1.1 503 Service Unavailable");
    is_over.store(true, Relaxed);
    front.admin.await_metric("weir_upstream_connections", &[closing], 0.0);
    front.tunnel();
}

#[test]
fn the_limit_of_outbound_connections_is_503() {
    let upstream = Scripted::accepting("");
    let front = Front::with(&[upstream.url()], "", "", &["--outbound-max", "1"]);
    let _client = front.tunnel();
    let head = Client::tcp(front.address).request(&upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 503 ") && header(&head, "Retry-After").is_some(), "{head}");
    assert_eq!(front.admin.metric("weir_proxy_refused_total", &["reason=\"full\""]), 1.0);
}

#[test]
fn a_process_without_descriptors_answers_503_and_recovers() {
    let (_echo, upstream) = echo(&[]);
    let front = Front::new(&[upstream], "", "");
    let mut tunnels: Vec<Client> = (0..5).map(|_| front.tunnel()).collect();
    // The next client takes the last descriptor, and its upstream gets none.
    front.process.leave_descriptors(1);
    let head = Client::tcp(front.address).request(&upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 503 ") && header(&head, "Retry-After").is_some(), "{head}");
    let refused = ["reason=\"local\""];
    front.admin.await_metric("weir_proxy_refused_total", &refused, 1.0);
    // The upstream has nothing to do with it.
    assert_eq!(front.admin.metric("weir_upstream_tries_total", &[]), 5.0);
    assert_eq!(front.admin.metric("weir_upstream_breaker", &[]), 0.0);
    for client in &mut tunnels {
        client.text("still here");
        client.expect(TEXT, b"still here");
    }
    tunnels.truncate(3);
    front.admin.await_metric("weir_upstream_connections", &["use=\"tunnel\""], 3.0);
    tunnels.extend((0..2).map(|_| front.tunnel()));
    for client in &mut tunnels {
        client.text("all is well");
        client.expect(TEXT, b"all is well");
    }
}

#[test]
fn a_name_that_does_not_resolve_is_503() {
    let upstreams = ["http://upstream.invalid:1".to_owned()];
    let front = Front::new(&upstreams, "", "");
    let head = Client::tcp(front.address).request(&upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(front.admin.metric("weir_proxy_refused_total", &["reason=\"resolve\""]), 1.0);
    front.admin.await_metric("weir_upstream_resolved_total", &["outcome=\"failure\""], 1.0);
}

#[test]
fn names_are_resolved() {
    let upstream = Scripted::accepting("");
    let name = format!("http://localhost:{}", upstream.address.port());
    let front = Front::new(&[name], "", "");
    front.admin.await_metric("weir_upstream_resolved_total", &["outcome=\"success\""], 1.0);
    front.tunnel();
}

#[test]
fn an_invalid_101_is_502() {
    let accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    let wrong = "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n";
    let start = "HTTP/1.1 101 Switching Protocols\r\n";
    let (upgrade_header, connection) = ("Upgrade: websocket\r\n", "Connection: upgrade\r\n");
    assert!(switching("").contains(accept), "{KEY}");
    for response in [
        [start, upgrade_header, connection, wrong].concat(),
        [start, upgrade_header, connection].concat(),
        [start, connection, accept].concat(),
        [start, upgrade_header, accept].concat(),
        [start, "Upgrade: h2c\r\n", connection, accept].concat(),
        [start, upgrade_header, connection, accept, "Sec-WebSocket-Protocol: b\r\n"].concat(),
        [start, upgrade_header, connection, accept, "Sec-WebSocket-Extensions: x\r\n"].concat(),
    ] {
        let script = response.clone() + "\r\n";
        let upstream = Scripted::new(move |client, _| client.raw(script.as_bytes()));
        let front = Front::new(&[upstream.url()], "", "");
        let request = upgrade("/", "Sec-WebSocket-Protocol: a\r\n");
        assert_eq!(status(&front, &request), "HTTP/1.1 502 Bad Gateway", "{response}");
        let outcome = "outcome=\"bad_answer\"";
        assert_eq!(front.admin.metric("weir_upstream_tries_total", &[outcome]), 1.0);
        assert_eq!(front.admin.metric("weir_proxy_tunnels_total", &[]), 0.0);
    }
}

#[test]
fn a_malformed_response_is_502() {
    for response in
        ["HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "HTTP/2 200 OK\r\n\r\n"]
    {
        let upstream = Scripted::answering(response);
        let front = Front::new(&[upstream.url()], "", "");
        assert_eq!(status(&front, &upgrade("/", "")), "HTTP/1.1 502 Bad Gateway", "{response}");
    }
}

#[test]
fn another_response_to_an_upgrade_is_forwarded_and_closes() {
    let upstream = Scripted::answering(
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\nWWW-Authenticate: Basic\r\n\r\nlogin",
    );
    let front = Front::new(&[upstream.url()], "", "");
    let mut client = Client::tcp(front.address);
    let head = client.request(&upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{head}");
    assert_eq!(header(&head, "WWW-Authenticate"), Some("Basic"));
    assert_eq!(header(&head, "Connection"), Some("close"));
    assert_eq!(client.bytes(5), b"login");
    client.expect_end();
}

#[test]
fn a_client_that_leaves_frees_its_upstream() {
    let (sender, gone) = std::sync::mpsc::channel();
    let upstream = Scripted::new(move |client, _| {
        client.expect_gone();
        let _ = sender.send(());
    });
    let front = Front::new(&[upstream.url()], "", "");
    let mut client = Client::tcp(front.address);
    client.raw(upgrade("/", "").as_bytes());
    upstream.head();
    client.finish();
    gone.recv_timeout(crate::support::DEADLINE).expect("the upstream's connection ends");
    front.admin.await_metric("weir_upstream_connections", &["use=\"exchange\""], 0.0);
    front.admin.await_metric("weir_upstream_tries_total", &["outcome=\"cancelled\""], 1.0);
}

#[test]
fn a_request_without_memory_for_its_head_is_503_and_no_fault_of_the_upstream() {
    const HALF: f64 = 2.0 * 1024.0 * 1024.0;
    let (_echo, upstream) = echo(&[]);
    let flags = ["--buffered-max", "4MiB", "--connections-max", "1000"];
    let route = "[[route]]\npath = '/echo'\nservice = 'echo'\n";
    let front = Front::with(&[upstream], "", route, &flags);
    let buffered = || front.admin.metric("weir_buffered_bytes", &[]);
    // Unfinished messages use up the half that all connections compete for.
    let mut senders = Vec::new();
    while buffered() < HALF - 8192.0 {
        let len = if buffered() < HALF - 131_072.0 { 65_536 } else { 4096 };
        let mut sender = Client::open(front.address, "/echo");
        let before = buffered();
        sender.raw(&frame(true, TEXT, &vec![b'a'; len])[..len - 96]);
        eventually(|| buffered() > before, "it is buffered");
        senders.push(sender);
    }
    let long = format!("X-Long: {}\r\n", "a".repeat(12 * 1024));
    let head = Client::tcp(front.address).request(&upgrade("/", &long));
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    let reason = "reason=\"overloaded\"";
    assert_eq!(front.admin.metric("weir_proxy_refused_total", &[reason]), 1.0);
    assert_eq!(front.admin.metric("weir_upstream_connections", &["use=\"exchange\""]), 0.0);
    drop(senders);
    eventually(|| buffered() < HALF / 2.0, "memory is free");
    let mut client = front.tunnel();
    client.text("hello");
    client.expect(TEXT, b"hello");
}
