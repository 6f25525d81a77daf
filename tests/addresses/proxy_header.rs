//! Listeners that require a PROXY header, version 1 or 2, in front of HTTP or TLS.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use weir::protocol::handshake::Refusal;
use weir::protocol::proxy_header::{
    Endpoints, ProxyHeaderError, ProxyVersion, V1_BYTES_MAX, V2_BYTES_MAX,
};
use weir::reactor::settings::{ListenSettings, RouteSettings, Settings};
use weir::reactor::{CloseReason, ProxyFault};
use weir_authority::Authority;

use super::{add_reporting, behind_proxy, clients, get, trusting};
use crate::handshake::expect_refusal;
use crate::support::{ByHand, Client, Server, any, eventually, upgrade};
use crate::tls;

/// Trusts 127.0.0.1 and a network that is not ours.
const PROXIES: [&str; 2] = ["127.0.0.1/32", "10.0.0.0/8"];
/// For the deadline that ends a connection in a test.
const SHORT: Duration = Duration::from_millis(200);
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// The header of a connection from this address.
fn header(version: ProxyVersion, source: &str) -> Vec<u8> {
    let source: SocketAddr = source.parse().unwrap();
    let destination = match source.is_ipv4() {
        true => "192.0.2.1:443".parse().unwrap(),
        false => "[2001:db8::1]:443".parse().unwrap(),
    };
    let mut bytes = Vec::new();
    version.write(Some(Endpoints { source, destination }), &mut bytes);
    bytes
}

/// A threaded server at a listener that requires PROXY headers.
fn serving(settings: Settings) -> Server {
    Server::listening(ListenSettings::new(any()).proxy_header(true), settings, |reactor| {
        add_reporting(reactor, RouteSettings::default());
    })
}

/// Sends the two parts of `bytes` in different turns; returns the body of the response.
fn answer_to(server: &mut ByHand, bytes: &[u8], split: usize) -> String {
    let mut client = Client::tcp(server.address);
    for part in [&bytes[..split], &bytes[split..]] {
        client.raw(part);
        for _ in 0..3 {
            server.reactor.turn(Some(Duration::ZERO)).unwrap();
        }
    }
    server.turn_until_readable(&client.stream);
    String::from_utf8(client.answer().1).unwrap()
}

#[test]
fn headers_may_be_split_anywhere() {
    let mut server = behind_proxy(trusting(&PROXIES));
    for source in ["203.0.113.7:4711", "[2001:db8::7]:4711"] {
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let mut bytes = header(version, source);
            let len = bytes.len();
            bytes.extend_from_slice(get("").as_bytes());
            for split in 0..len + 2 {
                let answer = answer_to(&mut server, &bytes, split);
                assert_eq!(answer, format!("{source} via - plain"), "{version:?}, {split}");
            }
        }
    }
    // Type-length-value fields up to the largest header.
    let mut bytes = header(ProxyVersion::V2, "203.0.113.7:4711");
    let padding = V2_BYTES_MAX - bytes.len();
    bytes[14..16].copy_from_slice(&((V2_BYTES_MAX - 16) as u16).to_be_bytes());
    bytes.extend(vec![0xEE; padding]);
    bytes.extend_from_slice(get("").as_bytes());
    for split in [0, 16, 28, 100, V2_BYTES_MAX - 1, V2_BYTES_MAX] {
        assert_eq!(answer_to(&mut server, &bytes, split), "203.0.113.7:4711 via - plain");
    }
    server.stop_clean();
}

#[test]
fn connections_of_the_proxy_itself_keep_its_address() {
    let server = serving(trusting(&PROXIES).connections_per_address(1));
    for start in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN 1.1.1.1 2.2.2.2 3 4\r\n", LOCAL] {
        // More than one at a time: they count for no address.
        let both = [(); 2].map(|()| {
            let mut client = Client::tcp(server.address);
            client.raw(start);
            let own = client.stream.local_addr().unwrap();
            client.raw(get("").as_bytes());
            let body = String::from_utf8(client.answer().1).unwrap();
            assert_eq!(body, format!("{own} via 127.0.0.1 plain"));
            client
        });
        drop(both);
    }
}

#[test]
fn the_address_in_the_header_decides_whose_headers_are_trusted() {
    let server = serving(trusting(&PROXIES));
    let lines = "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-Proto: https\r\n";
    for (source, expected) in [
        ("203.0.113.7:4711", "203.0.113.7:4711 via - plain"),
        ("10.0.0.1:4711", "198.51.100.1:0 via 10.0.0.1 secure X-Forwarded-For X-Forwarded-Proto"),
    ] {
        let mut client = Client::tcp(server.address);
        client.raw(&header(ProxyVersion::V2, source));
        client.raw(get(lines).as_bytes());
        assert_eq!(String::from_utf8(client.answer().1).unwrap(), expected);
    }
}

