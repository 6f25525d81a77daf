//! The addresses of clients: rates of requests per address, and addresses that trusted proxies state,
//! in headers of requests and in PROXY headers.

mod counting;
mod forwarded;
mod proxy_header;
mod requests;
mod retrusted;

use std::net::SocketAddr;

use weir::protocol::Message;
use weir::protocol::handshake::{Request, Response};
use weir::reactor::settings::{ListenSettings, RouteSettings, Settings};
use weir::reactor::{ConnId, Context, Decision, HttpRequest, Reactor, Service, UpgradeRequest};

use crate::support::{ByHand, Client, Server, TEXT, any};

/// Headers by which proxies describe earlier hops.
const HOPS: [&str; 8] = [
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "x_forwarded_for",
    "Forwarded",
    "X-Real-IP",
    "CF-Connecting-IP",
    "True-Client-IP",
];

/// Answers each GET with what it states about the client. Replies to each message with the address in
/// the record of the connection, or to `clients` with the number of connections of clients.
struct Reporting;

/// Address, proxy, encryption, and the headers about earlier hops, as in
/// `192.0.2.1:0 via 127.0.0.1 plain X-Forwarded-For`.
fn report(
    http: &Request<'_>,
    peer: SocketAddr,
    via: Option<SocketAddr>,
    is_secure: bool,
) -> String {
    let via = via.map_or("-".to_owned(), |via| via.ip().to_string());
    let scheme = if is_secure { "secure" } else { "plain" };
    let peer = peer.to_string();
    let seen = HOPS.into_iter().filter(|name| http.has_header(name));
    [&*peer, "via", &via, scheme].into_iter().chain(seen).collect::<Vec<_>>().join(" ")
}

impl Service for Reporting {
    fn methods(&self) -> &'static [&'static str] {
        &["GET", "POST"]
    }

    fn on_http(
        &mut self,
        _: &mut Context<'_>,
        _: ConnId,
        request: &HttpRequest<'_>,
    ) -> Option<Response> {
        let HttpRequest { http, peer, via, is_secure, .. } = *request;
        Some(Response::text(200, report(http, peer, via, is_secure)))
    }

    fn on_request(
        &mut self,
        _: &mut Context<'_>,
        _: ConnId,
        request: &UpgradeRequest<'_>,
    ) -> Decision {
        let UpgradeRequest { http, peer, via, is_secure, .. } = *request;
        let report = report(http, peer, via, is_secure);
        Decision::Accept(request.accept().header("X-Report", &report).unwrap())
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let reply = match message {
            Message::Text("clients") => cx.occupancy().clients.to_string(),
            _ => cx.record(conn).unwrap().peer.to_string(),
        };
        let _ = cx.send(conn, &*reply);
    }
}

/// Adds [`Reporting`] at `/`.
fn add_reporting(reactor: &mut Reactor, route: RouteSettings) {
    let service = reactor.add_service(Reporting).unwrap();
    reactor.add_route("/", service, route).unwrap();
}

/// A server that trusts these proxies.
fn trusting(trusted: &[&str]) -> Settings {
    let prefixes = trusted.iter().map(|prefix| prefix.parse().unwrap());
    Settings::default().trusted_proxies(prefixes.collect())
}

fn reporting(settings: Settings) -> Server {
    Server::start(settings, |reactor| add_reporting(reactor, RouteSettings::default()))
}

/// [`Reporting`] at `/`, at a listener that requires PROXY headers; turned by hand.
fn behind_proxy(settings: Settings) -> ByHand {
    let listen = ListenSettings::new(any()).proxy_header(true);
    ByHand::listening(listen, settings, |reactor| {
        add_reporting(reactor, RouteSettings::default());
    })
}

fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

/// The report about a GET with these additional header lines, each ended by CR LF.
fn ask(client: &mut Client, lines: &str) -> String {
    client.raw(get(lines).as_bytes());
    let (head, body) = client.answer();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    String::from_utf8(body).unwrap()
}

/// The number of connections of clients, counted by a client of its own.
fn clients(client: &mut Client) -> String {
    client.text("clients");
    let frame = client.frame();
    assert_eq!(frame.opcode, TEXT);
    String::from_utf8(frame.payload).unwrap()
}
