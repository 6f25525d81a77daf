//! Malformed messages and invalid events: each gets the answer that the specification names.

use serde_json::{Value, json};

use super::author::{Author, id, now};
use super::relay::{NostrClient, Relay};
use crate::support::BINARY;

/// A copy of an event with another value of a member.
fn with(event: &Value, member: &str, value: Value) -> Value {
    let mut event = event.clone();
    event[member] = value;
    event
}

/// The text of a refused event.
fn refused(client: &mut NostrClient, event: &Value) -> String {
    let (accepted, text) = client.publish(event);
    assert!(!accepted, "{event}: {text}");
    text
}

#[test]
fn malformed_messages_get_a_notice() {
    let relay = Relay::new();
    let mut client = relay.client();
    for text in ["hello", "{}", "[]", "[1]", r#"["REQ"]"#, r#"["REQ",7,{}]"#, r#"["EVENT"]"#, "[["]
    {
        let notice = client.ask(text);
        assert_eq!(notice[0], "NOTICE", "{text}: {notice}");
        assert!(notice[1].as_str().unwrap().starts_with("invalid: "), "{text}: {notice}");
    }
    let notice = client.ask(r#"["HELLO","a"]"#);
    assert_eq!(notice, json!(["NOTICE", "unsupported: unknown message type"]));
    client.client.send(BINARY, b"[]");
    assert_eq!(client.notice(), "invalid: binary messages are not accepted");
    client.client.text("");
    client.expect_silence();
}

#[test]
fn a_connection_that_sends_only_malformed_messages_is_closed() {
    let relay = Relay::with("bad_messages_max = 3");
    let mut client = relay.client();
    client.ask("a");
    client.ask("b");
    client.expect_silence();
    for _ in 0..3 {
        client.ask(r#"["EVENT",{}]"#);
    }
    assert_eq!(client.expect_close(), (1008, "too many malformed messages".to_owned()));
}

#[test]
fn invalid_events_are_refused_with_their_id() {
    let relay = Relay::with("event_max = '4 KiB'\ntags_max = 3\ntag_value_max = '200 B'");
    let (mut client, author) = (relay.client(), Author::new(1));
    let note = author.note("hello");
    let ours = json!([["a"], ["b"], ["c"], ["d"]]);
    let other = Author::new(2).note("hello");
    for (event, part) in [
        (with(&note, "content", json!("changed")), "the id"),
        (with(&note, "sig", other["sig"].clone()), "signature"),
        (with(&note, "sig", json!("00")), "sig"),
        (with(&note, "pubkey", json!(author.key().to_uppercase())), "pubkey"),
        (with(&note, "kind", json!(-1)), "kind"),
        (with(&note, "kind", json!(65536)), "kind"),
        (with(&note, "kind", json!(1.0)), "kind"),
        (with(&note, "created_at", json!(1_u64 << 40)), "created_at"),
        (with(&note, "tags", json!([[]])), "tag"),
        (with(&note, "tags", json!([[1]])), "tag"),
        (with(&note, "content", json!(null)), "content"),
        (author.event(1, ours, ""), "3 tags"),
        (author.event(1, json!([["a", "x".repeat(201)]]), ""), "200 bytes"),
        (author.note(&"x".repeat(5000)), "4096 bytes"),
        (author.event_at(now() + 1000, 1, json!([]), ""), "future"),
        (author.event(1, json!([["expiration", "1"]]), ""), "expir"),
        (author.event(1, json!([["expiration", "soon"]]), ""), "expiration"),
        (author.event_at(now() - 700, 20_001, json!([]), ""), "600 seconds in the past"),
    ] {
        let text = refused(&mut client, &event);
        assert!(text.starts_with("invalid: ") && text.contains(part), "{part}: {text}");
    }
    assert_eq!(client.find(json!({})), [json!(null); 0]);
}

#[test]
fn kinds_that_are_not_for_relays_are_blocked() {
    let relay = Relay::with("deny_kinds = ['7', '100-200']");
    let (mut client, author) = (relay.client(), Author::new(1));
    for kind in [13, 9734, 22242, 24242, 27235, 7, 100, 200] {
        let text = refused(&mut client, &author.event(kind, json!([]), ""));
        assert!(text.starts_with("blocked: "), "{kind}: {text}");
    }
    client.accept(&author.event(201, json!([]), ""));
}

#[test]
fn proof_of_work_is_checked_with_its_commitment() {
    let relay = Relay::with("pow_min = 4");
    let (mut client, author) = (relay.client(), Author::new(1));
    let mined = |target: &str| {
        let mut mined =
            (0..).map(|nonce| author.event(1, json!([["nonce", nonce.to_string(), target]]), ""));
        mined.find(|event| id(event).starts_with('0')).unwrap()
    };
    client.accept(&mined("4"));
    let text = refused(&mut client, &mined("3"));
    assert!(text.starts_with("pow: "), "{text}");
    let mut plain = (0..).map(|number| author.note(&format!("{number}")));
    let cheap = plain.find(|event| !id(event).starts_with('0')).unwrap();
    let text = refused(&mut client, &cheap);
    assert!(text.starts_with("pow: ") && text.contains('4'), "{text}");
}

#[test]
fn malformed_requests_are_closed() {
    let relay = Relay::with("filters_max = 2\nfilter_values_max = 3\nsubscription_id_max = 10");
    let mut client = relay.client();
    let long = "x".repeat(11);
    for (message, prefix) in [
        (json!(["REQ", "a"]), "invalid: "),
        (json!(["REQ", "a", 7]), "invalid: "),
        (json!(["REQ", "a", {"kinds": "1"}]), "invalid: "),
        (json!(["REQ", "a", {"kinds": null}]), "invalid: "),
        (json!(["REQ", "a", {"kinds": [70000]}]), "invalid: "),
        (json!(["REQ", "a", {"ids": ["00"]}]), "invalid: "),
        (json!(["REQ", "a", {"#e": ["x"]}]), "invalid: "),
        (json!(["REQ", "a", {"since": -1}]), "invalid: "),
        (json!(["REQ", "a", {"limit": 1.5}]), "invalid: "),
        (json!(["REQ", "a", {"color": "red"}]), "unsupported: "),
        (json!(["REQ", "a", {"search": "red", "kinds": [1]}]), "unsupported: "),
        (json!(["REQ", "a", {}, {}, {}]), "invalid: "),
        (json!(["REQ", "a", {"kinds": [1, 2]}, {"kinds": [1, 2]}]), "invalid: "),
        (json!(["REQ", long, {}]), "invalid: "),
        (json!(["COUNT", "a", {"kinds": "1"}]), "invalid: "),
    ] {
        client.send(&message);
        let text = client.closed(message[1].as_str().unwrap());
        assert!(text.starts_with(prefix), "{message}: {text}");
    }
    let endless = "x".repeat(257);
    let notice = client.ask(&json!(["REQ", endless, {}]).to_string());
    assert_eq!(notice[0], "NOTICE");
}

#[test]
fn broad_filters_can_be_limited_or_refused() {
    for (policy, limit, is_accepted) in [
        ("allow", 500, true),
        ("limited", 500, false),
        ("limited", 100, true),
        ("refuse", 1, false),
    ] {
        let relay = Relay::with(&format!("broad_filters = '{policy}'"));
        let mut client = relay.client();
        client.send(&json!(["REQ", "a", {"kinds": [1], "limit": limit}]));
        let answer = client.receive();
        assert_eq!(answer[0] == "EOSE", is_accepted, "{policy} {limit}: {answer}");
        client.send(&json!(["REQ", "b", {"authors": [Author::new(1).key()]}]));
        client.expect("EOSE");
    }
}

#[test]
fn subscriptions_of_a_connection_are_limited() {
    let relay = Relay::with("subscriptions_per_connection_max = 2");
    let mut client = relay.client();
    client.request("a", &[json!({})]);
    client.request("b", &[json!({})]);
    client.send(&json!(["REQ", "c", {}]));
    let text = client.closed("c");
    assert!(text.starts_with("rate-limited: ") && text.contains('2'), "{text}");
    client.request("b", &[json!({"kinds": [1]})]);
    client.send(&json!(["CLOSE", "a"]));
    client.request("c", &[json!({})]);
}
