//! Tunnels with TLS on both sides.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use weir::protocol::CloseCode;
use weir::protocol::handshake::ClientError;
use weir::reactor::settings::{CertificateFiles, RouteSettings, Settings, TlsSettings};
use weir::reactor::{CloseReason, ConnId, Connect, Context, TlsConnector, UpstreamRequest};
use weir_authority::{Authority, Files};

use super::upstream::{Events, Joining, Upstream, listener};
use crate::puppet::{Puppet, Report, Strings};
use crate::support::{BINARY, Client, DEADLINE, Server, TEXT, upgrade};

pub type SecureClient = Client<StreamOwned<ClientConnection, TcpStream>>;
pub type SecureUpstream = Upstream<StreamOwned<ServerConnection, TcpStream>>;

/// The configuration of an upstream.
pub fn serving(files: &Files) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(&files.chain).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key);
    Arc::new(config.unwrap())
}

/// The configuration of a client that trusts this authority.
pub fn trusting(authority: &Authority) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.file()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

pub fn accept(listener: &TcpListener, config: Arc<ServerConfig>) -> SecureUpstream {
    let Upstream { stream, .. } = Upstream::accept(listener);
    Upstream::over(StreamOwned::new(ServerConnection::new(config).unwrap(), stream))
}

struct Secure {
    server: Server,
    client: SecureClient,
    upstream: SecureUpstream,
    events: Events,
}

/// A joined client and upstream, each over TLS.
fn join() -> Secure {
    let authority = Authority::new();
    let listener = listener();
    let (mut joining, events) = Joining::new(listener.local_addr().unwrap());
    joining.connector = Some(TlsConnector::trusting("localhost", &authority.file()).unwrap());
    let own = authority.server(&["localhost"]);
    let tls = TlsSettings::new(CertificateFiles::new(&own.chain, &own.key));
    let server = Server::secure(tls, Settings::default(), move |reactor| {
        joining.place(reactor, RouteSettings::default());
    });
    let of_upstream = serving(&authority.server(&["localhost"]));
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut upstream = accept(&listener, of_upstream);
        upstream.upgrade(b"");
        sender.send(upstream).unwrap();
    });
    let name = ServerName::try_from("localhost").unwrap();
    let tls = ClientConnection::new(trusting(&authority), name).unwrap();
    let stream = StreamOwned::new(tls, Client::tcp(server.address).stream);
    let mut client = Client::over(stream);
    let head = client.request(&upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let upstream = receiver.recv_timeout(DEADLINE).unwrap();
    Secure { server, client, upstream, events }
}

#[test]
fn frames_and_closes_pass_over_tls() {
    let Secure { server, mut client, mut upstream, events } = join();
    for len in [0, 125, 126, 16_384, 65_535, 65_536] {
        let payload: Vec<u8> = (0..len).map(|i| (i * 13) as u8).collect();
        client.send(BINARY, &payload);
        upstream.expect(BINARY, &payload);
        upstream.send(TEXT, &payload);
        client.expect(TEXT, &payload);
    }
    client.close(1000, "bye");
    assert_eq!(upstream.expect_close(), (1000, "bye".into()));
    upstream.close(1000, "bye");
    assert_eq!(client.expect_close(), (1000, "bye".into()));
    upstream.stream.conn.send_close_notify();
    upstream.stream.conn.complete_io(&mut upstream.stream.sock).unwrap();
    drop((client, upstream));
    let (_, client, upstream) = events.ends();
    assert_eq!(client, CloseReason::PeerClosed(Some(CloseCode::NORMAL)));
    assert_eq!(upstream, CloseReason::TunnelEnded);
    server.stop_clean();
}

/// The end of the stream without close_notify is not the end that the upstream has meant.
#[test]
fn an_upstream_that_ends_without_close_notify_is_lost() {
    let Secure { server, mut client, upstream, events } = join();
    drop(upstream);
    assert_eq!(client.expect_close(), (1012, "upstream lost".into()));
    client.close(1012, "");
    drop(client);
    let (_, client, upstream) = events.ends();
    assert_eq!(client, CloseReason::UpstreamLost(CloseCode::SERVICE_RESTART));
    assert_eq!(upstream, CloseReason::Truncated);
    server.stop_clean();
}

/// 3 MiB each way, in frames that are longer than a TLS record and in ones that are shorter.
#[test]
fn much_passes_over_tls_both_ways() {
    let Secure { server, client, upstream, events } = join();
    let (mut client, mut upstream) = (client, upstream);
    for len in [1000, 60_000, 200_000] {
        let payload: Vec<u8> = (0..len).map(|i| (i * 3) as u8).collect();
        for _ in 0..(1 << 20) / len {
            client.send(BINARY, &payload);
            upstream.send(BINARY, &payload);
            let (mut to_upstream, mut to_client) = (Vec::new(), Vec::new());
            while to_upstream.len() < len {
                to_upstream.extend(upstream.frame().payload);
            }
            while to_client.len() < len {
                to_client.extend(client.frame().payload);
            }
            assert!(to_upstream == payload && to_client == payload);
        }
    }
    drop((client, upstream));
    events.ends();
    server.stop_clean();
}

