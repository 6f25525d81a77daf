//! Connections to upstreams before a tunnel is joined: failures, timeouts, and clients that leave.

use std::net::{Shutdown, TcpListener};
use std::time::Duration;

use weir::protocol::handshake::{ClientError, Refusal};
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{CloseReason, TlsConnector};

use super::upstream::{Event, Events, Upstream, joining, listener};
use crate::support::{Client, Server, upgrade};

fn serve(listener: &TcpListener) -> (Server, Events) {
    joining(listener, Settings::default(), RouteSettings::default(), |_| {})
}

/// Skips other events until the upstream's end; returns the reason.
fn upstream_end(events: &Events) -> CloseReason {
    loop {
        if let Event::UpstreamClosed(why) = events.next() {
            return why;
        }
    }
}

#[test]
fn a_refused_connection_is_reported() {
    let listener = listener();
    let (server, events) = serve(&listener);
    drop(listener);
    let mut client = Client::tcp(server.address);
    let head = client.request(&upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    let why = upstream_end(&events);
    assert_eq!(why, CloseReason::ConnectFailed(std::io::ErrorKind::ConnectionRefused));
}

#[test]
fn an_upstream_that_does_not_answer_in_time_is_dropped() {
    let listener = listener();
    let route = RouteSettings::default();
    let (server, events) = joining(&listener, Settings::default(), route, |joining| {
        joining.answer_timeout = Duration::from_millis(300);
    });
    let mut client = Client::tcp(server.address);
    client.raw(upgrade("/", "").as_bytes());
    let mut upstream = Upstream::accept(&listener);
    assert!(upstream.request().starts_with("GET / HTTP/1.1\r\nHost: upstream\r\n"));
    let (head, _) = client.answer();
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert_eq!(events.next(), Event::Connected);
    assert_eq!(events.next(), Event::UpstreamClosed(CloseReason::HandshakeTimeout));
}

/// TCP connects, since the kernel accepts, but TLS does not start.
#[test]
fn a_connection_that_is_not_established_in_time_is_dropped() {
    let listener = listener();
    let route = RouteSettings::default();
    let connector = TlsConnector::insecure("localhost").unwrap();
    let (server, events) = joining(&listener, Settings::default(), route, |joining| {
        joining.connect_timeout = Duration::from_millis(300);
        joining.connector = Some(connector);
    });
    let mut client = Client::tcp(server.address);
    let head = client.request(&upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert_eq!(events.next(), Event::UpstreamClosed(CloseReason::HandshakeTimeout));
}

/// Its response is no request for us to answer: it only fails the TLS handshake.
#[test]
fn an_upstream_without_tls_is_reported() {
    let listener = listener();
    let route = RouteSettings::default();
    let (server, events) = joining(&listener, Settings::default(), route, |joining| {
        joining.connector = Some(TlsConnector::insecure("localhost").unwrap());
    });
    let mut client = Client::tcp(server.address);
    client.raw(upgrade("/", "").as_bytes());
    let mut upstream = Upstream::accept(&listener);
    upstream.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let (head, _) = client.answer();
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert_eq!(events.next(), Event::UpstreamClosed(CloseReason::TlsFailed));
}

#[test]
fn an_upstream_that_ends_before_its_response_is_reported() {
    let listener = listener();
    let (server, events) = serve(&listener);
    for part in [&b""[..], b"HTTP/1.1 101 Swi"] {
        let mut client = Client::tcp(server.address);
        client.raw(upgrade("/", "").as_bytes());
        let mut upstream = Upstream::accept(&listener);
        upstream.request();
        upstream.raw(part);
        drop(upstream);
        let (head, _) = client.answer();
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        assert_eq!(upstream_end(&events), CloseReason::PeerGone);
    }
}

#[test]
fn a_malformed_or_long_response_head_is_reported() {
    let listener = listener();
    let (server, events) = serve(&listener);
    let long = [b"HTTP/1.1 101 A\r\nX: ".to_vec(), vec![b'a'; 20_000]].concat();
    for (response, error) in [
        (b"HTTP/1.1 101 A\nX: y\r\n\r\n".to_vec(), ClientError::Malformed),
        (b"HTTP/1.1 abc\r\n\r\n".to_vec(), ClientError::Malformed),
        (long, ClientError::HeadTooLong),
    ] {
        let mut client = Client::tcp(server.address);
        client.raw(upgrade("/", "").as_bytes());
        let mut upstream = Upstream::accept(&listener);
        upstream.request();
        upstream.raw(&response);
        let (head, _) = client.answer();
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        assert_eq!(upstream_end(&events), CloseReason::UpgradeFailed(error));
    }
}

#[test]
fn another_response_is_for_the_service_to_decide() {
    let listener = listener();
    let (server, events) = serve(&listener);
    let mut client = Client::tcp(server.address);
    client.raw(upgrade("/", "").as_bytes());
    let mut upstream = Upstream::accept(&listener);
    upstream.request();
    upstream.raw(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    let (head, _) = client.answer();
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert_eq!(upstream_end(&events), CloseReason::Aborted);
    upstream.expect_end();
}

#[test]
fn a_client_that_leaves_before_the_response_is_reported() {
    let listener = listener();
    let (server, events) = serve(&listener);
    let behind = crate::support::frame(true, crate::support::TEXT, b"behind the head");
    for bytes in [&b""[..], &behind] {
        let mut client = Client::tcp(server.address);
        client.raw(&[upgrade("/", "").as_bytes(), bytes].concat());
        let mut upstream = Upstream::accept(&listener);
        upstream.request();
        client.stream.shutdown(Shutdown::Write).unwrap();
        // The service aborts the upstream.
        upstream.expect_end();
        assert_eq!(events.next(), Event::Connected);
        assert_eq!(events.next(), Event::ClientClosed(CloseReason::PeerGone));
        assert_eq!(events.next(), Event::UpstreamClosed(CloseReason::Aborted));
        client.expect_end();
    }
}

/// The timeout counts from the request, not from the connection.
#[test]
fn a_client_whose_upstream_does_not_answer_gets_504() {
    let listener = listener();
    let settings = Settings::default().handshake_timeout(Duration::from_millis(500));
    let (server, events) = joining(&listener, settings, RouteSettings::default(), |_| {});
    let mut client = Client::tcp(server.address);
    client.raw(upgrade("/", "").as_bytes());
    let mut upstream = Upstream::accept(&listener);
    upstream.request();
    let (head, body) = client.answer();
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
    assert_eq!(body, Refusal::UpstreamTimeout.reason().as_bytes());
    drop(client);
    assert_eq!(events.next(), Event::Connected);
    let refused = CloseReason::Refused(Refusal::UpstreamTimeout);
    assert_eq!(events.next(), Event::ClientClosed(refused));
}
