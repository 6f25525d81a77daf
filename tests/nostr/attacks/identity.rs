//! Attacks on authentication (NIP-42).

use serde_json::json;

use super::*;
use crate::support::{Client, KEY};

#[test]
fn auths_without_end_are_refused_and_the_connection_is_closed() {
    let relay = unlimited("");
    let mut client = relay.client();
    for number in 1..=16 {
        assert!(client.authenticate(&Author::new(number)).0, "{number}");
    }
    // A key that is already there takes no room.
    assert!(client.authenticate(&Author::new(1)).0);
    for number in 17..27 {
        let (accepted, text) = client.authenticate(&Author::new(number));
        let expected = "rate-limited: at most 16 keys for a connection";
        assert_eq!((accepted, &*text), (false, expected), "{number}");
    }
    assert_eq!(client.expect_close(), (1008, "too many failed authentications".to_owned()));

    // An AUTH is charged like an event.
    let relay = Relay::with("events_rate = '1/h burst 3'");
    let mut client = relay.client();
    for _ in 0..3 {
        assert!(client.authenticate(&Author::new(1)).0);
    }
    let (accepted, text) = client.authenticate(&Author::new(1));
    assert!(!accepted && text.starts_with("rate-limited: "), "{text}");
    assert!(refused(&mut client, &Author::new(1).note("late")).starts_with("rate-limited: "));
}

#[test]
fn a_replayed_auth_is_refused() {
    let relay = Relay::new();
    let (mut client, author) = (relay.client(), Author::new(1));
    let event = client.auth_event(&author, &format!("ws://{}/", relay.address));
    client.send(&json!(["AUTH", event]));
    assert_eq!(client.ok(id(&event)), (true, String::new()));
    // Another connection has another challenge; so has the next one of the same client.
    for _ in 0..2 {
        let mut thief = relay.client();
        thief.send(&json!(["AUTH", event]));
        let (accepted, text) = thief.ok(id(&event));
        assert!(!accepted && text.starts_with("invalid: "), "{text}");
        thief.send(&json!(["REQ", "a", {"kinds": [4]}]));
        assert!(thief.closed("a").starts_with("auth-required: "));
    }
    // As an event of its own it is never stored.
    assert!(refused(&mut client, &event).starts_with("blocked: "));
}

#[test]
fn the_host_of_a_request_names_no_relay() {
    let relay = Relay::new();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\n\
         Forwarded: host=evil.example\r\nOrigin: https://evil.example\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    let mut socket = Client::tcp(relay.address);
    assert!(socket.request(&request).starts_with("HTTP/1.1 101 "));
    let mut client = NostrClient::on(socket);
    let author = Author::new(1);
    for url in [
        "wss://evil.example/",
        "ws://evil.example",
        &format!("ws://evil.example:{}", relay.address.port()),
    ] {
        let event = client.auth_event(&author, url);
        client.send(&json!(["AUTH", event]));
        let (accepted, text) = client.ok(id(&event));
        assert!(!accepted && text.starts_with("invalid: "), "{url}: {text}");
    }
    assert!(client.authenticate(&author).0, "by its own address");
}
