//! Decisions of a service on requests: at once, later, or never.

use std::sync::Arc;
use std::time::Duration;

use weir::protocol::handshake::{Accept, Refusal, Response};
use weir::protocol::{CloseCode, Piece};
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{CloseReason, ConnId, Decision};

use crate::puppet::{Puppet, Report, Strings};
use crate::support::{Client, DEADLINE, Server, TEXT, frame, upgrade};

fn teapot() -> Response {
    Response::text(418, "no coffee").header("X-Pot", "short").unwrap()
}

/// A service that defers every request, and a client whose request waits.
fn deferred(settings: Settings, behind: &[u8]) -> (Server, Strings, Client, ConnId) {
    let (mut puppet, strings) = Puppet::new();
    let (sender, asked) = std::sync::mpsc::channel();
    puppet.on_request = Box::new(move |_, id, _| {
        sender.send(id).unwrap();
        Decision::Defer
    });
    let server = puppet.serve(settings, RouteSettings::default());
    let mut client = Client::tcp(server.address);
    client.raw(&[upgrade("/", "").as_bytes(), behind].concat());
    let id = asked.recv_timeout(DEADLINE).unwrap();
    (server, strings, client, id)
}

#[test]
fn a_deferred_request_is_accepted_later_with_the_frames_sent_meanwhile() {
    let (_server, strings, mut client, id) =
        deferred(Settings::default(), &frame(true, TEXT, b"behind the head"));
    client.text("after a while");
    strings.run(move |cx| {
        let record = cx.record(id).unwrap();
        assert_eq!((record.is_open, record.path), (false, "/"));
        assert_eq!(cx.send(id, "too soon"), weir::reactor::SendOutcome::Gone);
    });
    strings.expect_no_report();
    strings.run(move |cx| cx.accept(id, Accept::new()));
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(strings.next(), Report::Opened(id));
    for text in ["behind the head", "after a while"] {
        assert_eq!(strings.next(), Report::Text(id, text.to_owned()));
    }
}

#[test]
fn a_deferred_upgrade_can_get_an_http_response() {
    let (_server, strings, mut client, id) = deferred(Settings::default(), b"");
    strings.run(move |cx| cx.respond(id, teapot()));
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 418 ") && head.contains("X-Pot: short\r\n"), "{head}");
    assert_eq!(client.bytes(9), b"no coffee");
    client.expect_end();
    drop(client);
    assert_eq!(strings.next(), Report::Closed(id, CloseReason::HttpDone));
    strings.expect_no_report();
}

#[test]
fn a_deferred_request_can_be_refused() {
    let (server, strings, mut client, id) = deferred(Settings::default(), b"");
    strings.run(move |cx| {
        cx.refuse(id, Refusal::RouteFull);
        cx.accept(id, Accept::new());
    });
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(strings.closed(), (id, CloseReason::Refused(Refusal::RouteFull)));
    drop(client);
    let metrics = server.stop();
    assert_eq!((metrics.opened, metrics.refusals.get("route_full")), (0, Some(&1)));
}

#[test]
fn responses_may_share_a_piece() {
    const CLIENTS: usize = 20;
    let (mut puppet, strings) = Puppet::new();
    let (sender, asked) = std::sync::mpsc::channel();
    puppet.on_request = Box::new(move |_, id, _| {
        sender.send(id).unwrap();
        Decision::Defer
    });
    let server = puppet.serve_plain();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::tcp(server.address)).collect();
    clients.iter_mut().for_each(|client| client.raw(upgrade("/", "").as_bytes()));
    let ids: Vec<ConnId> = (0..CLIENTS).map(|_| asked.recv_timeout(DEADLINE).unwrap()).collect();
    strings.run(move |cx| {
        let shared: Arc<[u8]> = vec![b'x'; 5_000_000].into();
        for &id in &ids {
            let body: Vec<Piece> =
                vec![vec![b'['].into(), Arc::clone(&shared).into(), vec![b']'].into()];
            cx.respond(id, Response::new(200, "text/plain", body));
        }
    });
    for client in &mut clients {
        let (head, body) = client.answer();
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Content-Length: 5000002\r\n"));
        assert!(body == [&b"["[..], &[b'x'; 5_000_000], b"]"].concat());
        client.expect_end();
    }
    drop(clients);
    server.stop_clean();
}

