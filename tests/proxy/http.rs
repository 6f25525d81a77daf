//! HTTP requests without upgrade, and their responses.

use std::net::Shutdown;

use super::front::{Front, echo, refusing};
use super::scripted::Scripted;
use crate::support::{Client, DEADLINE, header};

/// A request with these further header lines and this body.
fn request(method: &str, path: &str, lines: &str, body: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n{body}")
}

fn get(path: &str) -> String {
    request("GET", path, "", "")
}

/// A request with a body of known length.
fn post(body: &str) -> String {
    request("POST", "/", &format!("Content-Length: {}\r\n", body.len()), body)
}

/// An upstream that returns each request's body, whose length its request announces.
fn mirror() -> Scripted {
    Scripted::persistent(|client, head| {
        let len: usize = header(head, "Content-Length").map_or(0, |len| len.parse().unwrap());
        let body = client.bytes(len);
        client.raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n").as_bytes());
        client.raw(&body);
    })
}

#[test]
fn requests_and_responses_pass() {
    let mirror = mirror();
    let front = Front::new(&[mirror.url()], "", "");
    let mut client = Client::tcp(front.address);
    client.raw(get("/a?b=c").as_bytes());
    let (head, body) = client.answer();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && body.is_empty(), "{head}");
    assert!(mirror.head().starts_with("GET /a?b=c HTTP/1.1\r\nHost: localhost\r\n"));
    for len in [1, 1000, 100_000] {
        client.raw(post(&"b".repeat(len)).as_bytes());
        assert_eq!(client.answer().1, "b".repeat(len).as_bytes());
        assert_eq!(header(&mirror.head(), "Content-Length"), Some(len.to_string().as_str()));
    }
    let metric = |name, label| front.admin.metric(name, &[label]);
    front.admin.await_metric("weir_upstream_connections", &["use=\"exchange\""], 0.0);
    assert_eq!(metric("weir_proxied_total", "class=\"2xx\""), 4.0);
    assert_eq!(metric("weir_upstream_tries_total", "outcome=\"answered\""), 4.0);
    assert_eq!(metric("weir_upstream_bytes_total", "direction=\"sent\""), 101_001.0);
    assert_eq!(metric("weir_upstream_bytes_total", "direction=\"received\""), 101_001.0);
}

#[test]
fn weir_behind_weir_serves_its_page_and_its_echo() {
    let (_echo, upstream) = echo(&[]);
    let front = Front::new(&[upstream], "", "");
    let mut client = Client::tcp(front.address);
    client.raw(get("/").as_bytes());
    let (head, body) = client.answer();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(String::from_utf8(body).unwrap().contains("<html"));
    front.tunnel().text("hello");
}

#[test]
fn a_chunked_response_is_streamed_as_it_arrives() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Arc::new(std::sync::Mutex::new(released));
    let upstream = Scripted::new(move |client, _| {
        client.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n");
        client.raw(b"Transfer-Encoding: chunked\r\n\r\n5\r\none\n\n\r\n");
        released.lock().unwrap().recv_timeout(DEADLINE).unwrap();
        client.raw(b"5\r\ntwo\n\n\r\n0\r\n\r\n");
    });
    let front = Front::new(&[upstream.url()], "", "");
    let mut client = Client::tcp(front.address);
    let head = client.request(&get("/events"));
    assert_eq!(header(&head, "Transfer-Encoding"), Some("chunked"));
    assert_eq!(client.bytes(10), b"5\r\none\n\n\r\n");
    release.send(()).unwrap();
    assert_eq!(client.bytes(15), b"5\r\ntwo\n\n\r\n0\r\n\r\n");
}

