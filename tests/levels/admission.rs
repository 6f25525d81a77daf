//! Which connections each level admits, and how fast.

use std::net::TcpStream;
use std::time::Duration;

use weir::protocol::handshake::Refusal;
use weir::reactor::budget::ACCEPTS_WHEN_CROWDED;
use weir::reactor::settings::RouteSettings;
use weir::reactor::{Level, Priority};

use super::{Loaded, by_memory, say};
use crate::handshake::expect_refusal;
use crate::support::{Client, upgrade};

/// Whether a request of this priority is admitted; a refused one must get 503 `pressure`.
fn is_admitted(loaded: &mut Loaded, priority: Priority) -> bool {
    let mut client = Client::tcp(loaded.server.address);
    client.raw(upgrade(&format!("/{priority}"), "").as_bytes());
    loaded.server.turn_until_readable(&client.stream);
    let mut first = [0; 12];
    client.stream.peek(&mut first).unwrap();
    if first.ends_with(b"101") {
        return true;
    }
    expect_refusal(&mut client, Refusal::Pressure);
    false
}

#[test]
fn each_level_admits_priorities_from_its_own_on() {
    let mut loaded = Loaded::new(by_memory(), &RouteSettings::default());
    for (level, lowest) in [
        (Level::Normal, Priority::Low),
        (Level::Elevated, Priority::Normal),
        (Level::Critical, Priority::High),
    ] {
        loaded.become_loaded(level);
        for priority in Priority::ALL {
            let is_right = is_admitted(&mut loaded, priority) == (priority >= lowest);
            assert!(is_right, "{priority} while the load is {level}");
        }
    }
}

/// A connection that was admitted before stays.
#[test]
fn a_level_ends_no_connection_by_its_admission() {
    let mut loaded = Loaded::new(by_memory().shed_max_percent(0), &RouteSettings::default());
    let mut low = loaded.server.open("/low");
    loaded.become_loaded(Level::Critical);
    let turns = loaded.server.reactor.metrics().turns;
    loaded.server.turn_until("two seconds more", |metrics| metrics.turns > turns + 100);
    say(&mut loaded.server, &mut low, "still here");
    assert_eq!(loaded.reports.ends.try_iter().count(), 0);
}

/// The most connections that a turn accepts while 20 clients wait.
fn accepts_in_a_turn(loaded: &mut Loaded) -> u64 {
    const CLIENTS: u64 = 20;
    let address = loaded.server.address;
    let clients: Vec<TcpStream> =
        (0..CLIENTS).map(|_| TcpStream::connect(address).unwrap()).collect();
    let (mut seen, mut most) = (loaded.server.reactor.metrics().accepted, 0);
    let all = seen + CLIENTS;
    while seen < all {
        loaded.server.reactor.turn(Some(Duration::from_millis(20))).unwrap();
        let accepted = loaded.server.reactor.metrics().accepted;
        most = most.max(accepted - seen);
        seen = accepted;
    }
    drop(clients);
    most
}

#[test]
fn accepts_are_slow_while_the_load_is_elevated_or_critical() {
    let mut loaded = Loaded::new(by_memory(), &RouteSettings::default());
    let few = ACCEPTS_WHEN_CROWDED as u64;
    assert!(accepts_in_a_turn(&mut loaded) > few);
    for level in [Level::Elevated, Level::Critical] {
        loaded.become_loaded(level);
        assert_eq!(accepts_in_a_turn(&mut loaded), few, "{level}");
    }
}
