//! Many events, and events of many tags.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::*;
use crate::support::Client;

/// A client from another address of this machine.
fn client_of(relay: &Relay, address: Ipv4Addr) -> NostrClient {
    NostrClient::on(Client::from(address, relay.address).upgraded("/"))
}

#[test]
fn an_address_has_one_rate_for_its_connections() {
    let relay = Relay::with("events_rate_per_address = '1/h burst 3'");
    let author = Author::new(1);
    let mut clients = [relay.client(), relay.client(), relay.client()];
    for (number, client) in clients.iter_mut().enumerate() {
        client.accept(&author.note(&number.to_string()));
    }
    for client in &mut clients {
        let text = refused(client, &author.note("more"));
        assert!(text.starts_with("rate-limited: ") && text.contains("address"), "{text}");
    }
    // An AUTH counts, too; requests do not; another address has its own.
    assert!(!clients[0].authenticate(&author).0);
    assert_eq!(clients[0].find(json!({})).len(), 3);
    client_of(&relay, Ipv4Addr::new(127, 0, 0, 2)).accept(&author.note("from elsewhere"));
}

#[test]
fn an_author_has_one_rate_for_all_connections() {
    let relay = Relay::with("events_rate_per_author = '1/h burst 2'");
    let author = Author::new(1);
    for last in 1..=2 {
        client_of(&relay, Ipv4Addr::new(127, 0, 0, last)).accept(&author.note(&last.to_string()));
    }
    let mut third = client_of(&relay, Ipv4Addr::new(127, 0, 0, 3));
    let text = refused(&mut third, &author.note("3"));
    assert!(text.starts_with("rate-limited: ") && text.contains("author"), "{text}");
    third.accept(&Author::new(2).note("of another author"));
}

#[test]
fn ten_thousand_tags_are_stored_and_half_of_them_are_indexed() {
    let relay = Relay::with("");
    let (mut client, author) = (relay.client(), Author::new(1));
    let tags = |count: u32| -> Value {
        (0..count).map(|number| json!(["t", format!("tag {number}")])).collect()
    };
    let text = refused(&mut client, &author.event(1, tags(10_001), ""));
    assert!(text.starts_with("invalid: ") && text.contains("10000 tags"), "{text}");
    let event = author.event(1, tags(10_000), "");
    client.request("live", &[json!({"#t": ["tag 9999"], "limit": 0})]);
    client.accept(&event);
    // A live filter is compared with the event.
    assert_eq!(client.live("live"), event);
    for (tag, is_indexed) in [("tag 0", true), ("tag 4999", true), ("tag 5000", false)] {
        assert_eq!(client.find(json!({"#t": [tag]})).len(), usize::from(is_indexed), "{tag}");
    }
    assert_eq!(client.find(json!({"ids": [id(&event)]})), [event]);
    let directory = relay.stopped();
    crate::nostr::commands::result(&directory, &["check", "--verify"]);
}

#[test]
fn ten_thousand_deletions_remove_own_events_only() {
    let settings = format!("---{WITHOUT_RATES}event_max = '1 MiB'---message_max = '1 MiB'");
    let relay = Relay::with(&settings);
    let (mut client, author, other) = (relay.client(), Author::new(1), Author::new(2));
    let start = now() - 1000;
    let notes = |author: &Author| -> Vec<Value> {
        (0..100).map(|number| author.event_at(start + number, 1, json!([]), "")).collect()
    };
    let (own, kept) = (notes(&author), notes(&other));
    accept_all(&mut client, &own);
    accept_all(&mut client, &kept);
    let ids = own.iter().chain(&kept).map(|note| id(note).to_owned());
    let ids = ids.chain((0..).map(|number| format!("{number:064x}")));
    let tags: Value = ids.take(10_000).map(|id| json!(["e", id])).collect();
    let deletion = author.event(5, tags, "");
    let mut beside = relay.client();
    client.send(&json!(["EVENT", deletion]));
    for number in 0..20 {
        beside.accept(&other.event(7, json!([]), &number.to_string()));
    }
    assert_eq!(client.ok(id(&deletion)), (true, String::new()));
    let found = |client: &mut NostrClient, author: &Author| {
        client.find(json!({"authors": [author.key()], "kinds": [1]})).len()
    };
    assert_eq!((found(&mut client, &author), found(&mut client, &other)), (0, 100));
    // Of an event that did not exist, too.
    assert_eq!(refused(&mut client, &own[50]), "blocked: this event was deleted");
    assert_eq!(client.publish(&kept[50]).1, "duplicate: already have this event");
    let directory = relay.stopped();
    crate::nostr::commands::result(&directory, &["check", "--verify"]);
}
