//! The opening handshake over sockets: valid requests, refusals and their reasons, and its deadline.

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use weir::protocol::Message;
use weir::protocol::handshake::{Accept, Refusal};
use weir::reactor::settings::{ListenSettings, RouteSettings, Settings};
use weir::reactor::{ConnId, Context, Decision, Page, Reactor, Service, UpgradeRequest};
use weir::services::{Echo, Rooms, rooms::RoomSettings};

use crate::deferring::deferring;
use crate::support::{Client, DEADLINE, Seen, Server, TEXT, frame, header, upgrade};

/// A valid request in which `from` is replaced by `to`.
fn altered(from: &str, to: &str) -> String {
    let request = upgrade("/", "");
    assert!(request.contains(from));
    request.replace(from, to)
}

/// Expects a refusal and the end of the stream after it.
pub fn expect_refusal(client: &mut Client, refusal: Refusal) -> String {
    let (head, body) = client.answer();
    let status = format!("HTTP/1.1 {} ", refusal.status());
    assert!(head.starts_with(&status), "{refusal:?}: {head}");
    assert_eq!(header(&head, "X-WebSocket-Error"), Some(refusal.reason()), "{head}");
    assert_eq!(String::from_utf8(body).unwrap(), refusal.reason());
    assert_eq!(header(&head, "Content-Type"), Some("text/plain; charset=utf-8"));
    assert!(header(&head, "Connection").unwrap().starts_with("close"), "{head}");
    client.expect_end();
    head
}

