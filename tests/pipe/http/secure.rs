//! Exchanges with TLS on either side.

use std::io::{ErrorKind, Read};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use weir::reactor::settings::{CertificateFiles, RouteSettings, Settings, TlsSettings};
use weir::reactor::{CloseReason, ExchangeOutcome, TlsConnector};
use weir_authority::Authority;

use super::forwarding::{LAST_CHUNK, Proxy, chunked, get, ok};
use crate::pipe::secure::{SecureClient, SecureUpstream, accept, serving, trusting};
use crate::support::Client;

/// A server with TLS to its upstream.
fn to_secure(authority: &Authority) -> Proxy {
    let connector = TlsConnector::trusting("localhost", &authority.file()).unwrap();
    Proxy::with(Settings::default(), RouteSettings::default(), |forwarding| {
        forwarding.connector = Some(connector);
    })
}

fn ask(proxy: &Proxy, authority: &Authority) -> (Client, SecureUpstream) {
    let mut client = proxy.client();
    client.raw(get("/").as_bytes());
    let mut upstream = accept(&proxy.listener, serving(&authority.server(&["localhost"])));
    upstream.request();
    (client, upstream)
}

#[test]
fn a_close_notify_completes_a_response_until_the_end_of_the_stream() {
    let authority = Authority::new();
    let proxy = to_secure(&authority);
    let (mut client, mut upstream) = ask(&proxy, &authority);
    upstream.raw(b"HTTP/1.1 200 OK\r\n\r\nabc");
    client.head();
    upstream.stream.conn.send_close_notify();
    upstream.stream.conn.complete_io(&mut upstream.stream.sock).unwrap();
    drop(upstream);
    let body = chunked(&["abc"]) + LAST_CHUNK;
    assert_eq!(client.bytes(body.len()), body.as_bytes());
    assert_eq!(proxy.outcome(), ExchangeOutcome::Complete);
}

/// RFC 9112, 9.8: anybody on the way can send a FIN.
#[test]
fn an_end_without_close_notify_cuts_a_response_until_the_end_of_the_stream() {
    let authority = Authority::new();
    let proxy = to_secure(&authority);
    let (mut client, mut upstream) = ask(&proxy, &authority);
    upstream.raw(b"HTTP/1.1 200 OK\r\n\r\nabc");
    client.head();
    drop(upstream);
    let mut rest = Vec::new();
    let error = client.stream.read_to_end(&mut rest).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(proxy.outcome(), ExchangeOutcome::Cut(CloseReason::Truncated));
}

#[test]
fn bodies_pass_over_tls_on_both_sides() {
    let authority = Authority::new();
    let own = authority.server(&["localhost"]);
    let tls = TlsSettings::new(CertificateFiles::new(&own.chain, &own.key));
    let connector = TlsConnector::trusting("localhost", &authority.file()).unwrap();
    let proxy =
        Proxy::over(Some(tls), Settings::default(), RouteSettings::default(), |forwarding| {
            forwarding.connector = Some(connector);
        });
    let name = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(trusting(&authority), name).unwrap();
    let mut client: SecureClient =
        Client::over(StreamOwned::new(session, Client::tcp(proxy.server.address).stream));
    let body: Vec<u8> = (0..300_000).map(|i: u32| (i * 13) as u8).collect();
    let mut upstream: Option<SecureUpstream> = None;
    for _ in 0..3 {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
        client.raw(head.as_bytes());
        client.raw(&body);
        let upstream = upstream.get_or_insert_with(|| {
            accept(&proxy.listener, serving(&authority.server(&["localhost"])))
        });
        upstream.request();
        assert_eq!(upstream.bytes(body.len()), body);
        upstream.raw(ok("").replace("th: 0", &format!("th: {}", body.len())).as_bytes());
        upstream.raw(&body);
        client.head();
        assert_eq!(client.bytes(body.len()), body);
        assert!(proxy.end().is_upstream_idle);
    }
}