/// Records wait for a client that does not read; its upstream is paused, and nothing is lost.
#[test]
fn a_client_that_reads_late_over_tls_gets_everything() {
    let Secure { server, mut client, mut upstream, events } = join();
    let thread = thread::spawn(move || {
        for index in 0..200_u8 {
            upstream.send(BINARY, &vec![index; 40_000]);
        }
        upstream
    });
    thread::sleep(Duration::from_millis(500));
    for index in 0..200_u8 {
        client.expect(BINARY, &vec![index; 40_000]);
    }
    let upstream = thread.join().unwrap();
    drop((client, upstream));
    let (end, ..) = events.ends();
    assert!(end.from_upstream.pauses > 0, "{end:?}");
    let metrics = server.stop_clean();
    assert!(metrics.congested > 0, "{metrics}");
}

/// A connection to an upstream of its own, and the upstream, both after the TLS handshake. Bytes that are
/// sent before it are read first.
fn dialled(preface: &'static [u8]) -> (Server, Strings, ConnId, SecureUpstream) {
    let authority = Authority::new();
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let connector = TlsConnector::trusting("localhost", &authority.file()).unwrap();
    let (puppet, strings) = Puppet::new();
    let (server, route) = puppet.serve_and_connect(Settings::default());
    let id = strings.run(move |cx| {
        let to = Connect::to(address).tls(&connector).preface(preface);
        cx.dial(to, route, DEADLINE).unwrap()
    });
    let Upstream { mut stream, .. } = Upstream::accept(&listener);
    let mut first = vec![0; preface.len()];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(first, preface);
    let config = serving(&authority.server(&["localhost"]));
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    while strings.next() != Report::Connected(id) {}
    (server, strings, id, Upstream::over(stream))
}

fn request() -> UpstreamRequest {
    UpstreamRequest::new(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), DEADLINE)
}

#[test]
fn a_preface_is_sent_before_tls() {
    let (server, strings, id, mut upstream) = dialled(b"PROXY UNKNOWN\r\n");
    assert!(strings.run(move |cx| cx.send_request(id, request())));
    assert!(upstream.request().starts_with("GET / HTTP/1.1\r\n"));
    drop(upstream);
    server.stop_clean();
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sends {
    KeyUpdate,
    Plaintext,
    End,
}

/// What arrives in the turn in which a request is sent: TLS's own messages do no harm, plaintext
/// and the end of the session do.
#[test]
fn an_idle_connection_is_read_before_a_request_is_sent() {
    for sends in [Sends::KeyUpdate, Sends::Plaintext, Sends::End] {
        let (server, strings, id, mut upstream) = dialled(b"");
        let (go, gone) = channel();
        let (sent, received) = channel();
        let thread = thread::spawn(move || {
            gone.recv_timeout(DEADLINE).unwrap();
            match sends {
                Sends::Plaintext => upstream.raw(b"HTTP/1.1 408 Request Timeout\r\n\r\n"),
                Sends::KeyUpdate => upstream.stream.conn.refresh_traffic_keys().unwrap(),
                Sends::End => upstream.stream.conn.send_close_notify(),
            }
            upstream.stream.flush().unwrap();
            sent.send(()).unwrap();
            upstream
        });
        let is_sent = strings.run(move |cx| {
            go.send(()).unwrap();
            received.recv_timeout(DEADLINE).unwrap();
            // The loop does nothing until the bytes have arrived.
            thread::sleep(Duration::from_millis(50));
            cx.send_request(id, request())
        });
        assert_eq!(is_sent, sends == Sends::KeyUpdate);
        let mut upstream = thread.join().unwrap();
        if is_sent {
            assert!(upstream.request().starts_with("GET / HTTP/1.1\r\n"));
        } else {
            assert_eq!(strings.closed(), (id, CloseReason::PeerGone));
        }
        drop(upstream);
        server.stop_clean();
    }
}

/// A server may send before the client's part of the handshake is complete (RFC 8446, 4.4.4).
#[test]
fn a_connection_is_reported_as_established_before_its_end() {
    let authority = Authority::new();
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let connector = TlsConnector::trusting("localhost", &authority.file()).unwrap();
    let (puppet, strings) = Puppet::new();
    let (server, route) = puppet.serve_and_connect(Settings::default());
    let dial = move |cx: &mut Context<'_>| {
        cx.dial(Connect::to(address).tls(&connector), route, DEADLINE).unwrap()
    };
    let id = strings.run(dial);
    let Upstream { mut stream, .. } = Upstream::accept(&listener);
    let mut config = ServerConfig::clone(&serving(&authority.server(&["localhost"])));
    config.send_half_rtt_data = true;
    let mut session = ServerConnection::new(Arc::new(config)).unwrap();
    session.read_tls(&mut stream).unwrap();
    session.process_new_packets().unwrap();
    session.writer().write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").unwrap();
    // In one piece, so that one read completes the handshake and returns the response.
    let mut records = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut records).unwrap();
    }
    stream.write_all(&records).unwrap();
    assert_eq!(strings.next(), Report::Connected(id));
    let malformed = CloseReason::UpgradeFailed(ClientError::Malformed);
    assert_eq!(strings.next(), Report::Closed(id, malformed));
    server.stop_clean();
}
