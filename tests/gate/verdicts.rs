//! What a gate sees, what each verdict does, and what the service behind it sees.

use std::io::Write;
use std::sync::mpsc::channel;
use std::time::Duration;

use weir::protocol::Message;
use weir::protocol::handshake::{Refusal, Response};
use weir::reactor::settings::{GateSettings, Rate, RouteSettings, Settings};
use weir::reactor::{
    CloseReason, ConnId, Context, Decision, HttpRequest, Page, RouteError, RouteId, Service,
    UpgradeRequest,
};

use super::{Noted, build, gated, next, next_after_asked};
use crate::support::{ByHand, Client, Server, TEXT, frame, header, upgrade};

fn start() -> (Server, std::sync::mpsc::Receiver<Noted>) {
    gated(Settings::default(), GateSettings::default(), RouteSettings::default())
}

fn post(token: &str, lines: &str, body: &str) -> String {
    let len = body.len();
    format!(
        "POST / HTTP/1.1\r\nHost: a\r\nX-Token: {token}\r\nContent-Length: {len}\r\n{lines}\r\n{body}"
    )
}

#[test]
fn a_passed_upgrade_opens_with_its_identity_and_without_its_token() {
    let (server, noted) = start();
    let mut client = Client::tcp(server.address);
    let request = upgrade("/?a=1", "X-Token: ann;role=editor\r\nX-Other: kept\r\n");
    // The first frame follows the head at once.
    client.raw(&[request.as_bytes(), &frame(true, TEXT, b"who")].concat());
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    client.expect(TEXT, b"ann");
    let Noted::Asked(asked) = next(&noted) else { panic!() };
    assert_eq!(asked, request, "the gate sees the head as it was sent");
    let Noted::Passed { head, subject, role } = next(&noted) else { panic!() };
    assert_eq!(head, request.replace("ann;role=editor", "***************"));
    assert_eq!((subject.as_deref(), role.as_deref()), (Some("ann"), Some("editor")));
    drop(client);
    server.stop_clean();
}

#[test]
fn a_head_in_parts_is_overwritten_too() {
    let (server, noted) = start();
    let mut client = Client::tcp(server.address);
    let request = upgrade("/", "X-Token: ann\r\n");
    for byte in request.bytes() {
        client.raw(&[byte]);
    }
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    let Noted::Passed { head, .. } = next_after_asked(&noted) else { panic!() };
    assert_eq!(head, request.replace("ann", "***"));
}

#[test]
fn a_gate_may_pass_a_request_without_an_identity() {
    let (server, noted) = start();
    let (mut client, _) = Client::open_with(server.address, "/", "X-Token: none\r\n");
    client.text("who");
    client.expect(TEXT, b"");
    let Noted::Passed { subject, .. } = next_after_asked(&noted) else { panic!() };
    assert_eq!(subject, None);
}

