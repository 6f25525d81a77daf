//! Connections that are used again: of clients, for pipelined requests too, and of upstreams.

use weir::reactor::ExchangeOutcome;
use weir::reactor::settings::{RouteSettings, Settings};

use super::forwarding::{Event, Proxy, get, ok};
use crate::support::{header, upgrade};

#[test]
fn both_connections_carry_one_request_after_another() {
    let proxy = Proxy::new();
    let (mut client, mut upstream) = proxy.ask(&get("/0"));
    for number in 0..20 {
        upstream.raw(ok(&number.to_string()).as_bytes());
        assert_eq!(client.answer().1, number.to_string().as_bytes());
        assert!(proxy.end().is_upstream_idle);
        client.raw(get(&format!("/{}", number + 1)).as_bytes());
        let head = upstream.request();
        assert!(head.starts_with(&format!("GET /{} ", number + 1)), "{head}");
    }
}

#[test]
fn pipelined_requests_are_forwarded_one_after_another() {
    let proxy = Proxy::new();
    let body = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let (mut client, mut upstream) = proxy.ask(&[&get("/0"), body, &get("/2")].concat());
    upstream.raw(ok("0").as_bytes());
    let head = upstream.request();
    assert!(head.starts_with("POST /1 "), "{head}");
    assert_eq!(upstream.bytes(3), b"abc");
    upstream.raw(ok("1").as_bytes());
    assert!(upstream.request().starts_with("GET /2 "));
    upstream.raw(ok("2").as_bytes());
    for number in ["0", "1", "2"] {
        assert_eq!(client.answer().1, number.as_bytes());
    }
    assert!(proxy.end().is_upstream_idle);
}

#[test]
fn a_client_connection_closes_after_its_last_request() {
    let proxy = Proxy::new();
    let (mut client, mut upstream) = proxy.ask(&get("/"));
    for number in 1..=100 {
        upstream.raw(ok("x").as_bytes());
        let head = client.answer().0;
        let is_last = header(&head, "Connection") == Some("close");
        assert_eq!(is_last, number == 100, "{number}");
        if !is_last {
            client.raw(get("/").as_bytes());
            upstream.request();
        }
    }
    client.expect_end();
}

#[test]
fn a_client_that_wishes_so_is_closed_after_the_response() {
    let proxy = Proxy::new();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let (mut client, mut upstream) = proxy.ask(request);
    upstream.raw(ok("x").as_bytes());
    let (head, _) = client.answer();
    assert_eq!(header(&head, "Connection"), Some("close"));
    client.expect_end();
    assert!(proxy.end().is_upstream_idle);
}

#[test]
fn an_upstream_that_says_close_is_not_used_again() {
    let proxy = Proxy::new();
    let (mut client, mut upstream) = proxy.ask(&get("/"));
    upstream.raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(client.answer().1, b"x");
    assert!(!proxy.end().is_upstream_idle);
    upstream.expect_end();
    client.raw(get("/").as_bytes());
    let (mut upstream, _) = proxy.upstream();
    upstream.raw(ok("y").as_bytes());
    assert_eq!(client.answer().1, b"y");
}

/// A response that nobody asked for must not be taken for that of the next request.
#[test]
fn bytes_behind_a_response_end_the_connection() {
    let proxy = Proxy::new();
    for first in [ok("x"), "HTTP/1.1 204 No Content\r\n\r\n".to_owned()] {
        let (mut client, mut upstream) = proxy.ask(&get("/"));
        upstream.raw([first, ok("poison")].concat().as_bytes());
        client.head();
        assert!(!proxy.end().is_upstream_idle);
        upstream.expect_end();
        drop(client);
    }
}

#[test]
fn bytes_on_an_idle_connection_end_it() {
    let proxy = Proxy::new();
    let (mut client, mut upstream) = proxy.ask(&get("/"));
    upstream.raw(ok("x").as_bytes());
    client.answer();
    assert!(proxy.end().is_upstream_idle);
    upstream.raw(ok("poison").as_bytes());
    upstream.expect_end();
    client.raw(get("/").as_bytes());
    let (mut upstream, _) = proxy.upstream();
    upstream.raw(ok("y").as_bytes());
    assert_eq!(client.answer().1, b"y");
}

#[test]
fn a_response_of_the_service_leaves_the_connection_open() {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.raw(get("/own").as_bytes());
    assert!(client.answer().0.starts_with("HTTP/1.1 404 "));
    client.raw(get("/").as_bytes());
    let (mut upstream, _) = proxy.upstream();
    upstream.raw(ok("x").as_bytes());
    assert_eq!(client.answer().1, b"x");
}

/// The body was not read: its rest must not be taken for a request.
#[test]
fn a_response_of_the_service_to_a_body_closes_the_connection() {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    let inner = get("/smuggled");
    let head = format!("POST /own HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", inner.len());
    client.raw((head + &inner).as_bytes());
    let (head, _) = client.answer();
    assert_eq!(header(&head, "Connection"), Some("close"));
    client.expect_end();
    assert_eq!(proxy.next(), Event::Asked("POST /own".into()));
    drop(client);
    assert!(proxy.events.try_recv().is_err());
}

#[test]
fn another_response_to_an_upgrade_is_forwarded_and_closes() {
    let proxy = Proxy::new();
    let behind = get("/smuggled");
    let (mut client, mut upstream) = proxy.ask(&(upgrade("/", "") + &behind));
    upstream.raw(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    let (head, body) = client.answer();
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert_eq!((header(&head, "Connection"), &body[..]), (Some("close"), &b"no"[..]));
    client.expect_end();
    let end = proxy.end();
    assert_eq!((end.outcome, end.is_upstream_idle), (ExchangeOutcome::Complete, true));
    proxy.server.stop_clean();
}

#[test]
fn a_failed_request_is_sent_again_while_its_body_is_unread() {
    let proxy = Proxy::with(Settings::default(), RouteSettings::default(), |forwarding| {
        forwarding.retries = true;
    });
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    let (mut client, upstream) = proxy.ask(head);
    drop(upstream);
    let (mut upstream, second) = proxy.upstream();
    assert!(second.starts_with("POST / "), "{second}");
    client.raw(b"hello");
    assert_eq!(upstream.bytes(5), b"hello");
    // Now a part of it was read.
    drop(upstream);
    assert!(client.answer().0.starts_with("HTTP/1.1 502 "));
    client.raw(get("/").as_bytes());
    let (mut upstream, head) = proxy.upstream();
    assert!(head.starts_with("GET / "), "{head}");
    upstream.raw(ok("x").as_bytes());
    assert_eq!(client.answer().1, b"x");
}

/// The other upstream would get only the rest of the body.
#[test]
fn a_request_whose_body_was_read_cannot_be_sent_again() {
    let proxy = Proxy::with(Settings::default(), RouteSettings::default(), |forwarding| {
        forwarding.insists = true;
    });
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc";
    let (mut client, mut upstream) = proxy.ask(head);
    assert_eq!(upstream.bytes(3), b"abc");
    drop(upstream);
    let (head, _) = client.answer();
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert_eq!(header(&head, "Connection"), Some("close"));
    client.raw(b"def");
    client.expect_end();
}