#[test]
fn connections_without_a_valid_header_are_closed() {
    let server = serving(trusting(&PROXIES));
    let mut long = header(ProxyVersion::V2, "203.0.113.7:1");
    long[14..16].copy_from_slice(&(V2_BYTES_MAX as u16).to_be_bytes());
    let mut command = header(ProxyVersion::V2, "203.0.113.7:1");
    command[12] = 0x22;
    let request = get("");
    let starts: [&[u8]; 8] = [
        request.as_bytes(),
        b"\x16\x03\x01\x02\0\x01\0",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 1\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\r",
        b"\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        &[b'P', b'R', b'O', b'X', b'Y', b' ']
            .into_iter()
            .chain([b'1'; V1_BYTES_MAX])
            .collect::<Vec<_>>(),
        &long,
        &command,
    ];
    for start in starts {
        let mut client = Client::tcp(server.address);
        client.raw(start);
        client.expect_gone();
    }
    // Ended within a header, or before it: not an invalid one.
    for start in [&header(ProxyVersion::V1, "203.0.113.7:1")[..9], b""] {
        let mut client = Client::tcp(server.address);
        client.raw(start);
        client.finish();
        client.expect_gone();
    }
    let metrics = server.stop_clean();
    let invalid = CloseReason::ProxyHeader(ProxyFault::Header(ProxyHeaderError::Malformed));
    assert_eq!((metrics.ends[invalid.name()], metrics.ends["peer_gone"]), (8, 2));
    assert_eq!((metrics.refused, metrics.http_answered), (0, 0));
}

#[test]
fn the_header_must_come_within_the_handshake_timeout() {
    let server = serving(trusting(&PROXIES).handshake_timeout(SHORT));
    let mut silent = Client::tcp(server.address);
    let mut slow = Client::tcp(server.address);
    slow.raw(&header(ProxyVersion::V2, "203.0.113.7:1")[..20]);
    silent.expect_gone();
    slow.expect_gone();
    let mut late = Client::tcp(server.address);
    late.raw(&header(ProxyVersion::V2, "203.0.113.7:1"));
    late.expect_gone();
    let metrics = server.stop_clean();
    assert_eq!((metrics.ends["proxy_header"], metrics.ends["handshake_timeout"]), (2, 1));
}

#[test]
fn headers_of_untrusted_peers_close_the_connection() {
    let server = serving(trusting(&PROXIES));
    let mut direct = Client::from([127, 0, 0, 2].into(), server.address);
    // It may be closed already.
    let _ = direct.stream.write_all(&header(ProxyVersion::V1, "203.0.113.7:4711"));
    direct.expect_gone();
    assert_eq!(server.stop_clean().ends["proxy_header"], 1);
}

#[test]
fn a_listener_for_proxies_needs_trusted_ones() {
    let mut reactor = weir::reactor::Reactor::new(Settings::default()).unwrap();
    let error = reactor.listen(&ListenSettings::new(any()).proxy_header(true)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("trusted_proxies"), "{error}");
}

#[test]
fn clients_are_counted_by_the_address_in_the_header() {
    let server = serving(trusting(&PROXIES).connections_per_address(1));
    let connect = |source: &str| {
        let mut client = Client::tcp(server.address);
        client.raw(&header(ProxyVersion::V2, source));
        client
    };
    let first = connect("203.0.113.1:1").upgraded("/");
    let mut other = connect("203.0.113.2:1").upgraded("/");
    let mut second = connect("203.0.113.1:2");
    second.raw(upgrade("/", "").as_bytes());
    expect_refusal(&mut second, Refusal::AddressFull);
    // Counted before the request, as without a proxy.
    let idle = connect("203.0.113.3:1");
    eventually(|| clients(&mut other) == "3", "an idle connection is counted");
    let mut third = connect("203.0.113.3:2");
    third.raw(get("").as_bytes());
    expect_refusal(&mut third, Refusal::AddressFull);
    drop((first, idle));
    eventually(|| clients(&mut other) == "1", "they have ended");
    drop([connect("203.0.113.1:3").upgraded("/"), connect("203.0.113.3:3").upgraded("/")]);
    drop(other);
    assert_eq!(server.stop_clean().refusals["address_full"], 2);
}

