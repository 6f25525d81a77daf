//! Requests with a body, on their way to the upstream.

use std::time::Duration;

use weir::protocol::handshake::Refusal;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{CloseReason, ExchangeOutcome};

use super::forwarding::{LAST_CHUNK, Proxy, chunked, get, ok};
use crate::pipe::upstream::Upstream;
use crate::support::header;

fn post(len: usize) -> String {
    format!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {len}\r\n\r\n")
}

const POST_CHUNKED: &str = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
const POST_EXPECT: &str =
    "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

/// Bodies of the route are limited.
fn limited(bytes_max: usize) -> Proxy {
    let route = RouteSettings::default().message_bytes_max(bytes_max).outbox_hard_bytes(2 << 30);
    Proxy::with(Settings::default(), route, |_| {})
}

#[test]
fn a_body_with_a_length_split_at_every_byte_is_the_same() {
    let proxy = Proxy::new();
    let request = post(11) + "hello world";
    let mut client = proxy.client();
    let mut upstream: Option<Upstream> = None;
    for at in 1..request.len() {
        client.raw(&request.as_bytes()[..at]);
        // Until the head is complete, nothing is forwarded.
        if at >= request.len() - 11 {
            upstream.get_or_insert_with(|| Upstream::accept(&proxy.listener));
        }
        client.raw(&request.as_bytes()[at..]);
        let upstream = upstream.get_or_insert_with(|| Upstream::accept(&proxy.listener));
        let head = upstream.request();
        assert!(head.starts_with("POST /a HTTP/1.1\r\n"), "{head}");
        assert_eq!(header(&head, "Content-Length"), Some("11"));
        assert_eq!(upstream.bytes(11), b"hello world", "split at {at}");
        upstream.raw(ok("ok").as_bytes());
        if client.answer().0.contains("Connection: close") {
            client = proxy.client();
        }
        let end = proxy.end();
        assert_eq!((end.outcome, end.request_bytes), (ExchangeOutcome::Complete, 11));
    }
}

#[test]
fn a_chunked_body_split_at_every_byte_is_encoded_again() {
    let proxy = Proxy::new();
    let request = [POST_CHUNKED, "3;ext\r\nabc\r\n0002\r\nde\r\n0\r\nTrailer: x\r\n\r\n"].concat();
    for at in POST_CHUNKED.len()..request.len() {
        let mut client = proxy.client();
        client.raw(&request.as_bytes()[..at]);
        let (mut upstream, head) = proxy.upstream();
        assert_eq!(header(&head, "Transfer-Encoding"), Some("chunked"));
        assert_eq!(header(&head, "Content-Length"), None);
        client.raw(&request.as_bytes()[at..]);
        let mut body = Vec::new();
        while !body.ends_with(LAST_CHUNK.as_bytes()) {
            body.extend_from_slice(&upstream.bytes(1));
        }
        let body = String::from_utf8(body).unwrap();
        let data: String = body.split("\r\n").skip(1).step_by(2).collect();
        assert_eq!(data, "abcde", "split at {at}: {body:?}");
        upstream.raw(ok("ok").as_bytes());
        client.answer();
        drop((client, upstream));
        proxy.upstream_end();
    }
}

