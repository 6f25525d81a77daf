//! Rates per address: which connections share a bucket.

use weir::reactor::settings::{Prefix, RouteSettings, Settings};

use super::{add_echo, numbered, only, pauses};
use crate::support::{BINARY, ByHand, Client, TEXT, upgrade};

fn server(settings: Settings, route: RouteSettings) -> ByHand {
    ByHand::new(settings, |reactor| {
        add_echo(reactor, "/", route.clone());
        add_echo(reactor, "/other", route);
    })
}

/// An open WebSocket from this address of the loopback network.
fn open(server: &mut ByHand, last: u8, path: &str) -> Client {
    let opened = server.reactor.metrics().opened;
    let mut client = Client::from([127, 0, 1, last].into(), server.address);
    client.raw(upgrade(path, "").as_bytes());
    server.turn_until("a connection opens", |metrics| metrics.opened > opened);
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    client
}

fn expect(server: &mut ByHand, client: &mut Client, numbers: std::ops::Range<usize>) {
    server.turn_until_readable(&client.stream);
    for number in numbers {
        client.expect(TEXT, number.to_string().as_bytes());
    }
}

#[test]
fn connections_of_an_address_share_their_tokens_per_route() {
    let route = RouteSettings::default().messages_rate_per_address(only(5));
    let mut server = server(Settings::default(), route);
    let (mut one, mut two) = (open(&mut server, 1, "/"), open(&mut server, 1, "/"));
    one.raw(&numbered(0..3));
    expect(&mut server, &mut one, 0..3);
    two.raw(&numbered(0..3));
    server.turn_until("reading pauses", |metrics| pauses(metrics, "messages_per_address") == 1);
    expect(&mut server, &mut two, 0..2);
    let (mut of_route, mut other) = (open(&mut server, 1, "/other"), open(&mut server, 2, "/"));
    for client in [&mut of_route, &mut other] {
        client.raw(&numbered(0..5));
        expect(&mut server, client, 0..5);
    }
    let metrics = server.reactor.metrics();
    assert_eq!(metrics.rate_tables["messages_per_address"], 3);
    assert_eq!(metrics.throttled["/"]["messages_per_address"], 1);
    // The address finds its bucket again.
    drop((one, two, of_route, other));
    let mut again = open(&mut server, 1, "/");
    again.raw(&numbered(0..1));
    server.turn_until("reading pauses", |metrics| pauses(metrics, "messages_per_address") == 2);
}

/// Of an IPv6 address the first 64 bits count: a client has the others to itself.
#[test]
fn addresses_of_an_ipv6_network_share_their_tokens() {
    let route = RouteSettings::default()
        .messages_rate_per_address(only(5))
        .bytes_rate_per_address(only(10_000));
    let settings = Settings::default().trusted_proxies(vec!["127.0.0.1/32".parse().unwrap()]);
    let mut server = server(settings, route);
    let open = |server: &mut ByHand, address: &str, path: &str| {
        let opened = server.reactor.metrics().opened;
        let mut client = Client::tcp(server.address);
        let lines = format!("X-Forwarded-For: {address}\r\n");
        client.raw(upgrade(path, &lines).as_bytes());
        server.turn_until("a connection opens", |metrics| metrics.opened > opened);
        assert!(client.head().starts_with("HTTP/1.1 101 "));
        client
    };
    let mut one = open(&mut server, "2001:db8:1:2::1", "/");
    let mut two = open(&mut server, "2001:db8:1:2:ffff:ffff:ffff:ffff", "/");
    let mut other = open(&mut server, "2001:db8:1:3::1", "/");
    one.raw(&numbered(0..3));
    expect(&mut server, &mut one, 0..3);
    other.raw(&numbered(0..5));
    expect(&mut server, &mut other, 0..5);
    two.raw(&numbered(0..3));
    server.turn_until("reading pauses", |metrics| pauses(metrics, "messages_per_address") == 1);
    expect(&mut server, &mut two, 0..2);

    let mut one = open(&mut server, "2001:db8:1:2::1", "/other");
    let mut two = open(&mut server, "2001:db8:1:2:ffff:ffff:ffff:ffff", "/other");
    let mut other = open(&mut server, "2001:db8:1:3::1", "/other");
    let all = server.reactor.metrics().messages_in + 2;
    for client in [&mut one, &mut other] {
        client.send(BINARY, &[0; 9000]);
    }
    server.turn_until("they are read", |metrics| metrics.messages_in == all);
    for _ in 0..3 {
        two.send(BINARY, &[0; 2000]);
    }
    server.turn_until("reading pauses", |metrics| pauses(metrics, "bytes_per_address") == 1);
    assert!(server.reactor.metrics().messages_in < all + 3);
    let tables = &server.reactor.metrics().rate_tables;
    assert_eq!((tables["messages_per_address"], tables["bytes_per_address"]), (4, 4));
}

