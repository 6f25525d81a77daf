//! Requests that wait for the verdict of their gate: what counts, and what can happen meanwhile.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use weir::protocol::handshake::Refusal;
use weir::reactor::settings::{GateSettings, Rate, RouteSettings, Settings};

use super::{Behind, Noted, Scripted, build, gated, next};
use crate::handshake::expect_refusal;
use crate::support::{ByHand, Client, header, upgrade};

/// A `Later` restarts the deadline of the handshake: the client has half of it before.
#[test]
fn a_gate_has_the_whole_timeout_from_the_head_on() {
    let timeout = Duration::from_millis(600);
    let settings = Settings::default().handshake_timeout(timeout);
    let (server, _noted) = gated(settings, GateSettings::default(), RouteSettings::default());
    let mut client = Client::tcp(server.address);
    std::thread::sleep(timeout / 2);
    let asked = Instant::now();
    let head = client.request(&upgrade("/", "X-Token: silent\r\n"));
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(asked.elapsed() >= timeout, "{:?}", asked.elapsed());
}

/// Each limit admits one request, and would refuse the same one again.
#[test]
fn a_later_verdict_repeats_no_count_and_no_check() {
    let settings = Settings::default()
        .trusted_proxies(vec!["127.0.0.0/8".parse().unwrap()])
        .connections_per_address(1)
        .rate_per_address(one())
        .key_reuse_window(Duration::from_secs(60));
    let route = RouteSettings::default().requests_per_address(one());
    let (server, _noted) = gated(settings, GateSettings::default(), route);
    let lines = "X-Forwarded-For: 192.0.2.1\r\nX-Token: later ann\r\n";
    let (_client, _) = Client::open_with(server.address, "/", lines);
    let head = Client::tcp(server.address).request(&upgrade("/", lines));
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    let metrics = server.stop();
    assert_eq!((metrics.opened, metrics.refused), (1, 1));
}

fn one() -> Rate {
    Rate { per_second: 0.0001, burst: 1 }
}

#[test]
fn a_request_without_a_verdict_counts_as_a_connection() {
    let settings = Settings::default().connections_max(1);
    let (server, noted) = gated(settings, GateSettings::default(), RouteSettings::default());
    let mut client = Client::tcp(server.address);
    client.raw(upgrade("/", "X-Token: silent\r\n").as_bytes());
    assert!(matches!(next(&noted), Noted::Asked(_)));
    let mut other = Client::tcp(server.address);
    other.raw(upgrade("/", "X-Token: ann\r\n").as_bytes());
    expect_refusal(&mut other, Refusal::Full);
}

/// A reload may give a route another gate, or none, while a request waits for the verdict of the first.
#[test]
fn a_verdict_of_a_gate_that_the_route_has_no_more_refuses() {
    for has_other in [false, true] {
        let (notes, noted) = channel();
        let mut ids = None;
        let mut by_hand = ByHand::new(Settings::default(), |reactor| {
            let gate = |notes| Scripted { notes, later: Vec::new() };
            let gates = [notes.clone(), notes.clone()]
                .map(|notes| reactor.add_gate(gate(notes), GateSettings::default()).unwrap());
            let service = reactor.add_service(Behind { notes, gate: gates[0] }).unwrap();
            let settings = RouteSettings::default().gate(gates[0]);
            let route = reactor.add_route("/", service, settings).unwrap();
            ids = Some((service, route, gates[1]));
        });
        let (service, route, other) = ids.unwrap();
        let mut client = Client::tcp(by_hand.address);
        client.raw(upgrade("/", "X-Token: later ann\r\n").as_bytes());
        while noted.try_recv().is_err() {
            by_hand.reactor.turn(Some(Duration::ZERO)).unwrap();
        }
        let mut settings = RouteSettings::default();
        if has_other {
            settings = settings.gate(other);
        }
        by_hand.reactor.context(service).set_route(route, settings).unwrap();
        by_hand.turn_until_readable(&client.stream);
        expect_refusal(&mut client, Refusal::GateFailed);
        assert!(noted.try_iter().next().is_none(), "neither the service nor the other gate");
    }
}

/// The gate of before may still decide: its verdict must not be taken for one on the next request.
#[test]
fn a_late_verdict_ends_the_connection_of_a_proxy_although_the_route_has_another_gate() {
    let settings = Settings::default()
        .handshake_timeout(Duration::from_millis(300))
        .trusted_proxies(vec!["127.0.0.0/8".parse().unwrap()]);
    let (notes, noted) = channel();
    let mut ids = None;
    let mut by_hand = ByHand::new(settings, |reactor| {
        let scripted = Scripted { notes: notes.clone(), later: Vec::new() };
        let gate = reactor.add_gate(scripted, GateSettings::default()).unwrap();
        let service = reactor.add_service(Behind { notes, gate }).unwrap();
        let settings = RouteSettings::default().gate(gate);
        ids = Some((service, reactor.add_route("/", service, settings).unwrap()));
    });
    let (service, route) = ids.unwrap();
    let mut client = Client::tcp(by_hand.address);
    let lines = "X-Forwarded-For: 192.0.2.1\r\nX-Token: silent\r\n";
    client.raw(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes());
    while noted.try_recv().is_err() {
        by_hand.reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    by_hand.reactor.context(service).set_route(route, RouteSettings::default()).unwrap();
    by_hand.turn_until_readable(&client.stream);
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(header(&head, "Connection"), Some("close"), "{head}");
}

const TOKEN: &str = "weir.token.SECRET";

/// A head that is not complete, one that waits, and offers that the service has not decided on.
#[test]
fn debug_output_of_a_loop_shows_no_token() {
    let route = RouteSettings::default();
    let mut by_hand = ByHand::new(Settings::default(), |reactor| {
        build(reactor, channel().0, GateSettings::default(), &[("/", route)]);
    });
    let mut clients = ["/", "/?defer"].map(|path| {
        let mut client = Client::tcp(by_hand.address);
        let lines = format!("X-Token: ann\r\nSec-WebSocket-Protocol: {TOKEN}\r\n");
        let request = upgrade(path, &lines);
        let sent = if path == "/" { request.trim_ascii_end() } else { &request };
        client.raw(sent.as_bytes());
        let sum = by_hand.reactor.metrics().bytes_read + sent.len() as u64;
        by_hand.turn_until("it is read", |metrics| metrics.bytes_read == sum);
        client
    });
    // The table of connections omits its entries otherwise.
    let text: String = format!("{:#?}", by_hand.reactor).split_whitespace().collect();
    let bytes: Vec<String> = TOKEN.bytes().map(|byte| byte.to_string()).collect();
    assert!(!text.contains(TOKEN) && !text.contains(&bytes.join(",")));
    assert!(text.contains("offered:Secret") && text.contains("head:Secret"));
    clients[0].raw(b"\r\n\r\n");
    by_hand.turn_until_readable(&clients[0].stream);
}
