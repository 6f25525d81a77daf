//! Outbound connections with TLS.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};

use weir::protocol::Message;
use weir::protocol::handshake::ClientRequest;
use weir::reactor::settings::{CertificateFiles, ClientCertificates, RouteSettings, Settings};
use weir::reactor::{
    CloseReason, ConnId, Connect, Context, RouteId, Service, TlsConnector, TlsError,
};
use weir_authority::Authority;

use super::{certificate, echo, settings, watched};
use crate::support::{DEADLINE, Server};

/// An event that a [`Caller`] reports.
#[derive(Debug, PartialEq)]
enum Report {
    Message(Vec<u8>),
    Closed(CloseReason),
}

/// Connects at the start, and sends one message.
struct Caller {
    connector: TlsConnector,
    address: SocketAddr,
    route: Option<RouteId>,
    payload: Vec<u8>,
    sender: Sender<Report>,
}

impl Service for Caller {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        let request = ClientRequest::new(&self.address.to_string(), "/").unwrap();
        let route = self.route.unwrap_or_default();
        let to = Connect::to(self.address).tls(&self.connector);
        cx.connect(to, route, &request).unwrap();
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let _ = cx.send(conn, &self.payload[..]);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        self.sender.send(Report::Message(message.as_bytes().to_vec())).unwrap();
        cx.close(conn, weir::protocol::CloseCode::NORMAL, "");
    }

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, why: CloseReason) {
        self.sender.send(Report::Closed(why)).unwrap();
    }
}

fn call(
    address: SocketAddr,
    connector: TlsConnector,
    payload: Vec<u8>,
) -> (Server, Receiver<Report>) {
    let (sender, receiver) = channel();
    let server = Server::start(Settings::default(), move |reactor| {
        // The route of its connections is known only after the service is added.
        let caller = Caller { connector, address, route: None, payload, sender };
        let service = reactor.add_service(caller).unwrap();
        reactor.add_outbound(service, RouteSettings::default()).unwrap();
    });
    (server, receiver)
}

#[test]
fn a_service_connects_to_a_tls_server() {
    let (authority, server, _seen) = echo();
    for connector in [
        TlsConnector::trusting("localhost", &authority.file()).unwrap(),
        TlsConnector::insecure("elsewhere.test").unwrap(),
    ] {
        let payload = vec![9; 200_000];
        let (client, receiver) = call(server.address, connector, payload.clone());
        assert!(receiver.recv_timeout(DEADLINE).unwrap() == Report::Message(payload));
        let Report::Closed(why) = receiver.recv_timeout(DEADLINE).unwrap() else {
            panic!("no end")
        };
        assert!(matches!(why, CloseReason::Service(_)), "{why}");
        assert_eq!(client.stop_clean().tls_handshakes_full, 1);
    }
    server.stop_clean();
}

#[test]
fn a_server_with_an_untrusted_certificate_is_refused() {
    let (authority, server, _seen) = echo();
    let stranger = Authority::new();
    for connector in [
        TlsConnector::trusting("elsewhere.test", &authority.file()).unwrap(),
        TlsConnector::trusting("localhost", &stranger.file()).unwrap(),
    ] {
        let (client, receiver) = call(server.address, connector, vec![1]);
        assert_eq!(
            receiver.recv_timeout(DEADLINE).unwrap(),
            Report::Closed(CloseReason::TlsFailed)
        );
        assert_eq!(client.stop_clean().tls_failed, 1);
    }
    server.stop_clean();
    let bad = TlsConnector::insecure("no name");
    assert!(matches!(bad, Err(TlsError::ServerName(_))));
}

#[test]
fn a_connector_verifies_the_name_that_it_is_given() {
    let (authority, server, _seen) = echo();
    let elsewhere = TlsConnector::trusting("elsewhere.test", &authority.file()).unwrap();
    let (client, receiver) = call(server.address, elsewhere.named("localhost").unwrap(), vec![7]);
    assert_eq!(receiver.recv_timeout(DEADLINE).unwrap(), Report::Message(vec![7]));
    client.stop_clean();
    let (client, receiver) = call(server.address, elsewhere, vec![7]);
    assert_eq!(receiver.recv_timeout(DEADLINE).unwrap(), Report::Closed(CloseReason::TlsFailed));
    client.stop_clean();
    server.stop_clean();
    let bad = TlsConnector::insecure("localhost").unwrap().named("no name");
    assert!(matches!(bad, Err(TlsError::ServerName(_))));
}

#[test]
fn a_client_certificate_is_presented_to_servers_that_require_one() {
    let authority = Authority::new();
    let required = ClientCertificates::Required(authority.file());
    let tls = settings(&authority.server(&["localhost"])).clients(required);
    let (server, _seen) = watched(tls, Settings::default(), RouteSettings::default());
    let trusting = || TlsConnector::trusting("localhost", &authority.file()).unwrap();
    let own = certificate(&authority.client("weir"));
    let strange = certificate(&Authority::new().client("weir"));
    assert!(matches!(trusting().with_certificate(&strange), Err(TlsError::Unreadable(..))));
    let stranger = Authority::new();
    let strange = certificate(&stranger.client("weir"));
    for (connector, is_accepted) in [
        (trusting().with_certificate(&own).unwrap(), true),
        (trusting().with_certificate(&own).unwrap().named("localhost").unwrap(), true),
        (trusting(), false),
        (trusting().with_certificate(&strange).unwrap(), false),
    ] {
        let (client, receiver) = call(server.address, connector, vec![7]);
        let report = receiver.recv_timeout(DEADLINE).unwrap();
        match is_accepted {
            true => assert_eq!(report, Report::Message(vec![7])),
            false => assert!(matches!(report, Report::Closed(_)), "{report:?}"),
        }
        client.stop_clean();
    }
    server.stop_clean();
    let mixed = CertificateFiles::new(own.chain, certificate(&authority.client("other")).key);
    let refused = trusting().with_certificate(&mixed);
    assert!(matches!(refused, Err(TlsError::KeyMismatch(..))));
}
