//! Other upstreams are tried before the client gets a response.

use std::net::TcpListener;
use std::time::Duration;

use super::front::{Front, echo, refusing, url};
use super::scripted::Scripted;
use crate::support::{Client, TEXT, header, upgrade};

const UNAVAILABLE: &str =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\nX-From: upstream\r\n\r\nbusy";

/// The client gets a 101 from the second upstream, although the first fails in this way.
fn second_is_used(first: String, pool: &str, failure: &str) {
    let (_echo, second) = echo(&[]);
    let front = Front::new(&[first, second], pool, "");
    let mut client = front.tunnel();
    client.text("hello");
    client.expect(TEXT, b"hello");
    let failure = format!("outcome=\"{failure}\"");
    assert_eq!(front.admin.metric("weir_upstream_tries_total", &[&failure]), 1.0);
    assert_eq!(front.admin.metric("weir_upstream_tries_total", &["outcome=\"answered\""]), 1.0);
    assert_eq!(front.admin.metric("weir_proxy_retries_total", &[]), 1.0);
}

/// A port whose connections the kernel leaves in SYN-SENT: the queue of its listener is full.
fn blackhole() -> (TcpListener, Vec<std::net::TcpStream>, String) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let listener: TcpListener = socket.into();
    let address = listener.local_addr().unwrap();
    let timeout = Duration::from_millis(200);
    let connect = || std::net::TcpStream::connect_timeout(&address, timeout).ok();
    let waiting: Vec<_> = std::iter::from_fn(connect).take(16).collect();
    assert!(waiting.len() < 16, "the queue is not full");
    (listener, waiting, url(address))
}

#[test]
fn an_upstream_that_refuses_is_skipped() {
    second_is_used(refusing(), "", "connect");
}

#[test]
fn an_upstream_that_closes_is_skipped() {
    second_is_used(Scripted::answering("").url(), "", "reset");
}

#[test]
fn an_upstream_that_is_unavailable_is_skipped() {
    second_is_used(Scripted::answering(UNAVAILABLE).url(), "", "status");
}

#[test]
fn an_upstream_that_does_not_accept_is_skipped() {
    let (_listener, _waiting, first) = blackhole();
    second_is_used(first, "connect_timeout = '300ms'", "connect_timeout");
}

#[test]
fn an_upstream_without_tls_is_skipped() {
    let (_plain, upstream) = echo(&[]);
    second_is_used(upstream.replace("http:", "https:"), "", "tls");
}

#[test]
fn a_late_connection_is_504_without_another_upstream() {
    let (_listener, _waiting, upstream) = blackhole();
    let front = Front::new(&[upstream], "connect_timeout = '300ms'", "");
    let head = Client::tcp(front.address).request(&upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
    let reason = "reason=\"connect_timeout\"";
    assert_eq!(front.admin.metric("weir_proxy_refused_total", &[reason]), 1.0);
}

#[test]
fn a_late_response_is_504_and_is_not_tried_again() {
    let silent = Scripted::new(|client, _| client.expect_gone());
    let second = Scripted::answering(UNAVAILABLE);
    let upstreams = [silent.url(), second.url()];
    let front = Front::new(&upstreams, "answer_timeout = '300ms'", "");
    let head = Client::tcp(front.address).request(&upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
    second.expect_no_request();
    let reason = "reason=\"answer_timeout\"";
    assert_eq!(front.admin.metric("weir_proxy_refused_total", &[reason]), 1.0);
}

#[test]
fn the_handshake_timeout_is_504() {
    let silent = Scripted::new(|client, _| client.expect_gone());
    let pool = "connect_timeout = '100ms'";
    let front = Front::with(&[silent.url()], pool, "", &["--handshake-timeout", "500ms"]);
    let head = Client::tcp(front.address).request(&upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
    front.admin.await_metric("weir_upstream_connections", &["use=\"exchange\""], 0.0);
    let reason = "reason=\"answer_timeout\"";
    front.admin.await_metric("weir_proxy_refused_total", &[reason], 1.0);
    let outcome = "outcome=\"answer_timeout\"";
    front.admin.await_metric("weir_upstream_tries_total", &[outcome], 1.0);
}

#[test]
fn tries_are_bounded() {
    let upstreams: Vec<String> = (0..5).map(|_| refusing()).collect();
    let front = Front::new(&upstreams, "tries = 2", "");
    let head = Client::tcp(front.address).request(&upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert_eq!(front.admin.metric("weir_upstream_tries_total", &["outcome=\"connect\""]), 2.0);
    let reason = "reason=\"connect\"";
    assert_eq!(front.admin.metric("weir_proxy_refused_total", &[reason]), 1.0);
}

#[test]
fn the_last_unavailable_response_is_forwarded() {
    let last = Scripted::answering(UNAVAILABLE);
    let front = Front::new(&[refusing(), last.url()], "", "");
    let mut client = Client::tcp(front.address);
    let head = client.request(&upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(header(&head, "X-From"), Some("upstream"));
    assert_eq!(client.bytes(4), b"busy");
    client.expect_end();
}
