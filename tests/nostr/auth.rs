//! Authentication (NIP-42), and what it protects: private messages (NIP-17, 59) and protected events.

use serde_json::json;

use super::author::{Author, id, now};
use super::relay::Relay;
use crate::support::eventually;

#[test]
fn an_auth_with_the_challenge_and_an_address_of_the_relay_is_accepted() {
    let relay = Relay::new();
    let mut client = relay.client();
    assert_eq!(client.authenticate(&Author::new(1)), (true, String::new()));
    let event =
        client.auth_event(&Author::new(2), &format!("WS://LocalHost:{}", relay.address.port()));
    client.send(&json!(["AUTH", event]));
    assert_eq!(client.ok(id(&event)), (true, String::new()));
}

#[test]
fn wrong_auths_are_refused_and_end_the_connection_at_last() {
    let relay = Relay::new();
    let (mut client, author) = (relay.client(), Author::new(1));
    let url = format!("ws://{}/", relay.address);
    let challenge = ["challenge".to_owned(), client.challenge.clone()];
    let auth = |age: u64, kind: u64, tags| author.event_at(now() - age, kind, tags, "");
    let mut forged = auth(0, 22242, json!([["relay", url], challenge]));
    forged["sig"] = auth(1, 22242, json!([]))["sig"].clone();
    let other = relay.client();
    let wrong = [
        auth(0, 22242, json!([["relay", "ws://relay.example.org/"], challenge])),
        auth(0, 22242, json!([["relay", url], ["challenge", other.challenge]])),
        auth(0, 22242, json!([challenge])),
        auth(0, 22242, json!([["relay", url]])),
        auth(660, 22242, json!([["relay", url], challenge])),
        auth(0, 1, json!([["relay", url], challenge])),
        forged,
    ];
    for event in wrong.iter().chain(&wrong[..3]) {
        client.send(&json!(["AUTH", event]));
        let (accepted, text) = client.ok(id(event));
        assert!(!accepted && text.starts_with("invalid: "), "{event}: {text}");
    }
    assert_eq!(client.expect_close().0, 1008);
}

#[test]
fn the_urls_of_the_settings_replace_the_listeners_address() {
    let relay = Relay::with("urls = ['wss://relay.example.org']");
    let (mut client, author) = (relay.client(), Author::new(1));
    assert!(!client.authenticate(&author).0, "the listener's address");
    for url in ["wss://relay.example.org/path/", "wss://RELAY.example.org:443"] {
        let event = client.auth_event(&author, url);
        client.send(&json!(["AUTH", event]));
        assert!(client.ok(id(&event)).0, "{url}");
    }
}

#[test]
fn messages_behind_an_auth_are_judged_with_it() {
    let relay = Relay::with("auth = 'all'");
    let (mut client, author) = (relay.client(), Author::new(1));
    let note = author.note("hello");
    let (accepted, text) = client.publish(&note);
    assert!(!accepted && text.starts_with("auth-required: "), "{text}");
    client.send(&json!(["REQ", "a", {}]));
    assert!(client.closed("a").starts_with("auth-required: "));
    let auth = client.auth_event(&author, &format!("ws://{}/", relay.address));
    client.send(&json!(["AUTH", auth]));
    client.send(&json!(["EVENT", note]));
    assert!(client.ok(id(&auth)).0);
    assert_eq!(client.ok(id(&note)), (true, String::new()));
    assert_eq!(client.request("a", &[json!({})]), [note]);
}

#[test]
fn gift_wraps_reach_their_recipients_only() {
    let relay = Relay::new();
    let (alice, bob, stranger) = (Author::new(1), Author::new(2), Author::new(3));
    let sender = Author::new(4);
    let mut writer = relay.client();
    let wrap = sender.event(1059, json!([["p", alice.key()]]), "secret");
    let note = sender.note("public");
    writer.accept(&wrap);
    writer.accept(&note);

    let mut anybody = relay.client();
    anybody.send(&json!(["REQ", "a", {"kinds": [1059]}]));
    assert!(anybody.closed("a").starts_with("auth-required: "));
    anybody.send(&json!(["COUNT", "a", {"kinds": [1059]}]));
    assert!(anybody.closed("a").starts_with("auth-required: "));
    assert_eq!(anybody.find(json!({})), std::slice::from_ref(&note));
    assert_eq!(anybody.find(json!({"ids": [id(&wrap)]})), [json!(null); 0]);
    anybody.request("live", &[json!({"limit": 0})]);

    let mut reader = relay.client();
    assert!(reader.authenticate(&alice).0);
    assert_eq!(reader.request("a", &[json!({"kinds": [1059]})]), std::slice::from_ref(&wrap));
    let mut other = relay.client();
    assert!(other.authenticate(&stranger).0);
    assert_eq!(other.find(json!({"kinds": [1059]})), [json!(null); 0]);
    other.send(&json!(["REQ", "a", {"kinds": [1059], "#p": [alice.key()]}]));
    assert!(other.closed("a").starts_with("restricted: "));
    other.request("live", &[json!({"limit": 0})]);

    // Live ones, too.
    let second = sender.event(1059, json!([["p", bob.key()], ["p", alice.key()]]), "again");
    writer.accept(&second);
    assert_eq!(reader.live("a"), second);
    anybody.expect_silence();
    other.expect_silence();
}

#[test]
fn without_authentication_private_messages_are_open() {
    let relay = Relay::with("auth = 'off'");
    let mut client = super::relay::NostrClient::unchallenged(relay.address);
    let wrap = Author::new(1).event(1059, json!([["p", Author::new(2).key()]]), "secret");
    client.accept(&wrap);
    assert_eq!(client.find(json!({"kinds": [1059]})), [wrap]);
}

#[test]
fn authenticated_connections_are_counted() {
    let relay = Relay::new();
    let mut client = relay.client();
    assert!(client.authenticate(&Author::new(1)).0);
    assert!(client.authenticate(&Author::new(2)).0);
    let count = || relay.admin.metric("weir_nostr_authenticated", &[]) as u64;
    assert_eq!(count(), 1);
    client.leave();
    eventually(|| count() == 0, "the count falls");
}
