//! `connections_max` of a route, `Retry-After`, and limits in a dry run.

use weir::protocol::handshake::Refusal;
use weir::reactor::Reactor;
use weir::reactor::settings::{Limit, ListenSettings, Rate, RouteSettings, Settings};
use weir::services::Echo;

use super::{add_echo, numbered, only, pauses};
use crate::handshake::expect_refusal;
use crate::support::{ByHand, Client, Server, TEXT, any, expect_spread_retry, header, upgrade};

/// An echo at `/` for two connections, and one at `/other`.
fn for_two(reactor: &mut Reactor) {
    add_echo(reactor, "/", RouteSettings::default().connections_max(2));
    add_echo(reactor, "/other", RouteSettings::default());
}

fn ask(server: &mut ByHand) -> Client {
    let mut client = Client::tcp(server.address);
    client.raw(upgrade("/", "").as_bytes());
    server.turn_until_readable(&client.stream);
    client
}

#[test]
fn a_full_route_refuses_upgrades_until_a_connection_ends() {
    let mut server = ByHand::new(Settings::default(), for_two);
    let (one, two) = (server.open("/"), server.open("/"));
    let head = expect_refusal(&mut ask(&mut server), Refusal::RouteFull);
    expect_spread_retry(&head);
    let other = server.open("/other");
    drop(one);
    server.turn_until("one has gone", |metrics| metrics.connections_now == 2);
    let three = server.open("/");
    expect_refusal(&mut ask(&mut server), Refusal::RouteFull);
    drop((two, three, other));
    assert_eq!(server.stop_clean().refusals["route_full"], 2);
}

#[test]
fn a_route_in_a_dry_run_counts_what_it_would_refuse() {
    let settings = Settings::default().limits_dry_run(vec![Limit::RouteFull]);
    let mut server = ByHand::new(settings, for_two);
    let mut clients: Vec<Client> = (0..5).map(|_| server.open("/")).collect();
    // The three above the limit do not count: the next one would be refused, too, until one of the
    // first two has gone.
    clients.truncate(2);
    server.turn_until("three have gone", |metrics| metrics.connections_now == 2);
    clients.push(server.open("/"));
    assert_eq!(server.reactor.metrics().refused_dry["route_full"], 4);
    clients.drain(..1);
    server.turn_until("one has gone", |metrics| metrics.connections_now == 2);
    clients.push(server.open("/"));
    assert_eq!(server.reactor.metrics().refused_dry["route_full"], 4);
    drop(clients);
    assert_eq!(server.stop_clean().refused, 0);
}

fn rate(per_second: f64, burst: u32) -> Rate {
    Rate { per_second, burst }
}

#[test]
fn a_refusal_by_a_rate_of_connections_says_when_it_has_a_token() {
    let settings = Settings::default().rate(rate(0.01, 1)).rate_per_address(rate(0.001, 1));
    let server = Server::start(settings, |reactor| {
        add_echo(reactor, "/", RouteSettings::default());
    });
    let _first = Client::open(server.address, "/");
    for (last, least, most) in [(1, 900, 1000), (2, 90, 100)] {
        let mut client = Client::from([127, 0, 0, last].into(), server.address);
        client.raw(upgrade("/", "").as_bytes());
        let head = expect_refusal(&mut client, Refusal::RateLimited);
        let seconds: u64 = header(&head, "Retry-After").unwrap().parse().unwrap();
        assert!((least..=most).contains(&seconds), "{head}");
    }
}

#[test]
fn a_new_rate_of_a_route_applies_to_open_connections() {
    let mut ids = None;
    let mut server = ByHand::new(Settings::default(), |reactor| {
        let service = reactor.add_service(Echo).unwrap();
        let limited = RouteSettings::default().messages_rate(only(3));
        ids = Some((service, reactor.add_route("/", service, limited).unwrap()));
    });
    let (service, route) = ids.unwrap();
    let mut client = server.open("/");
    let settings = RouteSettings::default().messages_rate(only(6));
    server.reactor.context(service).set_route(route, settings).unwrap();
    client.raw(&numbered(0..9));
    server.turn_until("reading pauses", |metrics| metrics.throttled_now == 1);
    assert_eq!(server.reactor.metrics().messages_in, 6);
}

/// A client that waits as long as the response says is admitted.
#[test]
fn the_time_until_a_token_is_back_is_rounded_up() {
    let server = Server::start(Settings::default().rate(rate(1.0, 1)), |reactor| {
        add_echo(reactor, "/", RouteSettings::default());
    });
    let ask = |_| Client::tcp(server.address).request(&upgrade("/", ""));
    // After a second, the next one is admitted.
    let refused = (0..100).map(ask).find(|head| !head.starts_with("HTTP/1.1 101 "));
    assert_eq!(header(&refused.unwrap(), "Retry-After"), Some("1"));
}

#[test]
fn connections_of_operators_have_no_rates() {
    let route = RouteSettings::default().messages_rate(only(2)).listener_group(1);
    let listen = ListenSettings::new(any()).listener_group(1).for_operators(true);
    let mut server =
        ByHand::listening(listen, Settings::default(), |reactor| add_echo(reactor, "/", route));
    let mut client = ask(&mut server);
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    client.raw(&numbered(0..9));
    server.turn_until("all are handled", |metrics| metrics.messages_in == 9);
}

#[test]
fn a_rate_in_a_dry_run_pauses_nothing_and_is_counted() {
    let settings = Settings::default().limits_dry_run(vec![Limit::Messages]);
    let route = RouteSettings::default().messages_rate(only(5)).messages_rate_per_address(only(20));
    let mut server = ByHand::new(settings, |reactor| add_echo(reactor, "/", route));
    let mut client = server.open("/");
    client.raw(&numbered(0..12));
    server.turn_until("all are handled", |metrics| metrics.messages_in == 12);
    server.turn_until_readable(&client.stream);
    for number in 0..12 {
        client.expect(TEXT, number.to_string().as_bytes());
    }
    for handled in 13..16 {
        client.raw(&numbered(0..1));
        server.turn_until("one more is handled", |metrics| metrics.messages_in == handled);
    }
    assert_eq!(server.reactor.metrics().refused_dry["messages"], 1, "one pause would last");
    assert_eq!(server.reactor.metrics().throttled_now, 0);
    // The other rate is enforced.
    client.raw(&numbered(0..12));
    server.turn_until("reading pauses", |metrics| metrics.throttled_now == 1);
    assert_eq!(server.reactor.metrics().messages_in, 20);
}

/// Of the limit in the dry run, no token returns during the test.
#[test]
fn a_limit_in_a_dry_run_does_not_prolong_the_pause_of_another() {
    let settings = Settings::default().limits_dry_run(vec![Limit::Messages]);
    let route =
        RouteSettings::default().messages_rate(only(5)).messages_rate_per_address(rate(50.0, 20));
    let mut server = ByHand::new(settings, |reactor| add_echo(reactor, "/", route));
    let mut client = server.open("/");
    client.raw(&numbered(0..40));
    server.turn_until("all are handled", |metrics| metrics.messages_in == 40);
    assert!(pauses(server.reactor.metrics(), "messages_per_address") > 0);
    assert_eq!(pauses(server.reactor.metrics(), "messages"), 0);
}