#[test]
fn a_refusal_of_the_gate_ends_the_connection() {
    let (server, noted) = start();
    let cases = [
        ("", Refusal::Unauthorized, "WWW-Authenticate: Bearer"),
        ("X-Token: forbid\r\n", Refusal::Forbidden, "X-WebSocket-Error: forbidden"),
        ("X-Token: missing\r\n", Refusal::NotFound, "X-Own: 1"),
        ("X-Token: panic\r\n", Refusal::Internal, "X-WebSocket-Error: internal error"),
    ];
    for (lines, refusal, line) in cases {
        for request in [upgrade("/", lines), format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")] {
            let mut client = Client::tcp(server.address);
            client.raw(format!("{request}GET / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
            let (head, _) = client.answer();
            assert!(head.starts_with(&format!("HTTP/1.1 {} ", refusal.status())), "{head}");
            assert!(head.contains(line), "{head}");
            assert_eq!(header(&head, "Connection"), Some("close"));
            client.expect_end();
            assert!(matches!(next(&noted), Noted::Asked(_)));
        }
    }
    let metrics = server.stop();
    for (_, refusal, _) in cases {
        assert_eq!(metrics.refusals[refusal.name()], 2, "{refusal:?}");
    }
    assert_eq!((metrics.panics, metrics.opened, metrics.http_answered), (2, 0, 0));
    assert!(noted.try_iter().next().is_none(), "the service sees nothing");
}

#[test]
fn a_later_verdict_continues_the_request() {
    let (server, noted) = start();
    let mut client = Client::tcp(server.address);
    let request = upgrade("/", "X-Token: later ann\r\n");
    client.raw(&[request.as_bytes(), &frame(true, TEXT, b"who")].concat());
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    client.expect(TEXT, b"ann");
    let Noted::Passed { head, subject, .. } = next_after_asked(&noted) else { panic!() };
    assert_eq!(head, request.replace("later ann", "*********"));
    assert_eq!(subject.as_deref(), Some("ann"));

    let mut client = Client::tcp(server.address);
    client.raw(upgrade("/", "X-Token: later refused\r\n").as_bytes());
    let (head, _) = client.answer();
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    client.expect_end();
    drop(client);
    let metrics = server.stop();
    assert_eq!(metrics.refusals["forbidden"], 1);
    let closed: Vec<_> =
        noted.try_iter().filter(|noted| matches!(noted, Noted::GateClosed(_))).collect();
    assert!(
        closed.is_empty(),
        "a connection with a verdict is not the gate's any more: {closed:?}"
    );
}

#[test]
fn a_request_with_a_body_waits_for_the_verdict_before_the_body_is_read() {
    for token in ["ann", "later ann"] {
        let (server, noted) = start();
        let mut client = Client::tcp(server.address);
        client.raw(post(token, "Expect: 100-continue\r\n", "").replace(": 0", ": 5").as_bytes());
        assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
        client.raw(b"hello");
        let (head, body) = client.answer();
        assert!(head.starts_with("HTTP/1.1 200 ") && body == b"served", "{head}");
        let Noted::Passed { head, subject, .. } = next_after_asked(&noted) else { panic!() };
        assert_eq!((head.as_str(), subject.as_deref()), ("hello", Some("ann")));
        // The next request has no part of this one's identity.
        let (head, _) = {
            client.raw(post("none", "", "x").as_bytes());
            client.answer()
        };
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let Noted::Passed { subject, .. } = next_after_asked(&noted) else { panic!() };
        assert_eq!(subject, None);
        drop(client);
        server.stop_clean();
    }
}

#[test]
fn a_refused_body_gets_no_100() {
    let (server, _noted) = start();
    let mut client = Client::tcp(server.address);
    client.raw(post("forbid", "Expect: 100-continue\r\n", "").replace(": 0", ": 5").as_bytes());
    assert!(client.head().starts_with("HTTP/1.1 403 "));
}

#[test]
fn a_silent_gate_costs_the_client_its_handshake_timeout_and_503() {
    let settings = Settings::default().handshake_timeout(Duration::from_millis(300));
    let (server, noted) = gated(settings, GateSettings::default(), RouteSettings::default());
    for request in [upgrade("/", "X-Token: silent\r\n"), post("silent", "", "body")] {
        let mut client = Client::tcp(server.address);
        let head = client.request(&request);
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert_eq!(header(&head, "X-WebSocket-Error"), Some(Refusal::GateTimeout.reason()));
        let closed = CloseReason::Refused(Refusal::GateTimeout);
        assert_eq!(next_after_asked(&noted), Noted::GateClosed(closed));
    }
    let metrics = server.stop();
    assert_eq!(metrics.refusals["gate_timeout"], 2);
}

/// The connection of a front has other clients, too. A verdict that comes too late must not decide on
/// the request of another one.
#[test]
fn a_late_verdict_decides_on_no_other_request() {
    let settings = Settings::default().handshake_timeout(Duration::from_millis(300));
    let settings = settings.trusted_proxies(vec!["127.0.0.0/8".parse().unwrap()]);
    let (server, _noted) = gated(settings, GateSettings::default(), RouteSettings::default());
    let mut front = Client::tcp(server.address);
    let request = |token: &str| format!("GET / HTTP/1.1\r\nHost: a\r\nX-Token: {token}\r\n\r\n");
    front.raw(request("ann").as_bytes());
    assert!(front.answer().0.starts_with("HTTP/1.1 200 "));
    front.raw(format!("{}{}", request("silent"), request("ann")).as_bytes());
    let (head, _) = front.answer();
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(header(&head, "Connection"), Some("close"));
    front.expect_end();
}

/// A service whose route ends when a client sends a message.
#[derive(Default)]
struct Leaving {
    route: Option<RouteId>,
}

impl Service for Leaving {
    fn on_request(
        &mut self,
        _: &mut Context<'_>,
        _: ConnId,
        request: &UpgradeRequest<'_>,
    ) -> Decision {
        self.route = Some(request.route);
        Decision::Accept(request.accept())
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, _: Message<'_>) {
        cx.remove_route(self.route.unwrap()).unwrap();
        let _ = cx.send(conn, "left");
    }

    fn methods(&self) -> &'static [&'static str] {
        &["POST"]
    }

    fn on_http(
        &mut self,
        _: &mut Context<'_>,
        _: ConnId,
        request: &HttpRequest<'_>,
    ) -> Option<Response> {
        Some(Response::text(200, format!("{:?}", request.params.get("name"))))
    }
}

#[test]
fn a_body_goes_to_the_route_that_has_admitted_its_head() {
    let (notes, noted) = channel();
    let server = Server::start(Settings::default(), |reactor| {
        build(reactor, notes, GateSettings::default(), &[("/*", RouteSettings::default())]);
        let leaving = reactor.add_service(Leaving::default()).unwrap();
        reactor.add_route("/open/{name}", leaving, RouteSettings::default()).unwrap();
    });
    let mut client = Client::tcp(server.address);
    client.raw(
        b"POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    let (mut other, _) = Client::open_with(server.address, "/open/y", "");
    other.text("leave");
    other.expect(TEXT, b"left");
    client.raw(b"hello");
    let (head, body) = client.answer();
    assert!(head.starts_with("HTTP/1.1 200 ") && body == b"Some(\"x\")", "{head}");
    // The path now belongs to the route with a gate, which that body has not passed.
    let head =
        Client::tcp(server.address).request(&post("forbid", "", "").replace(" / ", " /open/x "));
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert!(matches!(next(&noted), Noted::Asked(_)) && noted.try_iter().next().is_none());
}

#[test]
fn a_client_that_leaves_before_the_verdict_is_reported_to_the_gate() {
    let (server, noted) = start();
    let mut client = Client::tcp(server.address);
    client.raw(upgrade("/", "X-Token: silent\r\n").as_bytes());
    assert!(matches!(next(&noted), Noted::Asked(_)));
    server.shutdown();
    assert!(client.head().starts_with("HTTP/1.1 503 "));
    assert_eq!(next(&noted), Noted::GateClosed(CloseReason::Shutdown));
}

#[test]
fn nothing_is_read_before_the_verdict() {
    let settings = Settings::default().handshake_timeout(Duration::from_secs(60));
    let (notes, noted) = channel();
    let mut by_hand = ByHand::new(settings, |reactor| {
        build(reactor, notes, GateSettings::default(), &[("/", RouteSettings::default())]);
    });
    let mut client = Client::tcp(by_hand.address);
    client.raw(upgrade("/", "X-Token: silent\r\n").as_bytes());
    by_hand.turn_until("the gate is asked", |metrics| metrics.bytes_read > 0);
    assert!(matches!(next(&noted), Noted::Asked(_)));
    client.stream.set_nonblocking(true).unwrap();
    let filler = [0; 64 * 1024];
    let mut sent = 0;
    // Until the kernel's buffers are full.
    while let Ok(written) = client.stream.write(&filler) {
        sent += written;
        by_hand.reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    let metrics = by_hand.reactor.metrics();
    let head = upgrade("/", "X-Token: silent\r\n").len();
    assert!(sent > 0 && metrics.bytes_read == head as u64, "{sent} sent, {metrics}");
}

#[test]
fn host_path_origin_and_rates_are_checked_before_the_gate() {
    let origins = vec!["https://good.example".to_owned()];
    let route = RouteSettings::default().origins(origins);
    let route = route.requests_per_address(Rate { per_second: 0.0001, burst: 4 });
    let (server, noted) = gated(Settings::default(), GateSettings::default(), route);
    for lines in ["Origin: https://evil.example\r\n", ""] {
        let lines = format!("{lines}X-Token: ann\r\n");
        for request in [upgrade("/", &lines), format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")] {
            let head = Client::tcp(server.address).request(&request);
            assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
        }
    }
    assert!(noted.try_iter().next().is_none());
    let lines = "Origin: https://good.example\r\n";
    for (token, status) in [("", "401"), ("X-Token: forbid\r\n", "403")] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}{token}\r\n");
        let head = Client::tcp(server.address).request(&request);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        let allowed = header(&head, "Access-Control-Allow-Origin");
        assert_eq!(allowed, Some("https://good.example"), "{head}");
        assert_eq!(header(&head, "Vary"), Some("Origin"));
        assert!(matches!(next(&noted), Noted::Asked(_)));
    }
    // The last two requests have used up the tokens.
    for request in [upgrade("/", lines), format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")] {
        let head = Client::tcp(server.address).request(&request);
        assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    }
    assert!(noted.try_iter().next().is_none());
}

/// An identity ends with the response of its request: its expiry before that ends nothing.
#[test]
fn a_request_without_upgrade_does_not_expire() {
    let (server, noted) = start();
    let mut client = Client::tcp(server.address);
    client.raw(post("ann;exp=50", "Expect: 100-continue\r\n", "").replace(": 0", ": 5").as_bytes());
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    std::thread::sleep(Duration::from_millis(400));
    client.raw(b"hello");
    assert!(client.answer().0.starts_with("HTTP/1.1 200 "));
    let Noted::Passed { subject, .. } = next_after_asked(&noted) else { panic!() };
    assert_eq!(subject.as_deref(), Some("ann"));
    assert!(!server.stop().ends.contains_key("expired"));
}

#[test]
fn pages_and_options_pass_without_the_gate() {
    let (notes, noted) = channel();
    let server = Server::start(Settings::default(), |reactor| {
        build(reactor, notes, GateSettings::default(), &[("/", RouteSettings::default())]);
        let page = Page { content_type: "text/plain", body: b"page", security_policy: "" };
        reactor.add_page("/page", page);
    });
    let mut client = Client::tcp(server.address);
    for (request, status) in [
        ("GET /page HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
        ("OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n", "204"),
    ] {
        let head = client.request(request);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        client.bytes(if status == "200" { 4 } else { 0 });
    }
    assert!(noted.try_iter().next().is_none());
}

#[test]
fn a_requirement_that_the_identity_does_not_meet_is_403() {
    let route = RouteSettings::default().require(["role=admin".parse().unwrap()].into());
    let (server, noted) = gated(Settings::default(), GateSettings::default(), route);
    for token in ["ann;role=editor", "none", "later ann"] {
        let head =
            Client::tcp(server.address).request(&upgrade("/", &format!("X-Token: {token}\r\n")));
        assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
        assert_eq!(header(&head, "WWW-Authenticate"), Some("Bearer"));
        assert_eq!(next_after_asked(&noted), Noted::Forbidden);
    }
    let token = "X-Token: ann;role=editor;role=admin\r\n";
    Client::open_with(server.address, "/", token);
}

#[test]
fn a_route_needs_a_gate_that_was_added() {
    let (notes, _noted) = channel();
    let mut other = weir::reactor::Reactor::new(Settings::default()).unwrap();
    let mut reactor = weir::reactor::Reactor::new(Settings::default()).unwrap();
    build(&mut reactor, notes, GateSettings::default(), &[]);
    let gate = reactor.add_gate(
        super::Scripted { notes: channel().0, later: Vec::new() },
        GateSettings::default(),
    );
    let service = other.add_service(crate::support::Watched::echo().0).unwrap();
    let route = RouteSettings::default().gate(gate.unwrap());
    assert_eq!(other.add_route("/", service, route), Err(RouteError::NoGate));
}