#[test]
fn a_full_server_refuses_clients_behind_a_header() {
    let server = serving(trusting(&PROXIES).connections_max(1));
    let start = header(ProxyVersion::V1, "203.0.113.1:1");
    let mut first = Client::tcp(server.address);
    first.raw(&start);
    let first = first.upgraded("/");
    let mut second = Client::tcp(server.address);
    second.raw(&start);
    second.raw(get("").as_bytes());
    expect_refusal(&mut second, Refusal::Full);
    drop(first);
    server.stop_clean();
}

#[test]
fn a_shutdown_ends_connections_before_their_header() {
    for secure in [false, true] {
        let authority = Authority::new();
        let files = authority.server(&["localhost"]);
        let listen = ListenSettings::new(any()).proxy_header(true).secure(secure);
        let mut server = ByHand::listening(listen, trusting(&PROXIES), |reactor| {
            reactor.set_tls(tls::settings(&files)).unwrap();
            add_reporting(reactor, RouteSettings::default());
        });
        let mut client = Client::tcp(server.address);
        client.raw(b"PROXY ");
        server.turn_until("accepted", |metrics| metrics.accepted == 1);
        server.reactor.handle().shutdown();
        server.turn_until("ended", |metrics| metrics.ends.contains_key("shutdown"));
        drop(server);
        // A 503 would be plaintext on a port for TLS.
        let read = client.stream.read(&mut [0; 16]);
        assert!(!matches!(read, Ok(1..)), "{read:?}");
    }
}

/// A TLS client on a stream that may have sent a header already.
fn secure_client(
    stream: TcpStream,
    authority: &Authority,
) -> Client<StreamOwned<ClientConnection, TcpStream>> {
    let config = Arc::new(tls::trusting(authority));
    let name = ServerName::try_from("localhost").unwrap();
    Client::over(StreamOwned::new(ClientConnection::new(config, name).unwrap(), stream))
}

#[test]
fn tls_follows_the_header() {
    let authority = Authority::new();
    let files = authority.server(&["localhost"]);
    let listen = ListenSettings::new(any()).proxy_header(true).secure(true);
    let server = Server::listening(listen, trusting(&PROXIES), move |reactor| {
        reactor.set_tls(tls::settings(&files)).unwrap();
        add_reporting(reactor, RouteSettings::default());
    });
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let start = header(version, "203.0.113.7:4711");
        let mut client = Client::tcp(server.address);
        client.raw(&start);
        let mut client = secure_client(client.stream, &authority);
        client.raw(get("").as_bytes());
        assert_eq!(client.answer().1, b"203.0.113.7:4711 via - secure");
        let mut client = client.upgraded("/");
        client.text("");
        assert_eq!(client.frame().payload, b"203.0.113.7:4711");

        // Header and ClientHello in one segment.
        let tcp = Client::tcp(server.address).stream;
        let mut client = secure_client(tcp, &authority);
        let mut first = start.clone();
        client.stream.conn.write_tls(&mut first).unwrap();
        client.stream.sock.write_all(&first).unwrap();
        client.raw(get("").as_bytes());
        assert_eq!(client.answer().1, b"203.0.113.7:4711 via - secure");
    }
    // A trusted proxy in front of the one with the header states how its client connected.
    let mut client = Client::tcp(server.address);
    client.raw(&header(ProxyVersion::V2, "10.0.0.1:4711"));
    let mut client = secure_client(client.stream, &authority);
    client.raw(get("X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: http\r\n").as_bytes());
    let (_, body) = client.answer();
    let body = String::from_utf8(body).unwrap();
    assert!(body.starts_with("203.0.113.7:0 via 10.0.0.1 plain"), "{body}");
    drop(client);

    // Plaintext HTTP behind the header is refused with a hint; TLS without a header is closed.
    let mut plain = Client::tcp(server.address);
    plain.raw(&header(ProxyVersion::V1, "203.0.113.7:4711"));
    plain.raw(get("").as_bytes());
    expect_refusal(&mut plain, Refusal::TlsExpected);
    let mut bare = secure_client(Client::tcp(server.address).stream, &authority);
    let mut hello = Vec::new();
    bare.stream.conn.write_tls(&mut hello).unwrap();
    bare.stream.sock.write_all(&hello).unwrap();
    bare.stream.sock.shutdown(Shutdown::Write).unwrap();
    Client::over(bare.stream.sock).expect_gone();
    let metrics = server.stop_clean();
    assert_eq!(metrics.ends["proxy_header"], 1);
}
