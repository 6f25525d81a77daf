//! Who is let in: so many at once, so many from one address, so fast; the others hear why, as long as
//! they are not too many themselves.

use std::io::Read;

use weir::protocol::handshake::Refusal;
use weir::reactor::budget::REFUSED_MAX;
use weir::reactor::settings::{Rate, RouteSettings, Settings};

use crate::handshake::expect_refusal;
use crate::support::{Client, DEADLINE, Server, eventually, header, next_end, upgrade};

#[test]
fn a_full_server_says_so_until_it_is_below_95_percent() {
    let settings = Settings { connections_max: 20, ..Settings::default() };
    let (server, seen) = Server::watched(settings, RouteSettings::default());
    let mut clients: Vec<Client> = (0..20).map(|_| Client::open(server.address, "/")).collect();
    let refused = || {
        let mut late = Client::tcp(server.address);
        late.raw(upgrade("/", "").as_bytes());
        let head = expect_refusal(&mut late, Refusal::Full);
        assert_eq!(header(&head, "Retry-After"), Some("5"));
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
fn an_address_has_its_share_and_its_rate() {
    let per_address = Settings { connections_per_address: Some(2), ..Settings::default() };
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
    for settings in
        [Settings { rate_per_address: slow, ..default() }, Settings { rate: slow, ..default() }]
    {
        let (server, _seen) = Server::watched(settings, RouteSettings::default());
        Client::open(server.address, "/");
        Client::open(server.address, "/");
        let mut third = Client::tcp(server.address);
        third.raw(upgrade("/", "").as_bytes());
        expect_refusal(&mut third, Refusal::RateLimited);
    }
}

#[test]
fn those_who_wait_for_their_refusal_are_bounded() {
    let handshake_timeout = 10 * DEADLINE;
    let settings = Settings { connections_max: 1, handshake_timeout, ..Settings::default() };
    let (server, _seen) = Server::watched(settings, RouteSettings::default());
    let open = Client::open(server.address, "/");
    let mut waiting: Vec<Client> = (0..REFUSED_MAX).map(|_| Client::tcp(server.address)).collect();
    let mut dropped = Client::tcp(server.address);
    dropped.expect_gone();
    let mut last = waiting.pop().unwrap();
    last.raw(upgrade("/", "").as_bytes());
    expect_refusal(&mut last, Refusal::Full);
    // Its place is free again once the server has seen its end.
    drop(last);
    eventually(
        || {
            let mut next = Client::tcp(server.address);
            next.raw(upgrade("/", "").as_bytes());
            let mut answer = [0; 12];
            matches!(next.stream.read(&mut answer), Ok(12)) && answer.ends_with(b"503")
        },
        "the next one is refused in words again",
    );
    drop((open, waiting));
    assert!(server.stop().dropped_at_accept > 0);
}
