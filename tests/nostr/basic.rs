//! EVENT, REQ, EOSE, live events, CLOSE (NIP-01).

use serde_json::json;

use super::author::{Author, id, now};
use super::relay::Relay;

#[test]
fn an_event_is_stored_and_found_again() {
    let relay = Relay::new();
    let (mut client, author) = (relay.client(), Author::new(1));
    let note = author.note("hello \"world\"\n\u{1F600}");
    client.accept(&note);
    assert_eq!(client.find(json!({"ids": [id(&note)]})), std::slice::from_ref(&note));
    assert_eq!(
        client.find(json!({"authors": [author.key()], "kinds": [1]})),
        std::slice::from_ref(&note)
    );
    assert_eq!(client.find(json!({"kinds": [2]})), [json!(null); 0]);
    assert_eq!(relay.client().find(json!({})), [note]);
}

#[test]
fn an_event_sent_again_is_a_duplicate() {
    let relay = Relay::new();
    let (mut client, note) = (relay.client(), Author::new(1).note("once"));
    client.accept(&note);
    let (accepted, text) = client.publish(&note);
    assert!(accepted && text.starts_with("duplicate: "), "{text}");
}

#[test]
fn live_events_reach_matching_subscriptions_after_eose() {
    let relay = Relay::new();
    let (mut writer, mut reader) = (relay.client(), relay.client());
    let (one, two) = (Author::new(1), Author::new(2));
    let old = one.event_at(now() - 10, 1, json!([]), "old");
    writer.accept(&old);
    assert_eq!(reader.request("a", &[json!({"authors": [one.key()]})]), [old]);
    assert_eq!(reader.request("b", &[json!({"kinds": [7], "limit": 0})]), [json!(null); 0]);
    writer.accept(&two.note("of another"));
    let note = one.note("new");
    writer.accept(&note);
    assert_eq!(reader.live("a"), note);
    let reaction = one.event(7, json!([]), "+");
    writer.accept(&reaction);
    let mut both = [reader.expect("EVENT"), reader.expect("EVENT")];
    both.sort_by_key(|message| message[1].as_str().unwrap().to_owned());
    assert_eq!(both, [json!(["EVENT", "a", reaction]), json!(["EVENT", "b", reaction])]);
    reader.send(&json!(["CLOSE", "a"]));
    reader.expect_silence();
    writer.accept(&one.note("unheard"));
    reader.expect_silence();
}

#[test]
fn stored_events_come_newest_first_and_within_the_limit() {
    let relay = Relay::new();
    let (mut client, author) = (relay.client(), Author::new(1));
    let start = now() - 1000;
    let notes: Vec<_> = (0..20)
        .map(|age| author.event_at(start + age, 1, json!([["t", "x"]]), &format!("{age}")))
        .collect();
    for note in notes.iter().rev() {
        client.accept(note);
    }
    let newest = |count: usize| notes.iter().rev().take(count).cloned().collect::<Vec<_>>();
    assert_eq!(client.find(json!({"#t": ["x"], "limit": 5})), newest(5));
    assert_eq!(client.find(json!({"authors": [author.key()]})), newest(20));
    let range = json!({"since": start + 3, "until": start + 5});
    assert_eq!(client.find(range), [&notes[5], &notes[4], &notes[3]].map(Clone::clone));
    assert_eq!(client.find(json!({"kinds": [1], "limit": 0})), [json!(null); 0]);
}

#[test]
fn a_request_with_an_open_id_replaces_the_subscription() {
    let relay = Relay::new();
    let (mut writer, mut reader, author) = (relay.client(), relay.client(), Author::new(1));
    reader.request("a", &[json!({"kinds": [1]})]);
    reader.request("a", &[json!({"kinds": [7]})]);
    writer.accept(&author.note("not this"));
    let reaction = author.event(7, json!([]), "+");
    writer.accept(&reaction);
    assert_eq!(reader.live("a"), reaction);
    reader.expect_silence();
}

#[test]
fn a_restart_keeps_the_events() {
    let relay = Relay::new();
    let note = Author::new(1).note("kept");
    relay.client().accept(&note);
    let relay = relay.restarted();
    assert_eq!(relay.client().find(json!({})), std::slice::from_ref(&note));
    let relay = relay.killed();
    assert_eq!(relay.client().find(json!({})), [note]);
}
