//! Certificates that are replaced while the server runs.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::{ClientConfig, HandshakeKind};
use weir::reactor::settings::{ClientCertificates, RouteSettings, Settings};
use weir_authority::{Authority, Files, Kind};

use super::{Secure, connect, identified, settings, trusting};
use crate::support::{ByHand, Client, TEXT, Watched};

/// A TLS echo that checks its files often.
fn watching(files: &Files, clients: ClientCertificates) -> ByHand {
    let watch = Some(Duration::from_millis(10));
    let tls = settings(files).watch(watch).clients(clients);
    ByHand::secure(Settings::default(), |reactor| {
        reactor.set_tls(tls).unwrap();
        let service = reactor.add_service(Watched::echo().0).unwrap();
        reactor.add_route("/", service, RouteSettings::default()).unwrap();
    })
}

/// Turns the server while `client` runs on a thread.
fn meanwhile<T: Send + 'static>(
    server: &mut ByHand,
    client: impl FnOnce() -> T + Send + 'static,
) -> T {
    let client = thread::spawn(client);
    server.turn_until("the client is done", |_| client.is_finished());
    client.join().unwrap()
}

/// An open WebSocket; `None` if the server's certificate is not valid for `name`.
fn try_open(server: &mut ByHand, config: &Arc<ClientConfig>, name: &'static str) -> Option<Secure> {
    let (address, config) = (server.address, Arc::clone(config));
    meanwhile(server, move || {
        let mut client = connect(address, &config, name);
        let super::Stream { conn, sock } = &mut client.stream;
        while conn.is_handshaking() {
            conn.complete_io(sock).ok()?;
        }
        let mut client = client.upgraded("/");
        client.text("?");
        client.expect(TEXT, b"?");
        Some(client)
    })
}

fn echoes<S: std::io::Read + std::io::Write + Send + 'static>(
    server: &mut ByHand,
    mut client: Client<S>,
) -> Client<S> {
    meanwhile(server, move || {
        client.text("still here");
        client.expect(TEXT, b"still here");
        client
    })
}

#[test]
fn new_connections_get_new_certificates_and_old_ones_stay_open() {
    let authority = Authority::new();
    let files = authority.server(&["localhost"]);
    let config = Arc::new(trusting(&authority));
    let mut server = watching(&files, ClientCertificates::Off);
    let old = try_open(&mut server, &config, "localhost").unwrap();

    authority.issue_to(&files, "", &["new.test"], Kind::default());
    let mut new = None;
    while new.is_none() {
        server.turn_until("a reload", |metrics| metrics.tls_reloads > 0);
        new = try_open(&mut server, &config, "new.test");
    }
    let unresumed = Arc::new(trusting(&authority));
    assert!(try_open(&mut server, &unresumed, "localhost").is_none());
    let old = echoes(&mut server, old);

    // A certificate of another key, an expired one, and a file without one: each is refused, and the
    // previous certificate stays in use.
    let good = (fs::read(&files.chain).unwrap(), fs::read(&files.key).unwrap());
    let other = fs::read(authority.server(&["other.test"]).chain).unwrap();
    let expired = Kind { is_expired: true, ..Kind::default() };
    let spoil: [&dyn Fn(); 3] = [
        &|| fs::write(&files.chain, &other).unwrap(),
        &|| authority.issue_to(&files, "", &["new.test"], expired),
        &|| fs::remove_file(&files.chain).unwrap(),
    ];
    for spoil in spoil {
        let metrics = server.reactor.metrics();
        let (reloads, refused) = (metrics.tls_reloads, metrics.tls_reloads_refused);
        spoil();
        server.turn_until("a refusal", |metrics| metrics.tls_reloads_refused > refused);
        assert!(try_open(&mut server, &Arc::new(trusting(&authority)), "new.test").is_some());
        fs::write(&files.chain, &good.0).unwrap();
        fs::write(&files.key, &good.1).unwrap();
        server.turn_until("a reload", |metrics| metrics.tls_reloads > reloads);
    }
    drop((echoes(&mut server, old), new));
    server.stop_clean();
}

#[test]
fn certificates_are_reloaded_on_request_if_files_are_not_watched() {
    let authority = Authority::new();
    let files = authority.server(&["localhost"]);
    let tls = settings(&files).watch(None);
    let mut server = ByHand::secure(Settings::default(), |reactor| {
        reactor.set_tls(tls).unwrap();
        let service = reactor.add_service(Watched::echo().0).unwrap();
        reactor.add_route("/", service, RouteSettings::default()).unwrap();
    });
    authority.issue_to(&files, "", &["new.test"], Kind::default());
    assert!(try_open(&mut server, &Arc::new(trusting(&authority)), "new.test").is_none());
    server.reactor.reload_certificates();
    server.turn_until("a reload", |metrics| metrics.tls_reloads > 0);
    let client = try_open(&mut server, &Arc::new(trusting(&authority)), "new.test");
    drop(client.unwrap());
    server.stop_clean();
}

#[test]
fn sessions_survive_new_certificates_but_not_new_client_cas() {
    let authority = Authority::new();
    let own = authority.client("alice");
    for (clients, config, expected) in [
        (ClientCertificates::Off, trusting(&authority), HandshakeKind::Resumed),
        (
            ClientCertificates::Required(authority.file()),
            identified(&authority, &own),
            HandshakeKind::Full,
        ),
    ] {
        let files = authority.server(&["localhost"]);
        let config = Arc::new(config);
        let mut server = watching(&files, clients);
        try_open(&mut server, &config, "localhost").unwrap();
        authority.issue_to(&files, "", &["localhost"], Kind::default());
        server.turn_until("a reload", |metrics| metrics.tls_reloads > 0);
        let client = try_open(&mut server, &config, "localhost").unwrap();
        assert_eq!(client.stream.conn.handshake_kind(), Some(expected));
        drop(client);
        server.stop_clean();
    }
}
