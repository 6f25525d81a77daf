//! Clients that ask for much and do not read it.

use std::fs;

use serde_json::{Value, json};

use super::*;
use crate::support::eventually;

/// The resident memory of a relay's process in bytes.
pub(super) fn resident(relay: &Relay) -> usize {
    let pid = relay.process.pid().as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}

/// Events of 100 KiB.
fn large(count: u64) -> Vec<Value> {
    let author = Author::new(1);
    let content = "x".repeat(100 * 1024);
    let event = |number| author.event_at(now() - 1000 + number, 1, json!([]), &content);
    (0..count).map(event).collect()
}

/// Requests of a client. `RELAY_REQUESTS` is another number of them, at most 200.
fn requests() -> usize {
    std::env::var("RELAY_REQUESTS").map_or(40, |number| number.parse().unwrap())
}

#[test]
fn stored_events_wait_in_the_store_for_a_client_that_does_not_read() {
    const EVENTS: usize = 10;
    let (relay, requests) = (unlimited(""), requests());
    let mut other = relay.client();
    let events = large(EVENTS as u64);
    events.iter().for_each(|event| other.accept(event));
    other.find(json!({}));
    let before = resident(&relay);
    let mut lazy = NostrClient::narrow(relay.address);
    for number in 0..requests {
        lazy.send(&json!(["REQ", format!("{number}"), {}]));
    }
    let waiting = || relay.admin.metric("weir_nostr_scans", &["waiting"]);
    eventually(|| waiting() >= 20.0, "scans wait for the client");
    // Other clients are served meanwhile.
    for event in &events {
        assert_eq!(other.find(json!({"ids": [id(event)]})), std::slice::from_ref(event));
        other.accept(&Author::new(2).note(id(event)));
    }
    let grown = resident(&relay).saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes for {requests} requests of {EVENTS} events");
    println!("{requests} requests of {EVENTS} events of 100 KiB: {grown} bytes");
    // Nothing is lost: each request gets all of its events, then live ones.
    let mut left: Vec<usize> = vec![EVENTS; requests];
    let mut open = requests;
    while open > 0 {
        let message = lazy.receive();
        let number: usize = message[1].as_str().unwrap().parse().unwrap();
        match message[0].as_str().unwrap() {
            "EVENT" if message[2]["pubkey"] == events[0]["pubkey"] => left[number] -= 1,
            // The ones published meanwhile are stored or live.
            "EVENT" => {}
            "EOSE" => {
                assert_eq!(left[number], 0, "{number}");
                open -= 1;
            }
            _ => panic!("{message}"),
        }
    }
    relay.admin.await_metric("weir_nostr_scans", &["waiting"], 0.0);
    lazy.leave();
    eventually(|| relay.admin.metric("weir_nostr_subscriptions", &[]) == 0.0, "none is left");
}

#[test]
fn a_client_that_does_not_read_live_events_is_closed_alone() {
    let relay = unlimited("");
    let mut writer = relay.client();
    let mut reader = relay.client();
    reader.request("a", &[json!({"limit": 0})]);
    let mut lazy: Vec<NostrClient> = (0..4).map(|_| NostrClient::narrow(relay.address)).collect();
    for client in &mut lazy {
        client.request("a", &[json!({"limit": 0})]);
    }
    let before = resident(&relay);
    // More than `outbox_hard` and the buffers of the sockets.
    let events = large(200);
    for event in &events {
        writer.accept(event);
        assert_eq!(reader.live("a")["id"], event["id"]);
    }
    let subscriptions = || relay.admin.metric("weir_nostr_subscriptions", &[]);
    eventually(|| subscriptions() == 1.0, "the others are closed");
    let grown = resident(&relay).saturating_sub(before);
    println!("4 clients that do not read 20 MiB: {grown} bytes");
    assert!(grown < 64 << 20, "{grown} bytes more");
    assert!(relay.admin.metric("weir_nostr_dropped_total", &[]) >= 4.0);
    reader.expect_silence();
}