/// Invalid requests, and the refusal of each.
fn invalid_requests() -> Vec<(String, Refusal)> {
    let many: String = (0..64).map(|i| format!("X-{i}: a\r\n")).collect();
    let long = format!("X-Long: {}\r\n", "a".repeat(2048));
    let origin = "Origin: https://evil.example\r\n";
    let length = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    let trailers = format!("0\r\n{}", long.repeat(5));
    let post = |lines: &str| format!("POST /posts HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
    let get = |lines: &str| format!("GET / HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
    vec![
        ("\x16\x03\x01\x02".into(), Refusal::NotHttp),
        ("GET / HTTP/1.1\r\nHost: localhost\n".into(), Refusal::BareLf),
        (altered("GET / ", "GET  / "), Refusal::RequestLine),
        (altered("HTTP/1.1", "HTTP/2.0"), Refusal::HttpVersion),
        (upgrade("*", ""), Refusal::Target),
        (upgrade("/#part", ""), Refusal::Target),
        (upgrade("/", "X-A : b\r\n"), Refusal::Header),
        (upgrade("/", "X-A: b\r\n folded\r\n"), Refusal::Header),
        (upgrade("/", "X-A: b\u{0}\r\n"), Refusal::Header),
        (upgrade("/", "Host: other\r\n"), Refusal::DuplicateHeader),
        (upgrade("/", "Sec-WebSocket-Version: 13\r\n"), Refusal::DuplicateHeader),
        (upgrade("/", "Content-Length: 0\r\nContent-Length: 0\r\n"), Refusal::DuplicateHeader),
        (altered("Host: localhost\r\n", ""), Refusal::HostMalformed),
        (upgrade("/hosted", ""), Refusal::Host),
        (upgrade("/", length), Refusal::BodyLength),
        (upgrade("/", "Content-Length: +5\r\n"), Refusal::BodyLength),
        (altered("HTTP/1.1", "HTTP/1.0"), Refusal::UpgradeHttpVersion),
        (altered("Connection: Upgrade", "Connection: close"), Refusal::ConnectionToken),
        (altered("Upgrade: websocket", "Upgrade: h2c"), Refusal::UpgradeToken),
        (altered("Sec-WebSocket-Version: 13\r\n", ""), Refusal::VersionMissing),
        (altered("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""), Refusal::KeyMissing),
        (altered("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), Refusal::KeyMalformed),
        (upgrade("/", "Sec-WebSocket-Protocol: a b\r\n"), Refusal::ProtocolMalformed),
        (upgrade("/", "Sec-WebSocket-Extensions: a;\r\n"), Refusal::ExtensionsMalformed),
        (upgrade("/required", "Sec-WebSocket-Protocol: x\r\n"), Refusal::ProtocolUnsupported),
        (upgrade("/own", origin), Refusal::Origin),
        (upgrade("/elsewhere", ""), Refusal::NotFound),
        (altered("GET / ", "POST / "), Refusal::Method),
        (get("").replace("GET", "DELETE"), Refusal::Method),
        (upgrade("/", "Content-Length: 5\r\n"), Refusal::Body),
        (upgrade("/", "Transfer-Encoding: chunked\r\n"), Refusal::Body),
        (get("Content-Length: 5\r\n"), Refusal::Body),
        (post("Transfer-Encoding: chunked\r\n"), Refusal::ChunkedBody),
        (post("Transfer-Encoding: chunked\r\n") + "7e\r\n", Refusal::BodyTooLarge),
        (post("Transfer-Encoding: chunked\r\n") + &trailers, Refusal::TrailersTooLong),
        (post("Transfer-Encoding: gzip\r\n"), Refusal::TransferCoding),
        (post("Content-Length: 126\r\n"), Refusal::BodyTooLarge),
        (altered("Version: 13", "Version: 8"), Refusal::VersionUnsupported),
        (get(""), Refusal::UpgradeRequired),
        (upgrade("/", &long), Refusal::HeadTooLong),
        (upgrade("/", &many), Refusal::TooManyHeaders),
        (upgrade("/panics", ""), Refusal::Internal),
    ]
}

/// Whether a request alone can cause this refusal; the others have tests of their own.
fn is_caused_by_request(refusal: Refusal) -> bool {
    match refusal {
        Refusal::KeyReused | Refusal::TlsExpected => false,
        Refusal::AddressFull | Refusal::RateLimited | Refusal::Requests => false,
        // `OutOfResources` needs EMFILE.
        Refusal::Full | Refusal::RouteFull | Refusal::OperatorsFull => false,
        Refusal::Pressure | Refusal::Reserved => false,
        Refusal::ShuttingDown | Refusal::OutOfResources => false,
        // Only calls by POST: `rpc/calls.rs`.
        Refusal::MessagesPerAddress | Refusal::MessagesPerSubject => false,
        // Only the header of a trusted proxy is read.
        Refusal::Forwarded => false,
        // Only the reverse proxy needs these.
        Refusal::DotSegment | Refusal::AmbiguousPath | Refusal::Nominated => false,
        // A gate decides: `gate/verdicts.rs`, `gate/identities.rs`.
        Refusal::TokenTwice
        | Refusal::Unauthorized
        | Refusal::Forbidden
        | Refusal::SubjectFull
        | Refusal::GateFailures
        | Refusal::GateNotFound
        | Refusal::GateLimited
        | Refusal::GateTimeout
        | Refusal::GateFailed => false,
        // The request was forwarded: `pipe/dialling.rs`, `pipe/http/requests.rs`.
        Refusal::UpstreamTimeout | Refusal::BodyTimeout => false,
        _ => true,
    }
}

/// A service that panics on request.
struct Panics;

impl Service for Panics {
    fn on_request(&mut self, _: &mut Context<'_>, _: ConnId, _: &UpgradeRequest<'_>) -> Decision {
        panic!("on purpose");
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

/// A service that answers POST.
struct Posts;

impl Service for Posts {
    fn methods(&self) -> &'static [&'static str] {
        &["POST"]
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

fn route(
    reactor: &mut Reactor,
    path: &str,
    service: impl Service + 'static,
    settings: RouteSettings,
) {
    let service = reactor.add_service(service).unwrap();
    reactor.add_route(path, service, settings).unwrap();
}

#[test]
fn every_invalid_request_is_refused_once() {
    let settings = Settings::default().head_bytes_max(2048);
    let server = Server::start(settings, |reactor| {
        let origins = vec!["https://good.example".to_owned()];
        route(reactor, "/", Echo, RouteSettings::default());
        route(reactor, "/own", Echo, RouteSettings::default().origins(origins));
        let required = RouteSettings::default().require_protocol(true);
        route(reactor, "/required", Echo, required);
        let hosts = vec!["ws.example".parse().unwrap()];
        route(reactor, "/hosted", Echo, RouteSettings::default().hosts(hosts));
        route(reactor, "/panics", Panics, RouteSettings::default());
        let small = RouteSettings::default().message_bytes_max(125);
        route(reactor, "/posts", Posts, small);
        reactor.add_page(
            "/page",
            Page { content_type: "text/plain", body: b"page", security_policy: "" },
        );
    });
    let mistakes = invalid_requests();
    let covered: HashSet<Refusal> = mistakes.iter().map(|(_, refusal)| *refusal).collect();
    for refusal in Refusal::ALL {
        assert_eq!(covered.contains(refusal), is_caused_by_request(*refusal), "{refusal:?}");
    }
    for (request, refusal) in &mistakes {
        let mut client = Client::tcp(server.address);
        // Bytes after a refused request are not read as a second request.
        let smuggled = "GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n";
        client.raw(format!("{request}{smuggled}").as_bytes());
        let head = expect_refusal(&mut client, *refusal);
        match refusal.status() {
            426 => {
                assert_eq!(header(&head, "Sec-WebSocket-Version"), Some("13"), "{head}");
                assert_eq!(header(&head, "Upgrade"), Some("websocket"));
            }
            405 => assert_eq!(header(&head, "Allow"), Some("GET, OPTIONS")),
            _ => {}
        }
    }
    let metrics = server.stop();
    assert_eq!(metrics.refused, mistakes.len() as u64);
    assert_eq!((metrics.opened, metrics.http_answered, metrics.panics), (0, 0, 1));
}

#[test]
fn bytes_that_cannot_be_a_request_are_refused_at_once() {
    let (server, _seen) = Server::watched(Settings::default(), RouteSettings::default());
    for start in [&b"\x16"[..], b"\n", b"GET / HTTP/1.1\n"] {
        let mut client = Client::tcp(server.address);
        client.raw(start);
        assert!(client.head().starts_with("HTTP/1.1 400 "));
    }
}

#[test]
fn a_head_may_arrive_byte_by_byte_with_frames_behind_it() {
    let (server, _seen) = Server::watched(Settings::default(), RouteSettings::default());
    let mut client = Client::tcp(server.address);
    for byte in upgrade("/", "").bytes() {
        client.raw(&[byte]);
    }
    assert!(client.head().contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    let mut client = Client::tcp(server.address);
    let mut bytes = upgrade("/", "").into_bytes();
    bytes.extend(frame(true, TEXT, b"early"));
    bytes.extend(&frame(true, TEXT, b"cut in two")[..7]);
    client.raw(&bytes);
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    client.expect(TEXT, b"early");
    client.raw(&frame(true, TEXT, b"cut in two")[7..]);
    client.expect(TEXT, b"cut in two");
}

#[test]
fn the_handshake_timeout_drops_a_client_without_an_answer() {
    let handshake_timeout = Duration::from_millis(300);
    let settings = Settings::default().handshake_timeout(handshake_timeout);
    let (server, seen) = Server::watched(settings, RouteSettings::default());
    let mut silent = Client::tcp(server.address);
    silent.expect_end();

    let mut slow = Client::tcp(server.address);
    slow.stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let mut head = upgrade("/", &format!("X: {}", "a".repeat(10_000))).into_bytes().into_iter();
    loop {
        match slow.stream.read(&mut [0; 64]) {
            Ok(0) => break,
            Ok(_) => panic!("an answer to half a head"),
            Err(error) if error.kind() != ErrorKind::WouldBlock => break,
            Err(_) => {}
        }
        // The connection may end between the two calls.
        let _ = slow.stream.write(&[head.next().expect("an end before the head's")]);
    }
    let metrics = server.stop();
    assert_eq!((metrics.ended_timeout, metrics.opened, metrics.refused), (2, 0, 0));
    assert_eq!(seen.iter().count(), 0, "the service gets neither");
}

#[test]
fn origins_are_checked_per_route() {
    let server = Server::start(Settings::default(), |reactor| {
        let origins = vec!["https://good.example".to_owned(), "null".to_owned()];
        route(reactor, "/", Echo, RouteSettings::default());
        route(reactor, "/own", Echo, RouteSettings::default().origins(origins));
    });
    let status = |path: &str, origin: &str| {
        let mut client = Client::tcp(server.address);
        client.request(&upgrade(path, origin))[9..12].to_owned()
    };
    let evil = "Origin: https://good.example.evil\r\n";
    assert_eq!(status("/", evil), "101");
    assert_eq!(status("/", ""), "101");
    assert_eq!(status("/own", "Origin: https://GOOD.example\r\n"), "101");
    assert_eq!(status("/own", "Origin: null\r\n"), "101");
    assert_eq!(status("/own", evil), "403");
    assert_eq!(status("/own", "Origin: http://good.example\r\n"), "403");
    assert_eq!(status("/own", ""), "403");
}

/// A service with some subprotocols. It replies with its name and the selected subprotocol.
struct Speaker {
    name: &'static str,
    protocols: &'static [&'static str],
}

impl Service for Speaker {
    fn protocols(&self) -> &[&str] {
        self.protocols
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, _: Message<'_>) {
        let protocol = cx.record(conn).and_then(|record| record.protocol);
        let text = format!("{} {}", self.name, protocol.unwrap_or("-"));
        let _ = cx.send(conn, &*text);
    }
}

#[test]
fn the_server_selects_the_subprotocol_and_with_it_a_service_of_the_path() {
    let server = Server::start(Settings::default(), |reactor| {
        let default = RouteSettings::default;
        route(reactor, "/", Speaker { name: "one", protocols: &["v2", "v1"] }, default());
        route(reactor, "/", Speaker { name: "two", protocols: &["graph"] }, default());
    });
    let agreed = |lines: &str| {
        let mut client = Client::tcp(server.address);
        let head = client.request(&upgrade("/", lines));
        client.text("which?");
        let says = String::from_utf8(client.frame().payload).unwrap();
        (header(&head, "Sec-WebSocket-Protocol").map(str::to_owned), says)
    };
    let offer = |names: &str| agreed(&format!("Sec-WebSocket-Protocol: {names}\r\n"));
    assert_eq!(offer("v1, v2"), (Some("v2".into()), "one v2".into()));
    assert_eq!(offer("v1,other"), (Some("v1".into()), "one v1".into()));
    assert_eq!(offer("other, graph"), (Some("graph".into()), "two graph".into()));
    assert_eq!(offer("V1"), (None, "one -".into()));
    assert_eq!(agreed(""), (None, "one -".into()));
    let lines = "Sec-WebSocket-Protocol: x\r\nSec-WebSocket-Protocol: graph\r\n";
    assert_eq!(agreed(lines), (Some("graph".into()), "two graph".into()));
}

#[test]
fn a_repeated_key_is_refused_within_the_key_reuse_window() {
    let window = Some(Duration::from_secs(60));
    let settings = Settings::default().key_reuse_window(window);
    let (server, _seen) = Server::watched(settings, RouteSettings::default());
    let _first = Client::open(server.address, "/");
    let mut second = Client::tcp(server.address);
    second.raw(upgrade("/", "").as_bytes());
    expect_refusal(&mut second, Refusal::KeyReused);
    let mut other = Client::tcp(server.address);
    let head = other.request(&altered("dGhlIHNhbXBsZSBub25jZQ==", "AAAAAAAAAAAAAAAAAAAAAA=="));
    assert!(head.starts_with("HTTP/1.1 101 "));
}

#[test]
fn one_reactor_listens_on_several_addresses() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let server = Server::start(Settings::default(), move |reactor| {
        route(reactor, "/", Echo, RouteSettings::default());
        let six = ListenSettings::new("[::1]:0".parse().unwrap());
        sender.send(reactor.listen(&six).unwrap()).unwrap();
    });
    let six = receiver.recv().unwrap();
    assert!(six.is_ipv6() && six.port() != 0);
    for address in [six, server.address] {
        let mut client = Client::open(address, "/");
        client.text("hello");
        client.expect(TEXT, b"hello");
    }
}

#[test]
fn path_parameters_are_percent_decoded() {
    let server = Server::start(Settings::default(), |reactor| {
        let rooms = Rooms::new(RoomSettings::default());
        route(reactor, "/rooms/{name}", rooms, RouteSettings::default());
    });
    let mut upper = Client::open(server.address, "/rooms/caf%C3%A9?self=1");
    let mut lower = Client::open(server.address, "/rooms/caf%c3%a9");
    let mut slash = Client::open(server.address, "/rooms/caf%C3%A9%2Fbar?self=1");
    for path in ["/rooms/caf%C3%A9/bar", "/rooms/", "/rooms/%FF"] {
        let mut client = Client::tcp(server.address);
        client.raw(upgrade(path, "").as_bytes());
        expect_refusal(&mut client, Refusal::NotFound);
    }
    upper.text("one room");
    upper.expect(TEXT, b"one room");
    lower.expect(TEXT, b"one room");
    slash.text("another");
    slash.expect(TEXT, b"another");
}

#[test]
fn a_deferred_request_is_accepted_with_the_frames_behind_it() {
    let accept = Decision::Accept(Accept::new());
    let (server, seen) = deferring(Settings::default(), Some(accept));
    let mut client = Client::tcp(server.address);
    let mut bytes = upgrade("/", "").into_bytes();
    bytes.extend(frame(true, TEXT, b"early"));
    client.raw(&bytes);
    assert!(matches!(seen.recv_timeout(DEADLINE), Ok(Seen::Deferred(_))));
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    client.expect(TEXT, b"early");
    client.text("late");
    client.expect(TEXT, b"late");
}
