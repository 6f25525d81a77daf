//! Responses of upstreams: how their body ends, and how it reaches the client.

use weir::reactor::ExchangeOutcome;

use super::forwarding::{LAST_CHUNK, Proxy, chunked, get, ok};
use crate::support::header;

#[test]
fn a_response_with_a_length_is_forwarded() {
    let proxy = Proxy::new();
    let (mut client, mut upstream) = proxy.ask(&get("/a?b"));
    upstream.raw(ok("hello").as_bytes());
    let (head, body) = client.answer();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, b"hello");
    let end = proxy.end();
    assert_eq!(end.outcome, ExchangeOutcome::Complete);
    assert_eq!((end.request_bytes, end.response_bytes), (0, 5));
    assert!(end.is_upstream_idle);
    drop((client, upstream));
    proxy.server.stop_clean();
}

#[test]
fn a_response_split_at_every_byte_is_the_same() {
    let proxy = Proxy::new();
    let response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n01\r\nd\r\n0\r\nT: u\r\n\r\n";
    let head_len = response.find("3;x").unwrap();
    for at in 1..response.len() {
        let (mut client, mut upstream) = proxy.ask(&get("/"));
        upstream.raw(&response.as_bytes()[..at]);
        if at >= head_len {
            let head = client.head();
            assert_eq!(header(&head, "Transfer-Encoding"), Some("chunked"));
        }
        upstream.raw(&response.as_bytes()[at..]);
        if at < head_len {
            client.head();
        }
        let mut data = Vec::new();
        loop {
            let chunk = read_chunk(&mut client);
            if chunk.is_empty() {
                break;
            }
            data.extend_from_slice(&chunk);
        }
        assert_eq!(data, b"abcd", "split at {at}");
        assert_eq!(proxy.outcome(), ExchangeOutcome::Complete);
        // The next iteration uses a connection of its own.
        drop((client, upstream));
        proxy.upstream_end();
    }
}

/// The data of the next chunk, which must be well-formed and without extensions.
fn read_chunk(client: &mut crate::support::Client) -> Vec<u8> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend_from_slice(&client.bytes(1));
    }
    let digits = std::str::from_utf8(&line[..line.len() - 2]).unwrap();
    let data = client.bytes(usize::from_str_radix(digits, 16).unwrap());
    assert_eq!(client.bytes(2), b"\r\n");
    data
}

#[test]
fn a_response_until_the_end_of_the_stream_becomes_chunked() {
    let proxy = Proxy::new();
    let (mut client, mut upstream) = proxy.ask(&get("/"));
    upstream.raw(b"HTTP/1.1 200 OK\r\n\r\nhello");
    let head = client.head();
    assert_eq!(header(&head, "Transfer-Encoding"), Some("chunked"));
    let first = chunked(&["hello"]);
    assert_eq!(client.bytes(first.len()), first.as_bytes());
    drop(upstream);
    assert_eq!(client.bytes(LAST_CHUNK.len()), LAST_CHUNK.as_bytes());
    let end = proxy.end();
    assert_eq!(end.outcome, ExchangeOutcome::Complete);
    assert!(!end.is_upstream_idle);
    // The client's connection takes the next request.
    client.raw(get("/").as_bytes());
    let (mut upstream, _) = proxy.upstream();
    upstream.raw(ok("2").as_bytes());
    assert_eq!(client.answer().1, b"2");
}

#[test]
fn a_client_of_http_1_0_gets_the_body_until_the_end_of_the_stream() {
    let proxy = Proxy::new();
    let (mut client, mut upstream) = proxy.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let body = chunked(&["hello", " world"]) + LAST_CHUNK;
    upstream.raw(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}").as_bytes());
    let head = client.head();
    assert_eq!(header(&head, "Transfer-Encoding"), None);
    assert_eq!(header(&head, "Connection"), Some("close"));
    assert_eq!(client.bytes(11), b"hello world");
    client.expect_end();
    assert!(proxy.end().is_upstream_idle);
}

#[test]
fn responses_without_a_body_leave_both_connections_open() {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    let mut kept = None;
    for (request, response) in [
        ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
        (&get("/"), "HTTP/1.1 204 No Content\r\n\r\n"),
        (&get("/"), "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
        (&get("/"), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        client.raw(request.as_bytes());
        let mut upstream = match kept.take() {
            None => proxy.upstream().0,
            Some(upstream) => {
                let mut upstream: crate::pipe::upstream::Upstream = upstream;
                upstream.request();
                upstream
            }
        };
        upstream.raw(response.as_bytes());
        let head = client.head();
        let status_line = response.lines().next().unwrap();
        assert!(head.starts_with(status_line), "{head}");
        let end = proxy.end();
        assert_eq!((end.outcome, end.is_upstream_idle), (ExchangeOutcome::Complete, true));
        kept = Some(upstream);
    }
}

/// Server-sent events: each arrives before the next is sent.
#[test]
fn each_part_of_a_response_is_forwarded_as_it_arrives() {
    let proxy = Proxy::new();
    let (mut client, mut upstream) = proxy.ask(&get("/events"));
    upstream.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    client.head();
    for number in 0..100 {
        let event = format!("data: {number}\n\n");
        upstream.raw(event.as_bytes());
        let chunk = chunked(&[&event]);
        assert_eq!(client.bytes(chunk.len()), chunk.as_bytes());
    }
    drop(client);
    upstream.expect_end();
    assert!(matches!(proxy.outcome(), ExchangeOutcome::ClientLost(_)));
}

#[test]
fn interim_responses_are_forwarded_to_http_1_1_only() {
    let proxy = Proxy::new();
    let response = ["HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_owned(), ok("x")].concat();
    let (mut client, mut upstream) = proxy.ask(&get("/"));
    upstream.raw(response.as_bytes());
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n"), "{head}");
    assert_eq!(client.answer().1, b"x");
    drop(upstream);

    let (mut client, mut upstream) = proxy.ask("GET / HTTP/1.0\r\n\r\n");
    upstream.raw(response.as_bytes());
    assert!(client.head().starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(client.bytes(1), b"x");
}

#[test]
fn an_upstream_with_too_many_interim_responses_is_dropped() {
    let proxy = Proxy::new();
    let (mut client, mut upstream) = proxy.ask(&get("/"));
    upstream.raw("HTTP/1.1 102 Processing\r\n\r\n".repeat(17).as_bytes());
    for _ in 0..16 {
        assert!(client.head().starts_with("HTTP/1.1 102 "));
    }
    assert!(client.head().starts_with("HTTP/1.1 502 "));
    upstream.expect_end();
}
