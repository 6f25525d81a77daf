//! Limits per address count the clients behind trusted proxies, not the proxies.

use std::net::Ipv4Addr;

use weir::protocol::handshake::Refusal;
use weir::reactor::budget::{HTTP_REQUESTS_MAX, RATE_ADDRESSES_MAX};
use weir::reactor::settings::{Rate, RouteSettings};

use super::{add_reporting, ask, clients, get, reporting, trusting};
use crate::handshake::expect_refusal;
use crate::support::{Client, Server, eventually, header, upgrade};

/// Only 127.0.0.1 is trusted, and networks that are not ours.
const PROXIES: [&str; 2] = ["127.0.0.1/32", "10.0.0.0/8"];

fn from(address: &str) -> String {
    upgrade("/", &format!("X-Forwarded-For: {address}\r\n"))
}

fn open(server: &Server, address: &str) -> Client {
    let mut client = Client::tcp(server.address);
    let head = client.request(&from(address));
    assert!(head.starts_with("HTTP/1.1 101 "), "{address}: {head}");
    client
}

fn expect_refused(server: &Server, request: &str, refusal: Refusal) {
    let mut client = Client::tcp(server.address);
    client.raw(request.as_bytes());
    expect_refusal(&mut client, refusal);
}

#[test]
fn upgrades_count_for_the_address_of_the_client_until_they_end() {
    let server = reporting(trusting(&PROXIES).connections_per_address(2));
    // The proxy's own connections are not counted by address.
    let idle: Vec<Client> = (0..5).map(|_| Client::tcp(server.address)).collect();
    let first = open(&server, "203.0.113.1");
    let second = open(&server, "203.0.113.1");
    expect_refused(&server, &from("203.0.113.1"), Refusal::AddressFull);
    let mut other = open(&server, "203.0.113.2");
    // One /64 of IPv6 is one address.
    let six = [open(&server, "2001:db8::1"), open(&server, "2001:db8::2")];
    expect_refused(&server, &from("2001:db8::3"), Refusal::AddressFull);
    // A direct client that is not trusted is counted as ever, whatever its header states.
    let direct = [(); 2].map(|()| {
        let mut client = Client::from([127, 0, 0, 2].into(), server.address);
        assert!(client.request(&from("203.0.113.9")).starts_with("HTTP/1.1 101 "));
        client
    });
    let mut third = Client::from([127, 0, 0, 2].into(), server.address);
    third.raw(from("203.0.113.9").as_bytes());
    expect_refusal(&mut third, Refusal::AddressFull);
    assert_eq!(clients(&mut other), "12");

    drop((first, second));
    eventually(|| clients(&mut other) == "10", "two connections have ended");
    let again = [open(&server, "203.0.113.1"), open(&server, "203.0.113.1")];
    expect_refused(&server, &from("203.0.113.1"), Refusal::AddressFull);
    drop((idle, six, direct));
    eventually(|| clients(&mut other) == "3", "all others have ended");
    drop((again, other));
    assert_eq!(server.stop_clean().refusals["address_full"], 4);
}

#[test]
fn a_refused_or_abandoned_upgrade_leaves_no_count() {
    let server = reporting(trusting(&PROXIES).connections_per_address(1));
    let mut watcher = open(&server, "203.0.113.99");
    for _ in 0..3 {
        // Counted, then refused for its path, its method, and by a reset.
        expect_refused(
            &server,
            &from("203.0.113.1").replace("GET /", "GET /none"),
            Refusal::NotFound,
        );
        drop(open(&server, "203.0.113.1"));
        eventually(|| clients(&mut watcher) == "1", "the connection has ended");
    }
    drop(open(&server, "203.0.113.1"));
}

#[test]
fn http_requests_of_a_proxy_count_for_no_address() {
    let server = reporting(trusting(&PROXIES).connections_per_address(1));
    let mut watcher = open(&server, "203.0.113.99");
    let mut proxies: Vec<Client> = (0..4).map(|_| Client::tcp(server.address)).collect();
    for proxy in &mut proxies {
        for n in [1, 2, 99] {
            ask(proxy, &format!("X-Forwarded-For: 203.0.113.{n}\r\n"));
        }
    }
    assert_eq!(clients(&mut watcher), "5");
    // An upgrade on such a connection counts for its own client, not for that of an earlier request.
    let mut proxy = proxies.pop().unwrap();
    assert!(proxy.request(&from("203.0.113.1")).starts_with("HTTP/1.1 101 "));
    expect_refused(&server, &from("203.0.113.1"), Refusal::AddressFull);
    drop((proxy, proxies));
    eventually(|| clients(&mut watcher) == "1", "they have ended");
    drop(open(&server, "203.0.113.1"));
    drop(watcher);
    server.stop_clean();
}

