//! Many addresses, and many throttled peers: tables and memory stay bounded.

use std::net::Ipv4Addr;

use weir::reactor::budget::{RATE_SHARED_MAX, SHORT_READ_BYTES};
use weir::reactor::settings::RouteSettings;

use super::{echo, numbered, only, pauses};
use crate::support::{Admin, Client, Process, TEXT, crowd, eventually, upgrade, weir};

/// The nth address of the loopback network, from 127.1.0.0 on.
fn nth_address(n: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + n as u32)
}

const ADDRESSES: usize = 70_000;
const LIMIT: &str = "messages_per_address";

#[test]
fn buckets_of_70_000_addresses_are_bounded_and_known_limits_are_kept() {
    let _alone = crowd();
    // One token each, so that every bucket stays.
    let mut server = echo(RouteSettings::default().messages_rate_per_address(only(2)));
    let request = [upgrade("/", "").into_bytes(), numbered(0..1)].concat();
    for batch in (0..ADDRESSES).collect::<Vec<_>>().chunks(500) {
        let clients: Vec<_> = batch
            .iter()
            .map(|&n| {
                let mut client = Client::from(nth_address(n), server.address);
                client.raw(&request);
                client
            })
            .collect();
        let opened = 1 + *batch.last().unwrap() as u64;
        server.turn_until("they are served", |metrics| {
            metrics.messages_in + pauses(metrics, LIMIT) == opened
        });
        drop(clients);
        server.turn_until("they are gone", |metrics| metrics.connections_now == 0);
    }
    let metrics = server.reactor.metrics();
    assert_eq!(metrics.rate_tables[LIMIT], RATE_SHARED_MAX as u64);
    assert_eq!(metrics.rate_overflows as usize, ADDRESSES - RATE_SHARED_MAX);
    assert_eq!(metrics.messages_in as usize, RATE_SHARED_MAX + 2);
    // The first address has one token left, as before.
    let before = pauses(server.reactor.metrics(), LIMIT);
    let mut client = Client::from(nth_address(0), server.address);
    client.raw(&[upgrade("/", "").into_bytes(), numbered(0..3)].concat());
    server.turn_until("reading pauses", |metrics| pauses(metrics, LIMIT) > before);
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    client.expect(TEXT, b"0");
    assert_eq!(server.reactor.metrics().messages_in as usize, RATE_SHARED_MAX + 3);
}

/// The real binary: each address has two messages, and sends one. `RATE_ADDRESSES=70000` fills the table.
#[test]
fn the_table_of_addresses_is_shown_and_bounded() {
    let _alone = crowd();
    let addresses = std::env::var("RATE_ADDRESSES").map_or(1_000, |count| count.parse().unwrap());
    let process = Process::spawn(&mut weir([
        "--listen=127.0.0.1:0",
        "--admin=127.0.0.1:0",
        "--messages-rate-per-address=2/h",
    ]));
    let address = process.address();
    let admin = Admin::of(&process);
    let request = [upgrade("/", "").into_bytes(), numbered(0..1)].concat();
    let label = [r#"what="messages_per_address""#];
    let served = || {
        let paused = admin.metric("weir_throttled_total", &label);
        (paused + admin.metric("weir_received_messages_total", &[])) as usize
    };
    let open = |n: usize| {
        let mut client = Client::from(nth_address(n), address);
        client.raw(&request);
        client
    };
    for first in (0..addresses).step_by(500) {
        let last = addresses.min(first + 500);
        let clients: Vec<Client> = (first..last).map(open).collect();
        eventually(|| served() == last, "they are served");
        drop(clients);
    }
    let entries = admin.metric("weir_rate_entries", &[r#"table="messages_per_address""#]);
    assert_eq!(entries as usize, addresses.min(RATE_SHARED_MAX));
    // The first address has one message left, as before.
    let mut client = Client::from(nth_address(0), address);
    client.raw(&[upgrade("/", "").into_bytes(), numbered(0..3)].concat());
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    client.expect(TEXT, b"0");
    admin.await_metric("weir_throttled_now", &[], 1.0);
    assert_eq!(served(), addresses + 2);
    process.stop();
}

const PEERS: usize = 2000;

#[test]
fn bytes_of_2_000_throttled_peers_stay_in_their_sockets() {
    let _alone = crowd();
    let mut server = echo(RouteSettings::default().messages_rate(only(10)));
    let flood = numbered(0..4000);
    let mut clients = Vec::new();
    for _ in 0..PEERS {
        let mut client = Client::tcp(server.address);
        client.raw(upgrade("/", "").as_bytes());
        server.turn_until_readable(&client.stream);
        client.head();
        client.raw(&flood);
        clients.push(client);
    }
    server.turn_until("all are paused", |metrics| metrics.throttled_now == PEERS as u64);
    let metrics = server.reactor.metrics();
    assert_eq!(metrics.messages_in as usize, 10 * PEERS);
    let most = PEERS * SHORT_READ_BYTES;
    assert!(metrics.buffered_now as usize <= most, "{} of {most} bytes", metrics.buffered_now);
    assert_eq!(metrics.buffered_refused, 0);
}
