//! A relay that is killed under its writers: what it has acknowledged is there afterwards.

use std::env;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use super::author::{Author, id};
use super::commands::result;
use super::relay::{NostrClient, Relay};
use crate::support::{TEXT, eventually, frame};

/// Kills of the process, and clients that publish; `RELAY_KILLS` and `RELAY_WRITERS` are other numbers.
const KILLS: u32 = 10;
const WRITERS: u32 = 4;
/// The store is checked after each of so many kills, and after the last one.
const CHECK_EVERY: u32 = 10;

fn number(name: &str, default: u32) -> u32 {
    env::var(name).map_or(default, |number| number.parse().unwrap())
}

#[test]
fn a_killed_relay_has_every_acknowledged_event() {
    let (kills, writers) = (number("RELAY_KILLS", KILLS), number("RELAY_WRITERS", WRITERS));
    let mut relay = Relay::new();
    let mut acknowledged = Vec::new();
    for kill in 0..kills {
        let new = write_until_killed(&relay, kill, writers);
        relay = relay.killed_then(|directory| {
            if (kill + 1) % CHECK_EVERY == 0 || kill + 1 == kills {
                result(directory, &["check", "--verify"]);
            }
        });
        expect_stored(&relay, &new);
        acknowledged.extend(new);
    }
    expect_stored(&relay, &acknowledged);
    println!("{kills} kills under {writers} writers: {} acknowledged events", acknowledged.len());
}

fn expect_stored(relay: &Relay, acknowledged: &[String]) {
    let mut client = relay.client();
    for ids in acknowledged.chunks(100) {
        let found = client.find(json!({"ids": ids}));
        assert_eq!(found.len(), ids.len(), "acknowledged events are missing");
    }
}

/// Publishes from some clients, and kills the process meanwhile; returns the ids that were acknowledged.
fn write_until_killed(relay: &Relay, kill: u32, writers: u32) -> Vec<String> {
    let (address, pid) = (relay.address, relay.process.pid());
    let (acknowledged, is_enough) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    thread::scope(|scope| {
        for writer in 0..writers {
            let (acknowledged, is_enough) = (&acknowledged, &is_enough);
            scope.spawn(move || {
                let notes = notes(writer, kill);
                for (number, id) in (0..).zip(published(address, notes)) {
                    acknowledged.lock().unwrap().push(id);
                    if number == 20 + kill {
                        is_enough.store(true, Ordering::Release);
                    }
                }
            });
        }
        eventually(|| is_enough.load(Ordering::Acquire), "events are stored");
        kill_process(pid, Signal::KILL).unwrap();
    });
    acknowledged.into_inner().unwrap()
}

fn notes(writer: u32, kill: u32) -> impl Iterator<Item = Value> {
    let author = Author::new(writer);
    (0_u32..).map(move |number| author.note(&format!("{kill} {number}")))
}

/// Publishes events one after the other; yields the id of each that is acknowledged, until the connection
/// ends.
fn published(
    address: SocketAddr,
    events: impl Iterator<Item = Value>,
) -> impl Iterator<Item = String> {
    let mut client = NostrClient::open(address);
    events
        .map_while(move |event| is_acknowledged(&mut client, &event).then(|| id(&event).to_owned()))
}

/// Publishes an event; false if the connection ends before its OK.
fn is_acknowledged(client: &mut NostrClient, event: &Value) -> bool {
    let text = json!(["EVENT", event]).to_string();
    let stream = &mut client.client.stream;
    let mut head = [0; 2];
    if stream.write_all(&frame(true, TEXT, text.as_bytes())).is_err()
        || stream.read_exact(&mut head).is_err()
    {
        return false;
    }
    let mut payload = vec![0; usize::from(head[1])];
    if stream.read_exact(&mut payload).is_err() {
        return false;
    }
    let ok: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(ok, json!(["OK", id(event), true, ""]));
    true
}