#[test]
fn clients_in_trusted_networks_are_exempt_unless_their_list_is_invalid() {
    let settings = trusting(&PROXIES).connections_per_address(1);
    let server = reporting(settings);
    let inside = [(); 3].map(|()| open(&server, "10.0.0.9"));
    let itself = [(); 3].map(|()| Client::open(server.address, "/"));
    let _hidden = open(&server, "_hidden, 10.0.0.2");
    expect_refused(&server, &from("unknown, 10.0.0.2"), Refusal::AddressFull);
    drop((inside, itself));
    let settings = trusting(&PROXIES).connections_per_address(1);
    let exempt = reporting(settings.exempt(vec!["203.0.113.0/24".parse().unwrap()]));
    let _exempt = [(); 3].map(|()| open(&exempt, "203.0.113.1"));
}

#[test]
fn rates_of_connections_apply_to_clients_behind_a_proxy() {
    let slow = Rate { per_second: 0.001, burst: 2 };
    for (settings, others) in [
        (trusting(&PROXIES).rate_per_address(slow), Ok(())),
        (trusting(&PROXIES).rate(slow), Err(Refusal::RateLimited)),
    ] {
        let server = reporting(settings);
        let _idle: Vec<Client> = (0..5).map(|_| Client::tcp(server.address)).collect();
        let _two = [(); 2].map(|()| open(&server, "203.0.113.1"));
        expect_refused(&server, &from("203.0.113.1"), Refusal::RateLimited);
        match others {
            Ok(()) => drop(open(&server, "203.0.113.2")),
            Err(refusal) => expect_refused(&server, &from("203.0.113.2"), refusal),
        }
    }
}

#[test]
fn requests_per_address_count_the_clients_behind_a_proxy() {
    let route = RouteSettings::default().requests_per_address(Rate { per_second: 0.001, burst: 2 });
    let server = Server::start(trusting(&PROXIES), |reactor| add_reporting(reactor, route));
    let lines = |n: u8| format!("X-Forwarded-For: 9.9.9.9, 203.0.113.{n}\r\n");
    let mut proxy = Client::tcp(server.address);
    for n in 1..5 {
        ask(&mut proxy, &lines(n));
        open(&server, &format!("203.0.113.{n}"));
    }
    expect_refused(&server, &from("203.0.113.2"), Refusal::Requests);
    // The refusal of one client does not cost the others their connection, unless it has a body.
    for n in [1, 5, 2] {
        proxy.raw(get(&lines(n)).as_bytes());
        let (head, body) = proxy.answer();
        let (status, connection) = (&head[9..12], header(&head, "Connection"));
        assert_eq!(status, if n == 5 { "200" } else { "429" }, "{head}");
        assert_eq!(connection, Some("keep-alive"), "{head}");
        assert_eq!(header(&head, "Retry-After").is_some(), n != 5, "{head}");
        assert_eq!(body == b"too many requests", n != 5);
    }
    let post =
        get(&lines(1)).replace("GET", "POST").replace("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nx");
    expect_refused(&server, &post, Refusal::Requests);
    // The proxy's own requests, and those of a trusted network, are exempt.
    for _ in 0..5 {
        ask(&mut proxy, "");
        ask(&mut proxy, "X-Forwarded-For: 10.0.0.1\r\n");
    }
    drop(proxy);
    let metrics = server.stop();
    assert_eq!((metrics.rate_entries_now, metrics.refusals["requests"]), (5, 4));
}

#[test]
fn addresses_beyond_the_table_of_rates_share_one() {
    let route = RouteSettings::default().requests_per_address(Rate { per_second: 0.001, burst: 2 });
    let server = Server::start(trusting(&PROXIES), |reactor| add_reporting(reactor, route));
    let nth = |n: usize| {
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(11, 0, 0, 0).to_bits() + n as u32);
        get(&format!("X-Forwarded-For: {address}\r\n"))
    };
    for batch in (0..RATE_ADDRESSES_MAX).collect::<Vec<_>>().chunks(usize::from(HTTP_REQUESTS_MAX))
    {
        let mut proxy = Client::tcp(server.address);
        proxy.raw(batch.iter().map(|&n| nth(n)).collect::<String>().as_bytes());
        for _ in batch {
            assert!(proxy.answer().0.starts_with("HTTP/1.1 200 "));
        }
    }
    // The burst of the shared bucket is two; an address with a bucket of its own keeps that.
    let mut proxy = Client::tcp(server.address);
    for n in [RATE_ADDRESSES_MAX, RATE_ADDRESSES_MAX + 1, 0] {
        proxy.raw(nth(n).as_bytes());
        assert!(proxy.answer().0.starts_with("HTTP/1.1 200 "), "{n}");
    }
    for n in [RATE_ADDRESSES_MAX + 2, 0] {
        proxy.raw(nth(n).as_bytes());
        assert!(proxy.answer().0.starts_with("HTTP/1.1 429 "), "{n}");
    }
    drop(proxy);
    let metrics = server.stop();
    assert_eq!(metrics.rate_entries_now, RATE_ADDRESSES_MAX as u64);
    assert_eq!(metrics.rate_overflows, 3);
}

#[test]
fn the_limit_of_all_connections_includes_proxies() {
    let server = reporting(trusting(&PROXIES).connections_max(3));
    let _idle: Vec<Client> = (0..3).map(|_| Client::tcp(server.address)).collect();
    expect_refused(&server, &from("203.0.113.1"), Refusal::Full);
}
