//! Plaintext at a TLS listener, and TLS at a plaintext listener.

use std::sync::Arc;
use std::time::Duration;

use weir::reactor::settings::{RouteSettings, Settings};
use weir_authority::Authority;

use super::{echo, settings, trusting, watched};
use crate::support::{Client, Server, upgrade};

#[test]
fn a_plaintext_request_at_a_tls_port_is_answered_in_plaintext() {
    let (_authority, server, _seen) = echo();
    for request in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", &upgrade("/", "")] {
        let mut client = Client::tcp(server.address);
        let head = client.request(request);
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        assert!(head.contains("Content-Type: text/plain"), "{head}");
        assert_eq!(client.bytes(40), b"this port speaks TLS: wss:// or https://");
        client.expect_end();
    }
    let mut client = Client::tcp(server.address);
    client.raw(b"HEAD / HTTP/1.1\r\n");
    assert!(client.head().starts_with("HTTP/1.1 400 "));
    client.expect_end();
    let metrics = server.stop_clean();
    assert_eq!((metrics.refused, metrics.tls_failed), (3, 0));
}

#[test]
fn bytes_that_are_neither_tls_nor_http_are_answered_with_an_alert() {
    let (_authority, server, _seen) = echo();
    let mut client = Client::tcp(server.address);
    client.raw(b"\x05\x01\x00 no, this is no TLS");
    // A fatal alert: record type 21, its version, two bytes.
    assert_eq!(client.bytes(7)[..6], [21, 3, 3, 0, 2, 2]);
    client.expect_gone();
    assert_eq!(server.stop_clean().tls_failed, 1);
}

#[test]
fn tls_at_a_plaintext_port_is_refused() {
    let (server, _seen) = Server::watched(Settings::default(), RouteSettings::default());
    let mut client = Client::tcp(server.address);
    client.raw(&[22, 3, 1, 0, 5, 1, 0, 0, 1, 0]);
    assert!(client.head().starts_with("HTTP/1.1 400 "));
    server.stop_clean();
}

#[test]
fn silence_and_a_partial_client_hello_end_with_the_handshake_timeout() {
    let authority = Authority::new();
    let tls = settings(&authority.server(&["localhost"]));
    let brief = Settings::default().handshake_timeout(Duration::from_millis(300));
    let (server, _seen) = watched(tls, brief, RouteSettings::default());
    let mut silent = Client::tcp(server.address);
    let mut slow = Client::tcp(server.address);
    slow.raw(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]);
    // The TLS handshake ends in time, but no request follows.
    let config = Arc::new(trusting(&authority));
    let mut mute = super::agreed(server.address, &config, "localhost");
    silent.expect_gone();
    slow.expect_gone();
    mute.expect_gone();
    assert_eq!(server.stop_clean().ended_timeout, 3);
}