#[test]
fn the_first_decision_counts() {
    let (_server, strings, mut client, id) = deferred(Settings::default(), b"");
    strings.run(move |cx| {
        cx.accept(id, Accept::new());
        cx.respond(id, teapot());
        cx.accept(id, Accept::new());
    });
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(strings.next(), Report::Opened(id));
    strings.run(move |cx| cx.respond(id, teapot()));
    client.text("open");
    assert_eq!(strings.next(), Report::Text(id, "open".to_owned()));
    strings.expect_no_report();

    let (server, strings, mut client, id) = deferred(Settings::default(), b"");
    strings.run(move |cx| {
        cx.respond(id, teapot());
        cx.accept(id, Accept::new());
    });
    assert!(client.head().starts_with("HTTP/1.1 418 "));
    assert_eq!(client.bytes(9), b"no coffee");
    client.expect_end();
    drop(client);
    assert_eq!(server.stop().opened, 0);
    assert_eq!(strings.rest(), [Report::Closed(id, CloseReason::HttpDone)]);
}

#[test]
fn the_handshake_timeout_ends_a_request_without_a_decision() {
    let settings = Settings::default().handshake_timeout(Duration::from_millis(200));
    let (_server, strings, mut client, id) = deferred(settings, b"");
    assert_eq!(strings.next(), Report::Closed(id, CloseReason::HandshakeTimeout));
    client.expect_gone();
    strings.run(move |cx| cx.accept(id, Accept::new()));
    strings.expect_no_report();
}

#[test]
fn a_client_that_leaves_before_the_decision_is_closed_once() {
    for is_accepted in [true, false] {
        let (server, strings, client, id) = deferred(Settings::default(), b"");
        drop(client);
        strings.run(move |cx| match is_accepted {
            true => cx.accept(id, Accept::new()),
            false => cx.respond(id, teapot()),
        });
        let (gone, _) = strings.closed();
        assert_eq!(gone, id);
        strings.expect_no_report();
        let metrics = server.stop();
        assert_eq!((metrics.accepted, metrics.connections_now, metrics.buffered_now), (1, 0, 0));
    }
}

#[test]
fn a_request_refused_at_once_is_not_reported_as_closed() {
    let (mut puppet, strings) = Puppet::new();
    puppet.on_request = Box::new(|_, _, _| Decision::Respond(teapot()));
    let server = puppet.serve_plain();
    let mut client = Client::tcp(server.address);
    let head = client.request(&upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 418 ") && head.contains("X-Pot: short\r\n"), "{head}");
    assert!(head.contains("Connection: close\r\n"), "{head}");
    assert_eq!(client.bytes(9), b"no coffee");
    client.expect_end();
    drop(client);
    server.stop();
    assert_eq!(strings.rest(), []);
}

#[test]
fn a_request_can_be_dropped_without_an_answer() {
    for decision in [Decision::Accept(Accept::new()), Decision::Defer, Decision::Respond(teapot())]
    {
        let is_known = !matches!(decision, Decision::Respond(_));
        let (mut puppet, strings) = Puppet::new();
        puppet.on_request = Box::new(move |cx, id, _| {
            cx.close(id, CloseCode::POLICY, "");
            decision.clone()
        });
        let server = puppet.serve_plain();
        let mut client = Client::tcp(server.address);
        client.raw(upgrade("/", "").as_bytes());
        client.expect_end();
        let metrics = server.stop();
        assert_eq!((metrics.opened, metrics.ended_service), (0, 1));
        // Accepted and deferred connections are reported as closed.
        assert_eq!(strings.rest().len(), usize::from(is_known));
    }
}

#[test]
fn a_service_sees_all_headers_in_order() {
    let (mut puppet, _strings) = Puppet::new();
    puppet.on_request = Box::new(|_, _, request| {
        let all = request.http.all_headers();
        let added = all.skip_while(|(name, _)| *name != "X-First");
        let lines = added.map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)));
        Decision::Respond(Response::text(403, lines.collect::<Vec<_>>().join("\n")))
    });
    let server = puppet.serve_plain();
    let mut client = Client::tcp(server.address);
    client.raw(upgrade("/", "X-First: 1\r\ncookie: a\r\nCookie:  b \r\nx-first: 2\r\n").as_bytes());
    let (head, body) = client.answer();
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert_eq!(String::from_utf8(body).unwrap(), "X-First=1\ncookie=a\nCookie=b\nx-first=2");
}