#[test]
fn responses_without_a_length_are_chunked_for_the_client() {
    let upstream = Scripted::answering("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    let front = Front::new(&[upstream.url()], "", "");
    let mut client = Client::tcp(front.address);
    let head = client.request(&get("/"));
    assert_eq!(header(&head, "Transfer-Encoding"), Some("chunked"));
    assert_eq!(client.bytes(23), b"d\r\nuntil the end\r\n0\r\n\r\n");
    let old = "GET / HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n";
    let mut client = Client::tcp(front.address);
    let head = client.request(old);
    assert_eq!(header(&head, "Connection"), Some("close"));
    assert_eq!(header(&head, "Transfer-Encoding"), None);
    assert_eq!(client.bytes(13), b"until the end");
    client.expect_end();
}

#[test]
fn responses_without_a_body_have_none() {
    let upstream = Scripted::persistent(|client, head| {
        let status = head.split(' ').nth(1).unwrap().trim_start_matches('/');
        client.raw(format!("HTTP/1.1 {status} Any\r\nContent-Length: 7\r\n\r\n").as_bytes());
    });
    let front = Front::new(&[upstream.url()], "", "");
    let mut client = Client::tcp(front.address);
    for (method, status) in [("HEAD", 200), ("GET", 304), ("GET", 204)] {
        let head = client.request(&request(method, &format!("/{status}"), "", ""));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
}

#[test]
fn interim_responses_pass() {
    let upstream = Scripted::new(|client, head| {
        assert_eq!(header(head, "Expect"), Some("100-continue"));
        client.raw(b"HTTP/1.1 100 Continue\r\n\r\n");
        let body = client.bytes(5);
        client.raw(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
        client.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        client.raw(&body);
    });
    let front = Front::new(&[upstream.url()], "", "");
    let mut client = Client::tcp(front.address);
    let lines = "Content-Length: 5\r\nExpect: 100-continue\r\n";
    let head = client.request(&request("POST", "/", lines, ""));
    assert_eq!(head, "HTTP/1.1 100 Continue\r\n\r\n");
    client.raw(b"hello");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 103 ") && head.contains("Link: </a.css>\r\n"), "{head}");
    assert_eq!(client.answer().1, b"hello");
}

#[test]
fn headers_of_a_plain_request_follow_the_rules() {
    let upstream = mirror();
    let front = Front::new(&[upstream.url()], "", "strip_prefix = 1");
    let mut client = Client::tcp(front.address);
    let lines = "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings, X-Gone\r\n\
                 HTTP2-Settings: AAMAAABkAAQAAP__\r\nX-Gone: a\r\nX-Forwarded-For: 192.0.2.1\r\n\
                 X-Weir-User: root\r\nX-Kept: b\r\n";
    client.raw(request("GET", "/api/a?b", lines, "").as_bytes());
    assert!(client.answer().0.starts_with("HTTP/1.1 200 "));
    let expected = "GET /a?b HTTP/1.1\r\nHost: localhost\r\nX-Kept: b\r\n\
                    X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n\
                    X-Forwarded-Host: localhost\r\nX-Real-IP: 127.0.0.1\r\n\r\n";
    assert_eq!(upstream.head(), expected);
}

#[test]
fn origins_apply_to_upgrades_only() {
    let upstream = mirror();
    let front = Front::new(&[upstream.url()], "", "origins = ['https://example.org']");
    let lines = "Origin: https://elsewhere.example\r\n";
    let mut client = Client::tcp(front.address);
    client.raw(request("GET", "/", lines, "").as_bytes());
    assert!(client.answer().0.starts_with("HTTP/1.1 200 "));
    let head = Client::tcp(front.address).request(&crate::support::upgrade("/", lines));
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
}

#[test]
fn a_route_for_websockets_only_is_426() {
    let upstream = mirror();
    let front = Front::new(&[upstream.url()], "", "websocket_only = true");
    let head = Client::tcp(front.address).request(&get("/"));
    assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
    upstream.expect_no_request();
}

#[test]
fn requests_that_must_not_pass_are_400() {
    let upstream = mirror();
    let front = Front::new(&[upstream.url()], "", "");
    for wrong in [
        get("/public/../admin"),
        get("/public/%2e%2e/admin"),
        get("http://elsewhere/"),
        request("GET", "/", "Connection: Host\r\n", ""),
        request("POST", "/", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "x"),
        request("POST", "/", "Content-Length: 1\r\nContent-Length: 2\r\n", "x"),
        request("POST", "/", "Transfer-Encoding: chunked\r\n", "1\nx\n0\n\n"),
        "CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n\r\n".to_owned(),
    ] {
        let head = Client::tcp(front.address).request(&wrong);
        assert!(head.starts_with("HTTP/1.1 400 "), "{wrong}\n{head}");
    }
    let head = Client::tcp(front.address).request(&request(
        "POST",
        "/",
        "Content-Length: 99999999999\r\n",
        "",
    ));
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
}

#[test]
fn a_101_to_a_plain_request_is_502() {
    let upstream = Scripted::accepting("");
    let front = Front::new(&[upstream.url()], "", "");
    let head = Client::tcp(front.address).request(&get("/"));
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
}

#[test]
fn a_failed_connection_is_tried_elsewhere_for_any_method() {
    let mirror = mirror();
    let front = Front::new(&[refusing(), mirror.url()], "", "");
    let mut client = Client::tcp(front.address);
    client.raw(post("once").as_bytes());
    assert_eq!(client.answer().1, b"once");
    let front = Front::new(&[refusing()], "", "");
    assert!(Client::tcp(front.address).request(&get("/")).starts_with("HTTP/1.1 502 "));
}

#[test]
fn a_reset_is_tried_elsewhere_for_safe_methods_only() {
    for (method, is_retried) in
        [("GET", true), ("HEAD", true), ("OPTIONS", true), ("DELETE", false)]
    {
        let closing = Scripted::answering("");
        let mirror = mirror();
        let front = Front::new(&[closing.url(), mirror.url()], "", "");
        let head = Client::tcp(front.address).request(&request(method, "/", "", ""));
        let status = if is_retried { "200" } else { "502" };
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{method}: {head}");
        closing.head();
        assert_eq!(mirror.has_request(), is_retried, "{method}");
    }
    let closing = Scripted::new(|client, _| drop(client.bytes(4)));
    let mirror = mirror();
    let front = Front::new(&[closing.url(), mirror.url()], "", "");
    let head = Client::tcp(front.address).request(&post("once"));
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    mirror.expect_no_request();
}

#[test]
fn a_request_whose_client_leaves_is_not_tried_elsewhere() {
    let (sender, gone) = std::sync::mpsc::channel();
    let silent = Scripted::new(move |client, _| {
        client.expect_gone();
        let _ = sender.send(());
    });
    let mirror = mirror();
    let front = Front::new(&[silent.url(), mirror.url()], "", "");
    let mut client = Client::tcp(front.address);
    client.raw(get("/").as_bytes());
    silent.head();
    client.finish();
    gone.recv_timeout(DEADLINE).expect("the upstream's connection ends");
    front.admin.await_metric("weir_upstream_tries_total", &["outcome=\"cancelled\""], 1.0);
    front.admin.await_metric("weir_upstream_connections", &["use=\"exchange\""], 0.0);
    assert_eq!(front.admin.metric("weir_upstream_tries_total", &[]), 1.0);
    mirror.expect_no_request();
}

#[test]
fn a_request_whose_body_is_malformed_is_not_tried_elsewhere() {
    let silent = Scripted::new(|client, _| client.expect_gone());
    let mirror = mirror();
    let front = Front::new(&[silent.url(), mirror.url()], "", "");
    let mut client = Client::tcp(front.address);
    client.raw(request("POST", "/", "Transfer-Encoding: chunked\r\n", "").as_bytes());
    silent.head();
    client.raw(b"1\r\nx\r\nno size\r\n");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    drop(client);
    front.admin.await_metric("weir_upstream_tries_total", &["outcome=\"cancelled\""], 1.0);
    mirror.expect_no_request();
    assert_eq!(
        front.admin.metric("weir_proxy_refused_total", &[]),
        0.0,
        "it is the client's fault"
    );
}

#[test]
fn unavailable_responses_to_plain_requests_are_forwarded() {
    let unavailable = Scripted::answering(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\nRetry-After: 77\r\n\r\nbusy",
    );
    let mirror = mirror();
    let front = Front::new(&[unavailable.url(), mirror.url()], "", "");
    let mut client = Client::tcp(front.address);
    client.raw(get("/").as_bytes());
    let (head, body) = client.answer();
    assert_eq!((header(&head, "Retry-After"), &body[..]), (Some("77"), &b"busy"[..]));
    mirror.expect_no_request();
    assert_eq!(front.admin.metric("weir_proxied_total", &["class=\"5xx\""]), 1.0);
    assert_eq!(front.admin.metric("weir_upstream_tries_total", &["outcome=\"status\""]), 1.0);
}

#[test]
fn a_cut_response_does_not_look_complete() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nno size\r\n",
    ] {
        let upstream = Scripted::answering(response);
        let front = Front::new(&[upstream.url()], "", "");
        let mut client = Client::tcp(front.address);
        let head = client.request(&get("/"));
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        client.expect_gone();
        front.admin.await_metric("weir_proxy_cut_total", &[], 1.0);
    }
}

#[test]
fn a_client_that_leaves_ends_its_response() {
    let (sender, gone) = std::sync::mpsc::channel();
    let upstream = Scripted::new(move |client, _| {
        client.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
        client.expect_gone();
        let _ = sender.send(());
    });
    let front = Front::new(&[upstream.url()], "", "");
    let mut client = Client::tcp(front.address);
    client.request(&get("/events"));
    assert_eq!(client.bytes(6), b"1\r\na\r\n");
    client.stream.shutdown(Shutdown::Both).unwrap();
    gone.recv_timeout(DEADLINE).expect("the upstream's connection ends");
    front.admin.await_metric("weir_upstream_connections", &["use=\"exchange\""], 0.0);
}

#[test]
fn large_bodies_pass_both_ways() {
    const LEN: usize = 16 * 1024 * 1024;
    let upstream = Scripted::new(|client, head| {
        let len: usize = header(head, "Content-Length").unwrap().parse().unwrap();
        let body = client.bytes(len);
        client.raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n").as_bytes());
        client.raw(&body);
    });
    let front = Front::new(&[upstream.url()], "", "message_max = '32 MiB'");
    let mut client = Client::tcp(front.address);
    let body: Vec<u8> = (0..LEN).map(|at| (at * 31 % 251) as u8).collect();
    client.raw(request("PUT", "/", &format!("Content-Length: {LEN}\r\n"), "").as_bytes());
    client.raw(&body);
    assert!(client.answer().1 == body, "the body came back differently");
}

#[test]
fn the_sticky_cookie_is_set_on_responses() {
    let upstream = mirror();
    let front = Front::new(&[upstream.url()], "sticky_cookie = 'node'", "");
    let mut client = Client::tcp(front.address);
    client.raw(get("/").as_bytes());
    let (head, _) = client.answer();
    let cookie = header(&head, "Set-Cookie").expect(&head);
    let pair = cookie.split(';').next().unwrap();
    client.raw(request("GET", "/", &format!("Cookie: {pair}\r\n"), "").as_bytes());
    assert_eq!(header(&client.answer().0, "Set-Cookie"), None);
}
