//! Negotiation and resumption of TLS, and the budget of handshakes.

use std::sync::Arc;

use rustls::client::{Resumption, Tls12Resumption};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::{CipherSuite, ClientConnection, HandshakeKind, ProtocolVersion};
use weir::reactor::settings::{RouteSettings, Settings, TlsVersion};
use weir::reactor::{Metrics, Reactor};
use weir_authority::Authority;

use super::{
    Stream, TLS12, TLS13, agreed, connect, echo, refused, settings, trusting, trusting_with,
    watched,
};
use crate::support::{ByHand, Client, DEADLINE, TEXT, Watched, upgrade};

#[test]
fn the_server_chooses_the_suite() {
    let (authority, server, _seen) = echo();
    let (aes_256, chacha, aes_128) = (
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        cipher_suite::TLS13_AES_128_GCM_SHA256,
    );
    for (offered, chosen) in [
        (vec![aes_128, chacha, aes_256], CipherSuite::TLS13_AES_256_GCM_SHA384),
        (vec![aes_128, chacha], CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
        (vec![aes_128], CipherSuite::TLS13_AES_128_GCM_SHA256),
        (
            vec![
                cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            ],
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        ),
    ] {
        let is_tls13 = offered[0].tls13().is_some();
        let provider = CryptoProvider { cipher_suites: offered, ..default_provider() };
        let versions = if is_tls13 { TLS13 } else { TLS12 };
        let config = Arc::new(trusting_with(&authority, provider, versions));
        let client = agreed(server.address, &config, "localhost");
        let suite = client.stream.conn.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(suite, chosen);
    }
    server.stop_clean();
}

#[test]
fn alpn_selects_only_http_1_1() {
    let (authority, server, _seen) = echo();
    let offering = |names: &[&str]| {
        let mut config = trusting(&authority);
        config.alpn_protocols = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    };
    let client = agreed(server.address, &offering(&["h2", "http/1.1"]), "localhost");
    assert_eq!(client.stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let client = agreed(server.address, &offering(&[]), "localhost");
    assert_eq!(client.stream.conn.alpn_protocol(), None);
    let error = refused(server.address, &offering(&["h2"]), "localhost");
    assert!(error.contains("NoApplicationProtocol"), "{error}");
    assert_eq!(server.stop_clean().tls_failed, 1);
}

#[test]
fn versions_below_the_minimum_are_refused() {
    let authority = Authority::new();
    let tls = settings(&authority.server(&["localhost"])).version_min(TlsVersion::Tls13);
    let (server, _seen) = watched(tls, Settings::default(), RouteSettings::default());
    let old = Arc::new(trusting_with(&authority, default_provider(), TLS12));
    let error = refused(server.address, &old, "localhost");
    assert!(error.contains("ProtocolVersion"), "{error}");
    let new = agreed(server.address, &Arc::new(trusting(&authority)), "localhost");
    assert_eq!(new.stream.conn.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    server.stop_clean();
}

#[test]
fn sessions_are_resumed_by_ticket_and_by_id() {
    let (authority, server, _seen) = echo();
    for (versions, how) in [
        (TLS13, Tls12Resumption::SessionIdOrTickets),
        (TLS12, Tls12Resumption::SessionIdOrTickets),
        (TLS12, Tls12Resumption::SessionIdOnly),
    ] {
        let mut config = trusting_with(&authority, default_provider(), versions);
        config.resumption = Resumption::in_memory_sessions(8).tls12_resumption(how);
        let config = Arc::new(config);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let mut client = connect(server.address, &config, "localhost").upgraded("/");
            client.text("?");
            // The ticket has arrived before this echo.
            client.expect(TEXT, b"?");
            assert_eq!(client.stream.conn.handshake_kind(), Some(expected), "{versions:?} {how:?}");
            client.close(1000, "");
            client.expect_close();
        }
    }
    let metrics = server.stop_clean();
    assert_eq!((metrics.tls_handshakes_full, metrics.tls_handshakes_resumed), (3, 6));
}

#[test]
fn a_turn_does_a_few_handshakes_and_serves_other_connections() {
    const CLIENTS: usize = 50;
    /// The budget of a turn, `TLS_HANDSHAKES`.
    const BUDGET: u64 = 8;
    let authority = Authority::new();
    let tls = settings(&authority.server(&["localhost"]));
    let build = |reactor: &mut Reactor| {
        reactor.set_tls(tls).unwrap();
        let service = reactor.add_service(Watched::echo().0).unwrap();
        reactor.add_route("/", service, RouteSettings::default()).unwrap();
    };
    let mut server = ByHand::secure(Settings::default(), build);
    let plain = server.listen_plain();
    let mut witness = server.open_at(plain, "/");
    let config = Arc::new(trusting(&authority));
    // All ClientHellos have arrived before the first turn that reads one.
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = connect(server.address, &config, "localhost");
            let Stream { conn, sock } = &mut client.stream;
            conn.write_tls(sock).unwrap();
            client
        })
        .collect();
    server.turn_until("all are accepted", |metrics| metrics.accepted == CLIENTS as u64 + 1);
    witness.text("still here?");
    let received = server.reactor.metrics().messages_in;
    let written = |metrics: &Metrics| metrics.bytes_written;
    let before = written(server.reactor.metrics());
    let turns = server
        .turn_until("the message of the witness is read", |metrics| metrics.messages_in > received);
    assert!(turns <= 2, "{turns} turns until an open connection was served");
    let after = written(server.reactor.metrics());
    // A server flight has some 900 bytes: each turn has sent no more of them than the budget allows.
    assert!(after - before < (turns * BUDGET + 1) * 2_000, "{} bytes", after - before);
    let deferred = server.reactor.metrics().tls_handshakes_deferred;
    assert!(deferred >= CLIENTS as u64 - 3 * BUDGET, "{deferred}");
    witness.expect(TEXT, b"still here?");

    // All handshakes end.
    for client in &mut clients {
        let Stream { conn, sock } = &mut client.stream;
        while conn.is_handshaking() {
            while conn.wants_write() {
                conn.write_tls(sock).unwrap();
            }
            if conn.is_handshaking() {
                server.turn_until_readable(sock);
                conn.read_tls(sock).unwrap();
                conn.process_new_packets().unwrap();
            }
        }
        flush(conn, sock);
    }
    server
        .turn_until("all handshakes end", |metrics| metrics.tls_handshakes_full == CLIENTS as u64);
    drop((witness, clients));
    server.stop_clean();
}

