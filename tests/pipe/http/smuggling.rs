//! Request smuggling: whatever a client sends, the upstream sees at most the request that the proxy
//! has seen, and no second one.

use std::io::Read;
use std::net::TcpListener;
use std::thread;

use weir::reactor::CloseReason;

use super::forwarding::{Event, Proxy, get};
use crate::pipe::upstream::Upstream;
use crate::support::{Client, upgrade};

/// Sends these bytes, and reads until the connection ends.
fn response_to(proxy: &Proxy, bytes: &[u8]) -> String {
    let mut client = proxy.client();
    client.raw(bytes);
    let mut received = Vec::new();
    // A reset also ends the connection.
    let _ = client.stream.read_to_end(&mut received);
    String::from_utf8(received).unwrap()
}

fn status(response: &str) -> &str {
    response.split(' ').nth(1).unwrap_or_default()
}

/// No upstream sees a byte of these.
#[test]
fn ambiguous_requests_are_refused_before_the_upstream() {
    let proxy = Proxy::new();
    let smuggled = get("/smuggled");
    for (name, head, expected) in [
        (
            "CL.TE",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked",
            "400",
        ),
        (
            "TE.CL",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4",
            "400",
        ),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 4",
            "400",
        ),
        (
            "equal lengths",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4",
            "400",
        ),
        ("list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4", "400"),
        ("signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4", "400"),
        ("hexadecimal length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x4", "400"),
        (
            "TE.TE",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "501",
        ),
        ("two codings", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked", "501"),
        ("disguised coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked", "501"),
        (
            "space before the colon",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked",
            "400",
        ),
        ("obs-fold", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked", "400"),
        ("obs-fold of another field", "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n z", "400"),
        ("bare LF", "POST / HTTP/1.1\r\nHost: a\nContent-Length: 4", "400"),
        ("bare CR", "POST / HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 4", "400"),
        ("NUL", "POST / HTTP/1.1\r\nHost: a\r\nX: \0", "400"),
        ("coding in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked", "400"),
        ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b", "400"),
        (
            "nominated length",
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\nContent-Length: 4",
            "400",
        ),
        ("nominated host", "GET / HTTP/1.1\r\nHost: a\r\nConnection: host", "400"),
        ("dot segment", "GET /public/..%2fadmin HTTP/1.1\r\nHost: a", "400"),
        ("CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a:1", "4"),
    ] {
        let response = response_to(&proxy, format!("{head}\r\n\r\n{smuggled}").as_bytes());
        assert!(status(&response).starts_with(expected), "{name}: {response}");
        assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{name}: one response: {response}");
    }
    proxy.listener.set_nonblocking(true).unwrap();
    assert!(proxy.listener.accept().is_err(), "no upstream is connected");
}

/// Records everything that an upstream gets on its connections, and answers each request by 204.
struct Recording {
    thread: thread::JoinHandle<Vec<String>>,
}

impl Recording {
    /// Records `connections` connections until they end.
    fn start(listener: &TcpListener, connections: usize) -> Recording {
        let listener = listener.try_clone().unwrap();
        let thread = thread::spawn(move || {
            let record = |_| {
                let mut upstream = Upstream::accept(&listener);
                let head = upstream.request();
                upstream.raw(b"HTTP/1.1 204 No Content\r\n\r\n");
                let mut rest = Vec::new();
                let _ = upstream.stream.read_to_end(&mut rest);
                head + &String::from_utf8(rest).unwrap()
            };
            (0..connections).map(record).collect()
        });
        Recording { thread }
    }
}

/// The upstream responds before it has the whole body, which the client then continues as if it were a
/// request.
#[test]
fn the_rest_of_a_body_is_not_a_request() {
    let proxy = Proxy::new();
    let recording = Recording::start(&proxy.listener, 1);
    let smuggled = get("/smuggled");
    let response = response_to(
        &proxy,
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{smuggled}").as_bytes(),
    );
    assert_eq!(status(&response), "204");
    assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{response}");
    assert_eq!(proxy.next(), Event::Asked("POST /".into()));
    let recorded = recording.thread.join().unwrap();
    // It is the start of the body for the upstream, too, which knows the length.
    assert!(recorded[0].contains("Content-Length: 1000\r\n"), "{recorded:?}");
    let ended = |event| !matches!(event, Event::Asked(_));
    assert!(proxy.events.try_iter().all(ended), "no other request");
}

/// Chunks that other parsers could read differently: the upstream gets neither their end nor what
/// follows.
#[test]
fn ambiguous_chunks_do_not_reach_the_upstream() {
    let proxy = Proxy::new();
    let smuggled = get("/smuggled");
    for chunks in [
        "0\n\n",
        "0\r\n\n",
        "0 x\r\n\r\n",
        "0x0\r\n\r\n",
        "00000000000000000\r\n\r\n",
        "1;a\nb\r\nx\r\n0\r\n\r\n",
        "1\r\nxy\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\n",
        "0\r\nTransfer-Encoding\r\n\r\n",
        "0\r\n X: y\r\n\r\n",
    ] {
        let mut client = proxy.client();
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.raw(format!("{head}{chunks}{smuggled}").as_bytes());
        let (mut upstream, _) = proxy.upstream();
        let mut rest = Vec::new();
        let _ = upstream.stream.read_to_end(&mut rest);
        let rest = String::from_utf8(rest).unwrap();
        assert!(!rest.contains("GET") && !rest.ends_with("0\r\n\r\n"), "{chunks:?}: {rest:?}");
        assert!(client.head().starts_with("HTTP/1.1 400 "), "{chunks:?}");
        assert_eq!(proxy.upstream_end(), CloseReason::Aborted);
    }
}

/// A pipelined request behind a last chunk is one of its own, and gets a response of its own.
#[test]
fn a_request_behind_a_body_is_forwarded_for_itself() {
    let proxy = Proxy::new();
    let first = "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let (mut client, mut upstream) = proxy.ask(&[first, &get("/2")].concat());
    assert_eq!(upstream.bytes(5), b"0\r\n\r\n");
    upstream.raw(b"HTTP/1.1 204 No Content\r\n\r\n");
    assert!(upstream.request().starts_with("GET /2 "));
    upstream.raw(b"HTTP/1.1 204 No Content\r\n\r\n");
    client.head();
    client.head();
}

/// CVE-2026-2833: what follows an upgrade must not reach the upstream before its 101.
#[test]
fn bytes_behind_a_refused_upgrade_reach_nobody() {
    let proxy = Proxy::new();
    let recording = Recording::start(&proxy.listener, 1);
    let smuggled = get("/smuggled");
    let response = response_to(&proxy, (upgrade("/", "") + &smuggled).as_bytes());
    assert_eq!(status(&response), "204");
    assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{response}");
    drop(proxy.server);
    let recorded = recording.thread.join().unwrap();
    assert!(!recorded[0].contains("smuggled"), "{recorded:?}");
}

/// h2c and other protocols: the request is forwarded without its Upgrade, and a 101 is not.
#[test]
fn other_upgrades_are_plain_requests() {
    let proxy = Proxy::new();
    let h2c = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
               HTTP2-Settings: x\r\n\r\n";
    let mut client: Client = proxy.client();
    client.raw(h2c.as_bytes());
    let (mut upstream, head) = proxy.upstream();
    for name in ["Upgrade", "HTTP2-Settings"] {
        assert!(!head.contains(name), "{head}");
    }
    upstream
        .raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 502 "));
    upstream.expect_end();
}
