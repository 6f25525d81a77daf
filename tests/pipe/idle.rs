//! Connections to upstreams without a request.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use weir::reactor::settings::Settings;
use weir::reactor::{CloseReason, ConnId, Connect, RouteId, UpstreamRequest};

use super::upstream::{Upstream, listener};
use crate::puppet::{Puppet, Report, Strings};
use crate::support::{DEADLINE, Server, eventually};

fn service() -> (Server, Strings, RouteId) {
    let (puppet, strings) = Puppet::new();
    let (server, route) = puppet.serve_and_connect(Settings::default());
    (server, strings, route)
}

/// Dials, and waits until the connection is established.
fn dial(strings: &Strings, route: RouteId, listener: &TcpListener) -> (ConnId, Upstream) {
    let address: SocketAddr = listener.local_addr().unwrap();
    let id = strings.run(move |cx| cx.dial(Connect::to(address), route, DEADLINE)).unwrap();
    let upstream = Upstream::accept(listener);
    while strings.next() != Report::Connected(id) {}
    (id, upstream)
}

fn request() -> UpstreamRequest {
    UpstreamRequest::new(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), DEADLINE)
}

/// Sends a request, once the connection is established.
fn send(strings: &Strings, id: ConnId) -> bool {
    strings.run(move |cx| cx.send_request(id, request()))
}

#[test]
fn a_request_is_sent_before_or_after_the_connection_is_established() {
    let (server, strings, route) = service();
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let id = strings.run(move |cx| {
        let id = cx.dial(Connect::to(address), route, DEADLINE).unwrap();
        assert!(cx.send_request(id, request()));
        assert!(!cx.send_request(id, request()), "one request at a time");
        id
    });
    let mut upstream = Upstream::accept(&listener);
    upstream.request();
    assert!(!send(&strings, id), "its response is awaited");
    // The service drops the upstream for its response.
    upstream.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(strings.closed(), (id, CloseReason::Aborted));
    assert!(!send(&strings, id), "it has ended");

    let (id, mut upstream) = dial(&strings, route, &listener);
    assert!(send(&strings, id));
    upstream.request();
    drop(upstream);
    assert_eq!(strings.closed(), (id, CloseReason::PeerGone));
    server.stop_clean();
}

#[test]
fn an_idle_connection_that_the_upstream_ends_is_not_used() {
    let (server, strings, route) = service();
    let listener = listener();
    let (id, upstream) = dial(&strings, route, &listener);
    drop(upstream);
    assert_eq!(strings.closed(), (id, CloseReason::PeerGone));
    assert!(!send(&strings, id));
    server.stop_clean();
}

#[test]
fn an_idle_connection_that_sends_anything_is_dropped() {
    let (server, strings, route) = service();
    let listener = listener();
    let (id, mut upstream) = dial(&strings, route, &listener);
    upstream.raw(b"HTTP/1.1 408 Request Timeout\r\n\r\n");
    let (ended, why) = strings.closed();
    assert_eq!(ended, id);
    assert!(matches!(why, CloseReason::UpgradeFailed(_)), "{why}");
    server.stop_clean();
}

#[test]
fn an_idle_connection_is_kept_as_long_as_the_service_wishes() {
    let (server, strings, route) = service();
    let listener = listener();
    let (id, mut upstream) = dial(&strings, route, &listener);
    strings.run(move |cx| cx.keep_idle(id, Duration::from_millis(200)));
    upstream.expect_end();
    assert_eq!(strings.closed(), (id, CloseReason::IdleTimeout));
    server.stop_clean();
}

#[test]
fn idle_connections_end_with_a_shutdown() {
    let (server, strings, route) = service();
    let listener = listener();
    let (id, mut upstream) = dial(&strings, route, &listener);
    server.shutdown();
    upstream.expect_end();
    assert_eq!(strings.closed(), (id, CloseReason::Shutdown));
    eventually(|| TcpListener::bind(server.address).is_ok(), "the port is free");
    server.stop_clean();
}