#[test]
fn bytes_of_an_address_are_counted_over_its_connections() {
    let route = RouteSettings::default().bytes_rate_per_address(only(10_000));
    let mut server = server(Settings::default(), route);
    let (mut one, mut two) = (open(&mut server, 1, "/"), open(&mut server, 1, "/"));
    one.send(BINARY, &[0; 9000]);
    server.turn_until("a message is read", |metrics| metrics.messages_in == 1);
    for _ in 0..3 {
        two.send(BINARY, &[0; 2000]);
    }
    server.turn_until("reading pauses", |metrics| pauses(metrics, "bytes_per_address") == 1);
    assert!(server.reactor.metrics().messages_in < 4);
}

#[test]
fn a_connection_keeps_to_its_own_rate_and_to_that_of_its_address() {
    let route = RouteSettings::default().messages_rate(only(3)).messages_rate_per_address(only(4));
    let mut server = server(Settings::default(), route);
    let (mut one, mut two) = (open(&mut server, 1, "/"), open(&mut server, 1, "/"));
    one.raw(&numbered(0..5));
    server.turn_until("reading pauses", |metrics| pauses(metrics, "messages") == 1);
    two.raw(&numbered(0..5));
    server.turn_until("reading pauses", |metrics| pauses(metrics, "messages_per_address") == 1);
    assert_eq!(server.reactor.metrics().messages_in, 4);
}

#[test]
fn a_full_bucket_leaves_the_table_with_its_last_connection() {
    let route = RouteSettings::default().messages_rate_per_address(only(5));
    let mut server = server(Settings::default(), route);
    let entries =
        |server: &mut ByHand| server.reactor.metrics().rate_tables["messages_per_address"];
    let (one, two) = (open(&mut server, 1, "/"), open(&mut server, 1, "/"));
    let mut other = open(&mut server, 2, "/");
    other.raw(&numbered(0..1));
    expect(&mut server, &mut other, 0..1);
    drop(one);
    server.turn_until("one has gone", |metrics| metrics.connections_now == 2);
    assert_eq!(entries(&mut server), 2, "another connection uses it");
    drop((two, other));
    server.turn_until("all have gone", |metrics| metrics.connections_now == 0);
    assert_eq!(entries(&mut server), 1, "one has a token less");
}

#[test]
fn exempt_addresses_and_trusted_proxies_have_no_rate_per_address() {
    let route = RouteSettings::default().messages_rate_per_address(only(2)).messages_rate(only(7));
    let own: Vec<Prefix> = vec!["127.0.1.1".parse().unwrap()];
    for settings in
        [Settings::default().exempt(own.clone()), Settings::default().trusted_proxies(own)]
    {
        let mut server = server(settings, route.clone());
        let mut exempt = open(&mut server, 1, "/");
        exempt.raw(&numbered(0..9));
        server.turn_until("reading pauses", |metrics| pauses(metrics, "messages") == 1);
        assert_eq!(server.reactor.metrics().messages_in, 7);
        assert_eq!(server.reactor.metrics().rate_tables["messages_per_address"], 0);
    }
}
