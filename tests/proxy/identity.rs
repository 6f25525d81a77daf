//! Routes with a gate: an upstream gets the identity of the client, and nothing of its credentials.

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use weir::protocol::Message;
use weir::reactor::settings::{GateSettings, RouteSettings, Settings};
use weir::reactor::{ConnId, Context, Gate, GateRequest, Identity, Reactor, Service, Verdict};
use weir::services::proxy::{PoolSettings, Proxy, ProxySettings};

use super::scripted::Scripted;
use crate::support::{ByHand, Client, Server, any, header, upgrade};

const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl";

/// Marks each [`TOKEN`] in a head, and passes the request with an identity.
struct Marking {
    is_known: bool,
}

impl Service for Marking {
    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

impl Gate for Marking {
    fn on_gate(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &GateRequest<'_>,
    ) -> Verdict {
        let len = TOKEN.len();
        for part in request.head.windows(len).filter(|part| *part == TOKEN.as_bytes()) {
            assert!(cx.redact(conn, part));
        }
        if !self.is_known {
            return Verdict::Pass(None);
        }
        let mut identity = Identity::new("Zo\u{eb}").unwrap();
        identity.expires = Some(cx.now() + Duration::from_secs(1000));
        identity.metadata.add("role", "admin").unwrap();
        identity.metadata.add("note", "a\nb").unwrap();
        Verdict::Pass(Some(Box::new(identity)))
    }
}

/// Adds a proxy, whose only route has a gate.
fn add_gated(reactor: &mut Reactor, url: &str, is_known: bool) {
    let gate = reactor.add_gate(Marking { is_known }, GateSettings::default()).unwrap();
    let outbound = reactor.add_outbound(reactor.next_service_id(), RouteSettings::default());
    let pool = PoolSettings::new("nodes".to_owned(), vec![url.parse().unwrap()]);
    let proxy = Proxy::new(vec![pool], outbound.unwrap()).unwrap();
    let routes = proxy.routes();
    let service = reactor.add_service(proxy).unwrap();
    let route = reactor.add_route("/*", service, RouteSettings::default().gate(gate)).unwrap();
    routes.set(route, ProxySettings::new("nodes".to_owned())).unwrap();
}

fn gated(upstream: &Scripted, is_known: bool) -> Server {
    let url = upstream.url();
    Server::start(Settings::default(), move |reactor| add_gated(reactor, &url, is_known))
}

/// The lines of a head whose names start with this, as they are.
fn lines<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    head.lines().filter(|line| line.to_ascii_lowercase().starts_with(name)).collect()
}

#[test]
fn an_upstream_gets_the_identity_and_no_credentials() {
    let upstream = Scripted::accepting("");
    let server = gated(&upstream, true);
    let client = |target: &str, lines: &str| {
        let mut client = Client::tcp(server.address);
        let head = client.request(&upgrade(target, lines));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        (head, upstream.head())
    };
    let spoofed = "X-Weir-User: root\r\nx-weir-meta-role: root\r\n";
    // The rest of the identity's time starts now, not with the loop. Only time can be waited for.
    thread::sleep(Duration::from_millis(1_100));
    for (target, credentials) in [
        ("/a?b=1", format!("Authorization: Bearer {TOKEN}\r\n")),
        ("/a?b=1", format!("Cookie: t={TOKEN}\r\n")),
        (&format!("/a?t={TOKEN}&b=1"), String::new()),
        ("/a?b=1", format!("Sec-WebSocket-Protocol: weir.token, weir.token.{TOKEN}\r\n")),
    ] {
        let (_, head) = client(target, &format!("{spoofed}{credentials}"));
        assert!(head.starts_with("GET /a?b=1 HTTP/1.1\r\n"), "{head}");
        for part in [TOKEN, "***", "root", "weir.token"] {
            assert!(!head.contains(part), "{part} in {head}");
        }
        for name in ["authorization", "cookie", "sec-websocket-protocol"] {
            assert_eq!(lines(&head, name), [""; 0], "{credentials}");
        }
        let own = ["X-Weir-User: Zo%C3%AB", "X-Weir-Meta-role: admin", "X-Weir-Meta-note: a%0Ab"];
        let mut found = lines(&head, "x-weir-");
        let expires = header(&head, "X-Weir-Expires").unwrap();
        assert!((900..=1000).contains(&expires.parse::<u32>().unwrap()), "{expires}");
        found.retain(|line| !line.starts_with("X-Weir-Expires: "));
        assert_eq!(found, own);
    }
}

#[test]
fn a_browser_that_offers_a_token_gets_a_subprotocol() {
    let offers = format!("Sec-WebSocket-Protocol: weir.token, weir.token.{TOKEN}, chat\r\n");
    for (selected, expected) in [("", "weir.token"), ("Sec-WebSocket-Protocol: chat\r\n", "chat")] {
        let upstream = Scripted::accepting(selected);
        let server = gated(&upstream, true);
        let head = Client::tcp(server.address).request(&upgrade("/", &offers));
        assert_eq!(header(&head, "Sec-WebSocket-Protocol"), Some(expected), "{head}");
        assert_eq!(lines(&head, "sec-websocket-protocol").len(), 1);
        assert_eq!(header(&upstream.head(), "Sec-WebSocket-Protocol"), Some("chat"));
    }
}

#[test]
fn offers_of_tokens_for_an_upstream_pass() {
    let upstream = Scripted::accepting("Sec-WebSocket-Protocol: weir.token\r\n");
    let server = gated(&upstream, false);
    let offers = "Sec-WebSocket-Protocol: weir.token, weir.token.of-the-upstream\r\n";
    let head = Client::tcp(server.address).request(&upgrade("/", offers));
    assert_eq!(header(&head, "Sec-WebSocket-Protocol"), Some("weir.token"), "{head}");
    let head = upstream.head();
    let offered = header(&head, "Sec-WebSocket-Protocol");
    assert_eq!(offered, Some("weir.token, weir.token.of-the-upstream"));
    assert_eq!(lines(&head, "x-weir-"), [""; 0], "no identity");
}

#[test]
fn requests_without_upgrade_have_the_identity_too() {
    let upstream = Scripted::persistent(|client, _| {
        client.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let server = gated(&upstream, true);
    let mut client = Client::tcp(server.address);
    for _ in 0..2 {
        let request =
            format!("GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
        client.raw(request.as_bytes());
        client.answer();
        let head = upstream.head();
        assert_eq!(header(&head, "X-Weir-User"), Some("Zo%C3%AB"));
        assert_eq!(lines(&head, "authorization"), [""; 0]);
    }
}

/// The upstream has the request, and does not answer.
#[test]
fn the_headers_about_an_identity_count_as_memory() {
    let held = |is_known: bool| {
        let upstream = TcpListener::bind(any()).unwrap();
        let url = format!("http://{}", upstream.local_addr().unwrap());
        let mut server =
            ByHand::new(Settings::default(), |reactor| add_gated(reactor, &url, is_known));
        let mut client = Client::tcp(server.address);
        client.raw(upgrade("/", "").as_bytes());
        server.turn_until("the proxy connects", |metrics| metrics.connects == 1);
        let (stream, _) = upstream.accept().unwrap();
        server.turn_until_readable(&stream);
        server.reactor.metrics().buffered_now
    };
    let (with, without) = (held(true), held(false));
    assert!(with >= without + 70, "{with} and {without} bytes");
}
