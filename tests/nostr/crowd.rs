//! Many clients at once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use super::author::Author;
use super::relay::{NostrClient, Relay};

/// Publishers, and subscribers.
const CLIENTS: u32 = 20;
/// Events of each publisher.
const EVENTS: u32 = 40;

/// The kind of an event of this number: a regular one.
fn kind_of(event: u32) -> u64 {
    [1, 7, 1111][event as usize % 3]
}

/// A sequence of numbers that is the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[test]
fn each_subscriber_gets_each_match_exactly_once() {
    let relay = Relay::with(
        "events_rate = 'off'\nevents_rate_per_address = 'off'\nrequests_rate = 'off'\n\
         limit_max = 5000\nlimit_default = 5000",
    );
    let (address, published) = (relay.address, AtomicBool::new(false));
    thread::scope(|scope| {
        let subscribers: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let published = &published;
                scope.spawn(move || subscribe_until(address, number, published))
            })
            .collect();
        let publishers: Vec<_> = (0..CLIENTS)
            .map(|number| {
                scope.spawn(move || {
                    let (mut client, author) = (NostrClient::open(address), Author::new(number));
                    for event in 0..EVENTS {
                        let (kind, content) = (kind_of(event), event.to_string());
                        client.accept(&author.event(kind, json!([]), &content));
                    }
                })
            })
            .collect();
        let outcomes: Vec<_> = publishers.into_iter().map(|publisher| publisher.join()).collect();
        // Also after a failure, or the subscribers would go on.
        published.store(true, Ordering::Release);
        assert!(outcomes.iter().all(Result::is_ok), "a publisher failed");
        subscribers.into_iter().for_each(|subscriber| subscriber.join().unwrap());
    });
}

/// Opens and closes subscriptions at random while events are published. The last one of each filter must
/// get each match once.
fn subscribe_until(address: SocketAddr, number: u32, published: &AtomicBool) {
    let mut client = NostrClient::open(address);
    let mut numbers = Numbers(u64::from(number));
    let mut round = 0;
    loop {
        let is_last = published.load(Ordering::Acquire);
        let kind = kind_of(numbers.below(3) as u32);
        let name = format!("{round}");
        client.send(&json!(["REQ", name, {"kinds": [kind]}]));
        let mut got: HashMap<String, u32> = HashMap::new();
        let mut take = |message: &Value| {
            assert_eq!(message[2]["kind"], kind);
            let id = message[2]["id"].as_str().unwrap().to_owned();
            let count = got.entry(id).or_default();
            *count += 1;
            assert_eq!(*count, 1, "an event came twice");
        };
        let mut is_stored = true;
        // Live events come while further requests are answered.
        for mark in 0..=numbers.below(5) {
            let mark = format!("mark {mark}");
            client.send(&json!(["REQ", mark, {"limit": 0, "kinds": [9]}]));
            let mut is_marked = false;
            while is_stored || !is_marked {
                let message = client.receive();
                match (message[0].as_str().unwrap(), message[1].as_str().unwrap()) {
                    ("EVENT", of) if of == name => take(&message),
                    ("EOSE", of) if of == name => is_stored = false,
                    ("EOSE", of) if of == mark => is_marked = true,
                    _ => panic!("{message}"),
                }
            }
            client.send(&json!(["CLOSE", mark]));
        }
        if is_last {
            let of_kind = (0..EVENTS).filter(|event| kind_of(*event) == kind).count();
            assert_eq!(got.len(), of_kind * CLIENTS as usize, "some events are missing");
            return;
        }
        client.send(&json!(["CLOSE", name]));
        // What was sent before the relay had read the CLOSE is skipped.
        client.send(&json!(["REQ", "mark", {"limit": 0, "kinds": [9]}]));
        while client.receive()[0] != "EOSE" {}
        client.send(&json!(["CLOSE", "mark"]));
        round += 1;
    }
}