/// Two hundred clients of a full server send their ClientHellos before admitted clients do. The admitted
/// ones do not wait for them, and no turn reads from more than one refused client.
#[test]
fn refused_clients_take_no_handshake_from_admitted_ones() {
    const REFUSED: usize = 200;
    const ADMITTED: usize = 8;
    let authority = Authority::new();
    let tls = settings(&authority.server(&["localhost"]));
    let one_per_address = Settings::default().connections_per_address(1);
    let mut server = ByHand::secure(one_per_address, |reactor| {
        reactor.set_tls(tls).unwrap();
        let service = reactor.add_service(Watched::echo().0).unwrap();
        reactor.add_route("/", service, RouteSettings::default()).unwrap();
    });
    let config = Arc::new(trusting(&authority));
    let address = server.address;
    let greet = |source: [u8; 4]| {
        let tls = ClientConnection::new(Arc::clone(&config), "localhost".try_into().unwrap());
        let stream = Client::from(source.into(), address).stream;
        let mut client = Client::over(Stream::new(tls.unwrap(), stream));
        let Stream { conn, sock } = &mut client.stream;
        conn.write_tls(sock).unwrap();
        client
    };
    let holder = greet([127, 0, 0, 2]);
    server.turn_until("the first is accepted", |metrics| metrics.accepted == 1);
    let storm: Vec<_> = (0..REFUSED).map(|_| greet([127, 0, 0, 2])).collect();
    let waiting = |metrics: &Metrics| metrics.awaiting_refusal_now == REFUSED as u64;
    server.turn_until("all wait for their refusal", waiting);

    let admitted = (0..ADMITTED as u8).map(|last| greet([127, 0, 1, last + 1]));
    let mut admitted: Vec<_> = admitted.collect();
    let accepted = (1 + REFUSED + ADMITTED) as u64;
    server.turn_until("all are accepted", |metrics| metrics.accepted == accepted);
    // Their ClientHellos are read in one turn, with at most one of a refused client.
    let before = server.reactor.metrics().clone();
    server.reactor.turn(Some(DEADLINE)).unwrap();
    for client in &mut admitted {
        let Stream { conn, sock } = &mut client.stream;
        sock.set_nonblocking(true).unwrap();
        conn.read_tls(sock).expect("the ServerHello has arrived");
        sock.set_nonblocking(false).unwrap();
        conn.process_new_packets().unwrap();
        flush(conn, sock);
    }
    let after = server.reactor.metrics().clone();
    let answered = after.bytes_written - before.bytes_written;
    assert!(answered < (ADMITTED as u64 + 1) * 2_000, "{answered} bytes");

    // A refused client is answered, too, within a budget of its own: two reads each, one per turn.
    let mut before = server.reactor.metrics().clone();
    let mut storm = storm;
    for client in storm.iter_mut().take(3) {
        let Stream { conn, sock } = &mut client.stream;
        while conn.is_handshaking() {
            server.turn_until_readable(sock);
            conn.read_tls(sock).unwrap();
            conn.process_new_packets().unwrap();
            flush(conn, sock);
        }
        client.raw(upgrade("/", "").as_bytes());
        server.turn_until("it is refused", |metrics| metrics.refused > before.refused);
        before = server.reactor.metrics().clone();
        assert!(client.head().starts_with("HTTP/1.1 429 "));
    }
    drop((holder, storm, admitted));
    server.stop_clean();
}

fn flush(conn: &mut ClientConnection, sock: &mut std::net::TcpStream) {
    while conn.wants_write() {
        conn.write_tls(sock).unwrap();
    }
}
