//! Request heads as an upstream sees them.

use super::front::Front;
use super::scripted::Scripted;
use crate::support::{Client, KEY, upgrade};

/// The head that an upstream gets for this upgrade, through a route with these lines.
fn forwarded(route: &str, request: &str) -> String {
    forwarded_with(route, request, &[])
}

/// The same with flags of the server.
fn forwarded_with(route: &str, request: &str, flags: &[&str]) -> String {
    let upstream = Scripted::accepting("");
    let front = Front::with(&[upstream.url()], "", route, flags);
    let head = Client::tcp(front.address).request(request);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    upstream.head().replace(&upstream.address.to_string(), "UPSTREAM")
}

/// The lines of a head, sorted, with names in lower case and without those of the handshake.
fn lines(head: &str) -> Vec<String> {
    let lines = head.lines().filter(|line| !line.is_empty());
    let lines = lines.map(|line| match line.split_once(':') {
        Some((name, value)) => name.to_ascii_lowercase() + ":" + value,
        None => line.to_owned(),
    });
    let mut lines: Vec<String> = lines.filter(|line| !line.starts_with("sec-websocket-")).collect();
    lines.sort();
    lines
}

#[test]
fn the_handshake_is_forwarded_as_the_client_sent_it() {
    let offers = "Sec-WebSocket-Protocol: a,b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
    let head = forwarded("", &upgrade("/a/b?c=d", offers));
    assert!(head.starts_with("GET /a/b?c=d HTTP/1.1\r\n"), "{head}");
    for line in [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        &format!("Sec-WebSocket-Key: {KEY}"),
        "Sec-WebSocket-Protocol: a,b",
        "Sec-WebSocket-Extensions: permessage-deflate",
    ] {
        assert_eq!(head.lines().filter(|other| *other == line).count(), 1, "{line} in {head}");
    }
}

#[test]
fn headers_of_an_untrusted_client_about_addresses_are_replaced() {
    let spoofed = "X-Forwarded-For: 192.0.2.1\r\nx-forwarded-for: 192.0.2.2\r\n\
                   X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\n\
                   X-Real-IP: 192.0.2.3\r\nForwarded: for=192.0.2.4\r\nX_Forwarded_For: 192.0.2.5\r\n\
                   CF-Connecting-IP: 192.0.2.6\r\nTrue-Client-IP: 192.0.2.7\r\n\
                   X-Weir-User: root\r\nX-Kept: yes\r\n";
    let ours = ["GET / HTTP/1.1", "connection: Upgrade", "host: localhost", "upgrade: websocket"];
    let x = [
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: localhost",
        "x-forwarded-proto: http",
        "x-real-ip: 127.0.0.1",
    ];
    let rfc = ["forwarded: for=127.0.0.1;host=\"localhost\";proto=http"];
    for (mode, added) in [("x", &x[..]), ("rfc7239", &rfc), ("off", &[])] {
        let head = forwarded(&format!("forwarded = '{mode}'"), &upgrade("/", spoofed));
        let mut expected = [&ours[..], added, &["x-kept: yes"]].concat();
        expected.sort_unstable();
        assert_eq!(lines(&head), expected, "{mode}");
    }
}

#[test]
fn headers_of_a_trusted_proxy_about_addresses_are_extended() {
    let hops = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n\
                X-Forwarded-Proto: https\r\nX-Forwarded-Host: front.example\r\n\
                Forwarded: for=192.0.2.1\r\n";
    let trusting = ["--trusted-proxies", "127.0.0.1"];
    let head = forwarded_with("", &upgrade("/", hops), &trusting);
    let expected = [
        "GET / HTTP/1.1",
        "connection: Upgrade",
        "host: localhost",
        "upgrade: websocket",
        "x-forwarded-for: 192.0.2.1, 192.0.2.2, 127.0.0.1",
        "x-forwarded-host: front.example",
        "x-forwarded-proto: https",
        "x-real-ip: 192.0.2.2",
    ];
    assert_eq!(lines(&head), expected);
    let head = forwarded_with("forwarded = 'rfc7239'", &upgrade("/", hops), &trusting);
    let expected = [
        "GET / HTTP/1.1",
        "connection: Upgrade",
        "forwarded: for=192.0.2.1, for=127.0.0.1;host=\"localhost\";proto=https",
        "host: localhost",
        "upgrade: websocket",
    ];
    assert_eq!(lines(&head), expected);
}

