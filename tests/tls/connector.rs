//! Outbound connections with TLS.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};

use weir::protocol::Message;
use weir::protocol::handshake::ClientRequest;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{
    CloseReason, ConnId, Connect, Context, RouteId, Service, TlsConnector, TlsError,
};
use weir_authority::Authority;

use super::echo;
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
