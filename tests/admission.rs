//! Admission of clients: limits on connections, per address and on rates; refusals, and their limit.

use std::io::Read;
use std::net::Ipv4Addr;

use weir::protocol::handshake::Refusal;
use weir::reactor::budget::{RATE_ADDRESSES_MAX, REFUSED_MAX, REMEMBERED_KEYS_MAX};
use weir::reactor::settings::{Rate, RouteSettings, Settings};
use weir::services::Echo;

use crate::handshake::expect_refusal;
use crate::support::{
    ByHand, Client, DEADLINE, KEY, Server, eventually, expect_spread_retry, next_end, upgrade,
};

#[test]
fn a_full_server_refuses_clients_until_it_is_below_95_percent() {
    let settings = Settings::default().connections_max(20);
    let (server, seen) = Server::watched(settings, RouteSettings::default());
    let mut clients: Vec<Client> = (0..20).map(|_| Client::open(server.address, "/")).collect();
    let refused = || {
        let mut late = Client::tcp(server.address);
        late.raw(upgrade("/", "").as_bytes());
        let head = expect_refusal(&mut late, Refusal::Full);
        expect_spread_retry(&head);
    };
    refused();
    clients.pop();
    next_end(&seen);
    refused();
    clients.pop();
    next_end(&seen);
    Client::open(server.address, "/");
    drop(clients);
    assert_eq!(server.stop().opened, 21);
}

#[test]
fn connections_and_rate_are_limited_per_address() {
    let per_address = Settings::default().connections_per_address(2);
    let (server, seen) = Server::watched(per_address, RouteSettings::default());
    let _first = Client::open(server.address, "/");
    let second = Client::open(server.address, "/");
    let mut third = Client::tcp(server.address);
    third.raw(upgrade("/", "").as_bytes());
    expect_refusal(&mut third, Refusal::AddressFull);
    drop(second);
    next_end(&seen);
    Client::open(server.address, "/");

    let slow = Some(Rate { per_second: 0.001, burst: 2 });
    let default = Settings::default;
    for settings in [default().rate_per_address(slow), default().rate(slow)] {
        let (server, _seen) = Server::watched(settings, RouteSettings::default());
        Client::open(server.address, "/");
        Client::open(server.address, "/");
        let mut third = Client::tcp(server.address);
        third.raw(upgrade("/", "").as_bytes());
        expect_refusal(&mut third, Refusal::RateLimited);
    }
}

/// An echo that is turned by hand.
fn echo(settings: Settings) -> ByHand {
    ByHand::new(settings, |reactor| {
        let echo = reactor.add_service(Echo).unwrap();
        reactor.add_route("/", echo, RouteSettings::default()).unwrap();
    })
}

/// The nth address of the loopback network, from 127.0.1.0 on.
fn nth_address(n: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 1, 0).to_bits() + n as u32)
}

#[test]
fn the_number_of_addresses_with_a_rate_is_limited() {
    let rate_per_address = Some(Rate { per_second: 0.001, burst: 2 });
    let settings = Settings::default().rate_per_address(rate_per_address);
    let mut server = echo(settings);
    for batch in (0..RATE_ADDRESSES_MAX).collect::<Vec<_>>().chunks(500) {
        let come: Vec<_> =
            batch.iter().map(|&n| Client::from(nth_address(n), server.address)).collect();
        let all = batch.last().unwrap() + 1;
        server.turn_until("they are accepted", |metrics| metrics.accepted == all as u64);
        drop(come);
        server.turn_until("they are gone", |metrics| metrics.connections_now == 0);
    }
    let metrics = server.reactor.metrics();
    assert_eq!((metrics.rate_entries_now, metrics.rate_overflows), (RATE_ADDRESSES_MAX as u64, 0));
    // Further addresses share one bucket, and so its burst of two. A known address keeps its own.
    let limited = Some(Refusal::RateLimited);
    for (n, refusal) in [(0, None), (1, None), (2, limited)]
        .map(|(n, refusal)| (RATE_ADDRESSES_MAX + n, refusal))
        .into_iter()
        .chain([(0, None), (0, limited)])
    {
        let mut client = Client::from(nth_address(n), server.address);
        client.raw(upgrade("/", "").as_bytes());
        server.turn_until_readable(&client.stream);
        match refusal {
            Some(refusal) => drop(expect_refusal(&mut client, refusal)),
            None => assert!(client.head().starts_with("HTTP/1.1 101 ")),
        }
    }
    let metrics = server.reactor.metrics();
    assert_eq!((metrics.rate_entries_now, metrics.rate_overflows), (RATE_ADDRESSES_MAX as u64, 3));
}

/// The nth handshake key: the base64 form of 16 bytes.
fn nth_key(n: usize) -> String {
    format!("{n:022}==")
}

#[test]
fn the_number_of_remembered_keys_is_limited() {
    let settings = Settings::default().key_reuse_window(10 * DEADLINE);
    let mut server = echo(settings);
    let address = server.address;
    let ask = |n, key| {
        let mut client = Client::from(nth_address(n), address);
        client.raw(upgrade("/", "").replace(KEY, &nth_key(key)).as_bytes());
        client
    };
    for batch in (0..=REMEMBERED_KEYS_MAX).collect::<Vec<_>>().chunks(500) {
        let come: Vec<_> = batch.iter().map(|&n| ask(n, n)).collect();
        let all = batch.last().unwrap() + 1;
        server.turn_until("they are open", |metrics| metrics.opened == all as u64);
        drop(come);
        server.turn_until("they are gone", |metrics| metrics.connections_now == 0);
    }
    // The last key has replaced the first one; all others are remembered.
    for key in [1, REMEMBERED_KEYS_MAX] {
        let mut again = ask(0, key);
        server.turn_until_readable(&again.stream);
        expect_refusal(&mut again, Refusal::KeyReused);
    }
    let mut forgotten = ask(0, 0);
    server.turn_until_readable(&forgotten.stream);
    assert!(forgotten.head().starts_with("HTTP/1.1 101 "));
}

#[test]
fn the_number_of_connections_that_wait_for_a_refusal_is_limited() {
    let handshake_timeout = 10 * DEADLINE;
    let settings = Settings::default().connections_max(1).handshake_timeout(handshake_timeout);
    let (server, _seen) = Server::watched(settings, RouteSettings::default());
    let open = Client::open(server.address, "/");
    let mut waiting: Vec<Client> = (0..REFUSED_MAX).map(|_| Client::tcp(server.address)).collect();
    let mut dropped = Client::tcp(server.address);
    dropped.expect_gone();
    let mut last = waiting.pop().unwrap();
    last.raw(upgrade("/", "").as_bytes());
    expect_refusal(&mut last, Refusal::Full);
    // Its place is free once the server has noticed the end.
    drop(last);
    eventually(
        || {
            let mut next = Client::tcp(server.address);
            next.raw(upgrade("/", "").as_bytes());
            let mut answer = [0; 12];
            matches!(next.stream.read(&mut answer), Ok(12)) && answer.ends_with(b"503")
        },
        "the next client is answered 503",
    );
    drop((open, waiting));
    assert!(server.stop().dropped_at_accept > 0);
}
