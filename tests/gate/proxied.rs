//! Gates in front of the proxy: tunnels that expire, bodies that wait for the verdict.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};

use weir::protocol::CloseCode;
use weir::reactor::settings::{GateSettings, RefuseBy, RouteSettings, Settings};
use weir::reactor::{CloseReason, Priority};
use weir::services::proxy::{PoolSettings, Proxy, ProxySettings};

use super::{Noted, Scripted};
use crate::proxy::scripted::Scripted as Upstream;
use crate::support::{Client, Server, TEXT, header, next_end, upgrade};

/// A proxy whose only route has a gate, in front of this upstream.
fn proxied(upstream: SocketAddr, route: RouteSettings) -> (Server, Receiver<Noted>) {
    proxied_with(Settings::default(), upstream, route)
}

fn proxied_with(
    settings: Settings,
    upstream: SocketAddr,
    route: RouteSettings,
) -> (Server, Receiver<Noted>) {
    let (notes, noted) = channel();
    let url = format!("http://{upstream}");
    let server = Server::start(settings, move |reactor| {
        let scripted = Scripted { notes, later: Vec::new() };
        let gate = reactor.add_gate(scripted, GateSettings::default()).unwrap();
        let outbound = reactor.add_outbound(reactor.next_service_id(), RouteSettings::default());
        let pool = PoolSettings::new("nodes".to_owned(), vec![url.parse().unwrap()]);
        let proxy = Proxy::new(vec![pool], outbound.unwrap()).unwrap();
        let routes = proxy.routes();
        let service = reactor.add_service(proxy).unwrap();
        let route = reactor.add_route("/*", service, route.gate(gate)).unwrap();
        routes.set(route, ProxySettings::new("nodes".to_owned())).unwrap();
    });
    (server, noted)
}

#[test]
fn a_tunnel_ends_when_the_identity_of_its_client_expires() {
    let (upstream, seen) = Server::watched(Settings::default(), RouteSettings::default());
    let (server, _noted) = proxied(upstream.address, RouteSettings::default());
    let mut client = Client::open_with(server.address, "/", "X-Token: ann;exp=1500\r\n").0;
    client.text("hello");
    client.expect(TEXT, b"hello");
    assert_eq!(client.expect_close(), (3000, "token expired".to_owned()));
    client.close(3000, "");
    assert_eq!(next_end(&seen), CloseReason::PeerClosed(Some(CloseCode::GOING_AWAY)));
    drop(client);
    let metrics = server.stop();
    assert_eq!(metrics.ends["expired"], 1);
}

#[test]
fn a_body_is_forwarded_after_the_verdict_only() {
    let upstream = Upstream::persistent(|client, head| {
        let len = header(head, "Content-Length").map_or(0, |len| len.parse().unwrap());
        let body = client.bytes(len);
        client.raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n").as_bytes());
        client.raw(&body);
    });
    let origins = vec!["https://good.example".to_owned()];
    let (server, noted) = proxied(upstream.address, RouteSettings::default().origins(origins));
    let post = |token: &str, lines: &str| {
        format!("POST /a HTTP/1.1\r\nHost: a\r\n{token}Content-Length: 5\r\n{lines}\r\nhello")
    };
    let mut client = Client::tcp(server.address);
    for token in ["X-Token: ann\r\n", "X-Token: later ann\r\n"] {
        client.raw(post(token, "").as_bytes());
        let (head, body) = client.answer();
        assert!(head.starts_with("HTTP/1.1 200 ") && body == b"hello", "{head}");
        let head = upstream.head();
        assert_eq!(header(&head, "X-Weir-User"), Some("ann"), "{head}");
        assert!(header(&head, "X-Token").unwrap().bytes().all(|byte| byte == b'*'), "{head}");
    }
    for (token, lines, status) in [
        ("", "", "401"),
        ("X-Token: later refused\r\n", "", "403"),
        ("X-Token: ann\r\n", "Origin: https://evil.example\r\n", "403"),
    ] {
        let head = Client::tcp(server.address).request(&post(token, lines));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
    // The upstream itself answers a preflight request: browsers send it without credentials.
    let mut client = Client::tcp(server.address);
    client.raw(b"OPTIONS /a HTTP/1.1\r\nHost: a\r\nOrigin: https://evil.example\r\n\r\n");
    assert!(client.answer().0.starts_with("HTTP/1.1 200 "));
    assert!(upstream.head().starts_with("OPTIONS "), "it got none of the refused requests");
    server.stop();
    let closed: Vec<_> =
        noted.try_iter().filter(|noted| matches!(noted, Noted::GateClosed(_))).collect();
    assert!(closed.is_empty(), "{closed:?}");
}

#[test]
fn a_plain_connection_in_the_reserve_ends_after_the_response_of_its_upstream() {
    let upstream = Upstream::persistent(|client, _| {
        client.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let settings = Settings::default().levels(false).connections_max(2).reserve_percent(50);
    let route = RouteSettings::default().priority(Priority::High);
    let (server, _noted) = proxied_with(settings, upstream.address, route);
    let get = |client: &mut Client| {
        client.raw(b"GET /a HTTP/1.1\r\nHost: a\r\nX-Token: ann\r\n\r\n");
        let (head, body) = client.answer();
        assert!(head.starts_with("HTTP/1.1 200 ") && body == b"ok", "{head}");
        header(&head, "Connection").map(str::to_owned)
    };
    let (mut first, mut second) = (Client::tcp(server.address), Client::tcp(server.address));
    assert_ne!(get(&mut first).as_deref(), Some("close"));
    assert_eq!(get(&mut second).as_deref(), Some("close"));
    second.expect_end();
    assert_ne!(get(&mut first).as_deref(), Some("close"), "it is not in the reserve");
}

/// It is no refusal of weir: `refuse` does not change what is forwarded.
#[test]
fn a_response_of_an_upstream_to_an_upgrade_keeps_its_status() {
    let upstream = Upstream::persistent(|client, _| {
        client.raw(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone");
    });
    let route = RouteSettings::default().refuse(RefuseBy::Close);
    let (server, _noted) = proxied(upstream.address, route);
    let mut client = Client::tcp(server.address);
    client.raw(upgrade("/", "X-Token: ann\r\n").as_bytes());
    let (head, body) = client.answer();
    assert!(head.starts_with("HTTP/1.1 404 ") && body == b"none", "{head}");
    // A 404 of the gate is one of weir.
    let head = Client::tcp(server.address).request(&upgrade("/", "X-Token: missing\r\n"));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

#[test]
fn a_client_that_waits_for_its_upstream_is_refused_by_a_close() {
    let upstream = Upstream::new(|_, _| {});
    let route = RouteSettings::default().refuse(RefuseBy::Close);
    let (server, noted) = proxied(upstream.address, route);
    let mut client = Client::tcp(server.address);
    let head = client.request(&upgrade("/", "X-Token: ann\r\n"));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (code, reason) = client.expect_close();
    assert_eq!(code, 1013, "{reason}");
    client.close(code, "");
    client.expect_end();
    drop(client);
    server.stop_clean();
    assert!(noted.try_iter().all(|noted| matches!(noted, Noted::Asked(_))));
}