#[test]
fn headers_of_one_connection_are_removed() {
    let hop = "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
               Proxy-Authorization: Basic eDp5\r\nTE: trailers\r\nTrailer: X-A\r\n\
               X-Nominated: a\r\nX-Kept: b\r\n";
    let request = upgrade("/", hop)
        .replace("Connection: Upgrade\r\n", "Connection: Upgrade, X-Nominated, X-Real-IP\r\n");
    let head = forwarded("", &request);
    let expected = [
        "GET / HTTP/1.1",
        "connection: Upgrade",
        "host: localhost",
        "upgrade: websocket",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: localhost",
        "x-forwarded-proto: http",
        "x-kept: b",
        "x-real-ip: 127.0.0.1",
    ];
    assert_eq!(lines(&head), expected);
}

#[test]
fn the_host_follows_the_route() {
    for (route, host) in [
        ("", "localhost"),
        ("host = 'keep'", "localhost"),
        ("host = 'upstream'", "UPSTREAM"),
        ("host = 'node.example:81'", "node.example:81"),
    ] {
        let head = forwarded(route, &upgrade("/", ""));
        assert!(lines(&head).contains(&format!("host: {host}")), "{route}: {head}");
        assert!(lines(&head).contains(&"x-forwarded-host: localhost".to_owned()), "{head}");
    }
}

#[test]
fn routes_set_and_remove_headers() {
    let route = "set_headers = ['X-Tenant: seven', 'X-Real-IP: 192.0.2.1']\n\
                 remove_headers = ['Cookie', 'X-Forwarded-Host']";
    let head = forwarded(route, &upgrade("/", "Cookie: a=b\r\nX-Tenant: spoofed\r\n"));
    let found = lines(&head);
    for line in ["x-tenant: seven", "x-real-ip: 192.0.2.1"] {
        assert_eq!(found.iter().filter(|other| *other == line).count(), 1, "{line} in {head}");
    }
    for name in ["cookie:", "x-forwarded-host:", "x-tenant: spoofed", "x-real-ip: 127"] {
        assert!(!found.iter().any(|line| line.starts_with(name)), "{name} in {head}");
    }
}

#[test]
fn segments_are_stripped_from_the_path() {
    for (strip, path, expected) in [
        (1, "/api/v1/a?b", "/v1/a?b"),
        (2, "/api/v1/a", "/a"),
        (2, "/api/v1", "/"),
        (3, "/api", "/"),
        (1, "/api/", "/"),
        (0, "/api", "/api"),
    ] {
        let head = forwarded(&format!("strip_prefix = {strip}"), &upgrade(path, ""));
        assert!(
            head.starts_with(&format!("GET {expected} HTTP/1.1\r\n")),
            "{strip} {path}: {head}"
        );
    }
}

#[test]
fn an_absolute_target_is_sent_in_origin_form() {
    let request = upgrade("http://localhost/a?b", "");
    assert!(forwarded("", &request).starts_with("GET /a?b HTTP/1.1\r\nHost: localhost\r\n"));
}

#[test]
fn ambiguous_requests_do_not_reach_an_upstream() {
    let upstream = Scripted::accepting("");
    let front = Front::new(&[upstream.url()], "", "");
    let nominating = |name: &str| {
        upgrade("/", "").replace("Connection: Upgrade", &format!("Connection: Upgrade, {name}"))
    };
    for request in [
        upgrade("/public/../admin", ""),
        upgrade("/public/./admin", ""),
        upgrade("/public/%2e%2E/admin", ""),
        upgrade("/public/..%2fadmin", ""),
        upgrade("/public/..%5Cadmin", ""),
        upgrade("/public/..\\admin", ""),
        upgrade("http://elsewhere/", ""),
        nominating("Host"),
        nominating("Content-Length"),
        nominating("Sec-WebSocket-Key"),
        nominating("sec-websocket-anything"),
        upgrade("/", "Content-Length: 5\r\n"),
        upgrade("/", "Transfer-Encoding: chunked\r\n"),
        upgrade("/", "X-A: a\r\n folded\r\n"),
        upgrade("/", "X A: a\r\n"),
    ] {
        let head = Client::tcp(front.address).request(&request);
        let status = head.split(' ').nth(1).unwrap();
        assert!(["400", "413"].contains(&status), "{request}\n{head}");
    }
    front.tunnel();
    assert!(upstream.head().starts_with("GET / HTTP/1.1\r\n"));
    upstream.expect_no_request();
}

#[test]
fn bytes_behind_a_refused_upgrade_are_not_a_second_request() {
    let upstream = Scripted::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    let front = Front::new(&[upstream.url()], "", "");
    let mut client = Client::tcp(front.address);
    client.raw((upgrade("/", "") + "GET /second HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
    assert!(client.head().starts_with("HTTP/1.1 403 "));
    client.expect_gone();
    upstream.head();
    upstream.expect_no_request();
}