#[test]
fn a_100_is_forwarded_before_the_body() {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.raw(POST_EXPECT.as_bytes());
    let (mut upstream, head) = proxy.upstream();
    assert_eq!(header(&head, "Expect"), Some("100-continue"));
    upstream.raw(b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.raw(b"hello");
    assert_eq!(upstream.bytes(5), b"hello");
    upstream.raw(ok("ok").as_bytes());
    assert_eq!(client.answer().1, b"ok");
    assert!(proxy.end().is_upstream_idle);
}

#[test]
fn a_client_that_does_not_wait_for_the_100_sends_its_body() {
    let proxy = Proxy::new();
    let (mut client, mut upstream) = proxy.ask(&[POST_EXPECT, "hello"].concat());
    assert_eq!(upstream.bytes(5), b"hello");
    upstream.raw(ok("ok").as_bytes());
    assert_eq!(client.answer().1, b"ok");
    assert!(proxy.end().is_upstream_idle);
}

/// The client will not send its body: neither connection can be used again.
#[test]
fn a_response_instead_of_the_100_closes_both_connections() {
    let proxy = Proxy::new();
    let (mut client, mut upstream) = proxy.ask(POST_EXPECT);
    upstream.raw(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno");
    let (head, body) = client.answer();
    assert!(head.starts_with("HTTP/1.1 417 "), "{head}");
    assert_eq!((header(&head, "Connection"), &body[..]), (Some("close"), &b"no"[..]));
    client.raw(get("/smuggled").as_bytes());
    client.expect_end();
    upstream.expect_end();
    let end = proxy.end();
    assert_eq!((end.outcome, end.is_upstream_idle), (ExchangeOutcome::Complete, false));
}

#[test]
fn a_response_may_start_before_the_request_is_complete() {
    let proxy = Proxy::new();
    let (mut client, mut upstream) = proxy.ask(&(post(10) + "01234"));
    assert_eq!(upstream.bytes(5), b"01234");
    upstream.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234");
    client.head();
    assert_eq!(client.bytes(5), b"01234");
    client.raw(b"56789");
    assert_eq!(upstream.bytes(5), b"56789");
    upstream.raw(b"56789");
    assert_eq!(client.bytes(5), b"56789");
    let end = proxy.end();
    assert_eq!((end.outcome, end.is_upstream_idle), (ExchangeOutcome::Complete, true));
    client.raw(get("/next").as_bytes());
    assert!(upstream.request().starts_with("GET /next "));
}

/// The rest of the body is not taken for a request, of either connection.
#[test]
fn a_response_that_ends_before_the_request_closes_both_connections() {
    let proxy = Proxy::new();
    let (mut client, mut upstream) = proxy.ask(&(post(100) + "01234"));
    assert_eq!(upstream.bytes(5), b"01234");
    upstream.raw(ok("enough").as_bytes());
    assert_eq!(client.answer().1, b"enough");
    client.raw(get("/smuggled").as_bytes());
    client.expect_end();
    upstream.expect_end();
    let end = proxy.end();
    assert_eq!((end.outcome, end.is_upstream_idle), (ExchangeOutcome::Complete, false));
    assert_eq!(proxy.next(), super::forwarding::Event::UpstreamClosed(CloseReason::HttpDone));
}

/// It responds and resets the connection, with the body unread.
#[test]
fn the_response_of_an_upstream_that_reads_no_more_is_forwarded() {
    let proxy = limited(1 << 30);
    let (mut client, upstream) = proxy.ask(&post(1 << 30));
    let mut writer = client.writer();
    let body = std::thread::spawn(move || {
        // Ends with an error, when the connection is closed.
        let piece = vec![0; 1 << 20];
        while std::io::Write::write_all(&mut writer, &piece).is_ok() {}
    });
    let mut upstream = upstream;
    upstream.bytes(1 << 20);
    upstream.raw(
        b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig",
    );
    drop(upstream);
    let (head, body_of) = client.answer();
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    assert_eq!(body_of, b"big");
    drop(client);
    body.join().unwrap();
    assert_eq!(proxy.outcome(), ExchangeOutcome::Complete);
}

#[test]
fn an_announced_length_above_the_limit_is_refused_at_once() {
    let proxy = limited(1000);
    let mut client = proxy.client();
    client.raw(post(1001).as_bytes());
    assert!(client.head().starts_with("HTTP/1.1 413 "));
    // The service was not asked.
    client.raw(b"");
    drop(client);
    let (_client, mut upstream) = proxy.ask(&(post(1000) + &"a".repeat(1000)));
    assert_eq!(upstream.bytes(1000), [b'a'; 1000]);
}

#[test]
fn a_chunked_body_above_the_limit_is_refused() {
    let proxy = limited(1000);
    let piece = "a".repeat(1000);
    let (mut client, mut upstream) = proxy.ask(&[POST_CHUNKED, &chunked(&[&piece])].concat());
    let forwarded = chunked(&[&piece]);
    assert_eq!(upstream.bytes(forwarded.len()), forwarded.as_bytes());
    client.raw(b"1\r\n");
    assert!(client.head().starts_with("HTTP/1.1 413 "));
    // The upstream sees that the body is incomplete.
    upstream.expect_end();
    assert_eq!(proxy.upstream_end(), CloseReason::Aborted);
}

#[test]
fn malformed_chunks_are_refused() {
    let proxy = Proxy::new();
    for wrong in ["g\r\n", "1\na", "1\r\nab", "1\r\na\n", "0\r\n\n", "-1\r\n", "1;\0\r\n"] {
        let (mut client, mut upstream) = proxy.ask(POST_CHUNKED);
        client.raw(wrong.as_bytes());
        client.raw(get("/smuggled").as_bytes());
        assert!(client.head().starts_with("HTTP/1.1 400 "), "{wrong:?}");
        drop(client);
        let mut rest = Vec::new();
        std::io::Read::read_to_end(&mut upstream.stream, &mut rest).unwrap();
        assert!(!rest.ends_with(LAST_CHUNK.as_bytes()), "{wrong:?}: {rest:?}");
    }
}

#[test]
fn a_silent_body_is_refused() {
    let proxy = Proxy::with(Settings::default(), RouteSettings::default(), |forwarding| {
        forwarding.body_timeout = Duration::from_millis(300);
    });
    let (mut client, mut upstream) = proxy.ask(&(post(10) + "01234"));
    assert_eq!(upstream.bytes(5), b"01234");
    let (head, body) = client.answer();
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    assert_eq!(body, Refusal::BodyTimeout.reason().as_bytes());
    upstream.expect_end();
    drop(client);
    assert_eq!(proxy.client_end(), CloseReason::Refused(Refusal::BodyTimeout));
}

/// A client that waits for a 100 is not silent. The upstream's time limit counts.
#[test]
fn a_body_that_waits_for_the_100_is_not_silent() {
    let proxy = Proxy::with(Settings::default(), RouteSettings::default(), |forwarding| {
        forwarding.body_timeout = Duration::from_millis(200);
        forwarding.answer_timeout = Duration::from_millis(700);
    });
    let (mut client, _upstream) = proxy.ask(POST_EXPECT);
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
}

#[test]
fn the_time_limit_for_the_response_counts_from_the_end_of_the_request() {
    let proxy = Proxy::with(Settings::default(), RouteSettings::default(), |forwarding| {
        forwarding.answer_timeout = Duration::from_millis(400);
    });
    let (mut client, mut upstream) = proxy.ask(&post(8));
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(100));
        client.raw(b"x");
        upstream.bytes(1);
    }
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
    assert_eq!(proxy.upstream_end(), CloseReason::HandshakeTimeout);
    // The body was read to its end: the connection is still in use.
    client.raw(get("/next").as_bytes());
    let (_, head) = proxy.upstream();
    assert!(head.starts_with("GET /next "));
}
