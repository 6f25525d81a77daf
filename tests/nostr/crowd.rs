//! Many clients at once, and processes that are killed under them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use super::author::{Author, id};
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

/// Kills of the process: each under writers.
const KILLS: u32 = 10;
const WRITERS: u32 = 4;

#[test]
fn a_killed_relay_has_every_acknowledged_event() {
    let mut relay = Relay::new();
    let acknowledged = Mutex::new(Vec::<String>::new());
    for kill in 0..KILLS {
        let address = relay.address;
        let (pid, enough) = (relay.process.pid(), AtomicBool::new(false));
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (acknowledged, enough) = (&acknowledged, &enough);
                scope.spawn(move || {
                    let author = Author::new(writer);
                    let mut client = NostrClient::open(address);
                    for number in 0_u32.. {
                        let note = author.note(&format!("{kill} {number}"));
                        if !publish_until_killed(&mut client, &note) {
                            return;
                        }
                        acknowledged.lock().unwrap().push(id(&note).to_owned());
                        if number == 20 + kill {
                            enough.store(true, Ordering::Release);
                        }
                    }
                });
            }
            scope.spawn(|| {
                crate::support::eventually(|| enough.load(Ordering::Acquire), "events are stored");
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            });
        });
        relay = relay.killed();
        let acknowledged = acknowledged.lock().unwrap();
        let mut client = relay.client();
        for ids in acknowledged.chunks(100) {
            let found = client.find(json!({"ids": ids}));
            assert_eq!(found.len(), ids.len(), "acknowledged events are missing after kill {kill}");
        }
    }
}

/// Publishes an event; false if the connection ends before its OK.
fn publish_until_killed(client: &mut NostrClient, event: &Value) -> bool {
    use std::io::{Read as _, Write as _};
    let text = json!(["EVENT", event]).to_string();
    let frame = crate::support::frame(true, crate::support::TEXT, text.as_bytes());
    if client.client.stream.write_all(&frame).is_err() {
        return false;
    }
    let mut head = [0; 2];
    if client.client.stream.read_exact(&mut head).is_err() {
        return false;
    }
    let mut payload = vec![0; usize::from(head[1])];
    if client.client.stream.read_exact(&mut payload).is_err() {
        return false;
    }
    let ok: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(ok, json!(["OK", id(event), true, ""]));
    true
}
