//! Negentropy (NIP-77): sessions with the real binary, and each of their refusals.

use std::collections::BTreeSet;

use ::negentropy::{Id, Negentropy, NegentropyStorageVector};
use serde_json::{Value, json};

use super::author::{Author, id};
use super::relay::{NostrClient, Relay};

/// A list with these events, as a client has it.
fn items<'a>(events: impl IntoIterator<Item = &'a Value>) -> NegentropyStorageVector {
    let mut items = NegentropyStorageVector::new();
    for event in events {
        let bytes: [u8; 32] = hex::decode(id(event)).unwrap().try_into().unwrap();
        let time = event["created_at"].as_u64().unwrap();
        items.insert(time, Id::from_byte_array(bytes)).unwrap();
    }
    items.seal().unwrap();
    items
}

/// The first message of a client without events, in hex.
fn first() -> String {
    let items = items([]);
    hex::encode(Negentropy::borrowed(&items, 0).unwrap().initiate().unwrap())
}

/// Runs a session with a list; returns the ids that only the list has, and those that it lacks.
fn reconcile(
    client: &mut NostrClient,
    filter: &Value,
    items: &NegentropyStorageVector,
) -> [BTreeSet<String>; 2] {
    let mut state = Negentropy::borrowed(items, 0).unwrap();
    let first = hex::encode(state.initiate().unwrap());
    client.send(&json!(["NEG-OPEN", "s", filter, first]));
    let (mut have, mut need) = (Vec::new(), Vec::new());
    loop {
        let message = client.expect("NEG-MSG");
        assert_eq!(message[1], "s");
        let message = hex::decode(message[2].as_str().unwrap()).unwrap();
        match state.reconcile_with_ids(&message, &mut have, &mut need).unwrap() {
            Some(next) => client.send(&json!(["NEG-MSG", "s", hex::encode(next)])),
            None => break,
        }
    }
    client.send(&json!(["NEG-CLOSE", "s"]));
    [have, need].map(|ids| ids.iter().map(|id| hex::encode(id.as_bytes())).collect())
}

fn ids<'a>(events: impl IntoIterator<Item = &'a Value>) -> BTreeSet<String> {
    events.into_iter().map(|event| id(event).to_owned()).collect()
}

/// The text of the next message, which must be a NEG-ERR of this session.
fn error(client: &mut NostrClient, session: &str) -> String {
    let message = client.expect("NEG-ERR");
    assert_eq!(message[1], session, "{message}");
    message[2].as_str().unwrap().to_owned()
}

#[test]
fn a_session_finds_the_events_that_differ() {
    let relay = Relay::new();
    let mut client = relay.client();
    let author = Author::new(1);
    let events: Vec<Value> = (0..200).map(|number| author.note(&number.to_string())).collect();
    for event in &events[..150] {
        client.accept(event);
    }
    client.accept(&author.event(7, json!([]), "of another kind"));
    let own = items(&events[50..]);
    let [have, need] = reconcile(&mut client, &json!({"kinds": [1]}), &own);
    assert_eq!(have, ids(&events[150..]));
    assert_eq!(need, ids(&events[..50]));
    relay.admin.await_metric("weir_nostr_negentropy_sessions", &["relay=\"main\""], 0.0);
    relay.process.stop();
}

#[test]
fn events_for_others_are_not_in_the_list() {
    let relay = Relay::new();
    let (author, recipient) = (Author::new(1), Author::new(2));
    let wrap = author.event(1059, json!([["p", recipient.key()]]), "secret");
    let note = author.note("public");
    let mut client = relay.client();
    client.accept(&note);
    client.accept(&wrap);
    let [_, need] = reconcile(&mut client, &json!({}), &items([]));
    assert_eq!(need, ids([&note]));
    let mut client = relay.client();
    client.authenticate(&recipient);
    let [_, need] = reconcile(&mut client, &json!({}), &items([]));
    assert_eq!(need, ids([&note, &wrap]));
    relay.process.stop();
}

#[test]
fn each_refusal_of_a_session_names_its_reason() {
    let relay = Relay::with("neg_items_max = 2\nrequests_rate = 'off'");
    let mut client = relay.client();
    let author = Author::new(1);
    client.send(&json!(["NEG-MSG", "none", first()]));
    assert_eq!(error(&mut client, "none"), "closed: no session has this id");
    client.send(&json!(["NEG-OPEN", "bad", {}, "61012"]));
    assert!(error(&mut client, "bad").starts_with("invalid: "));
    client.send(&json!(["NEG-OPEN", "bad", {}, "61000001"]));
    assert_eq!(error(&mut client, "bad"), "invalid: the message is not negentropy version 1");
    client.send(&json!(["NEG-OPEN", "many", {"kinds": [1059]}, first()]));
    assert!(error(&mut client, "many").starts_with("auth-required: "));
    for number in 0..3 {
        client.accept(&author.note(&number.to_string()));
    }
    client.send(&json!(["NEG-OPEN", "many", {"kinds": [1]}, first()]));
    let text = "blocked: more than 2 events match, the maximum of a session";
    assert_eq!(error(&mut client, "many"), text);
    // 8 sessions are open; an open id is replaced.
    for name in ["1", "2", "3", "4", "5", "6", "7", "8", "3"] {
        client.send(&json!(["NEG-OPEN", name, {"kinds": [7]}, first()]));
        assert_eq!(client.expect("NEG-MSG")[1], name);
    }
    relay.admin.await_metric("weir_nostr_negentropy_sessions", &["relay=\"main\""], 8.0);
    client.send(&json!(["NEG-OPEN", "9", {"kinds": [7]}, first()]));
    let text = "blocked: 8 sessions are open, the maximum of a connection";
    assert_eq!(error(&mut client, "9"), text);
    client.send(&json!(["NEG-CLOSE", "1"]));
    client.send(&json!(["NEG-OPEN", "9", {"kinds": [7]}, first()]));
    assert_eq!(client.expect("NEG-MSG")[1], "9");
    client.leave();
    relay.admin.await_metric("weir_nostr_negentropy_sessions", &["relay=\"main\""], 0.0);
    relay.process.stop();
}

#[test]
fn messages_of_a_session_count_as_requests() {
    let relay = Relay::with("requests_rate = '1/min burst 2'");
    let mut client = relay.client();
    client.send(&json!(["NEG-OPEN", "a", {"kinds": [7]}, first()]));
    assert_eq!(client.expect("NEG-MSG")[1], "a");
    client.send(&json!(["NEG-MSG", "a", "61"]));
    assert_eq!(client.expect("NEG-MSG")[2], "61");
    client.send(&json!(["NEG-MSG", "a", "61"]));
    assert!(error(&mut client, "a").starts_with("rate-limited: "));
    relay.admin.await_metric("weir_nostr_negentropy_sessions", &["relay=\"main\""], 0.0);
    relay.process.stop();
}

#[test]
fn a_relay_without_negentropy_says_so_in_a_notice() {
    let relay = Relay::with("neg_items_max = 0");
    let mut client = relay.client();
    client.send(&json!(["NEG-OPEN", "a", {}, first()]));
    assert!(client.notice().contains("negentropy"));
    relay.process.stop();
}
