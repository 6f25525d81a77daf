//! Requests that are meant to cost much.

use serde_json::{Value, json};

use super::*;
use crate::nostr::commands::import;
use crate::support::CLOSE;

#[test]
fn ids_of_100_kb_are_not_sent_back() {
    let relay = unlimited("");
    let mut client = relay.client();
    client.request("open", &[json!({"limit": 0})]);
    let long = "x".repeat(100_000);
    for message in [
        json!(["REQ", long, {}]),
        json!(["COUNT", long, {}]),
        json!(["NEG-OPEN", long, {}, "61"]),
        json!(["NEG-MSG", long, "61"]),
    ] {
        let text = client.ask(&message.to_string());
        let expected = "invalid: a subscription id is longer than 64 characters";
        assert_eq!(text, json!(["NOTICE", expected]));
    }
    client.send(&json!(["CLOSE", long]));
    client.send(&json!(["NEG-CLOSE", long]));
    // Escapes make six bytes of a character, and it stays one.
    let answer = client.ask(&format!("[\"REQ\",\"{}\",{{\"kinds\":[9]}}]", "\\u00e9".repeat(64)));
    assert_eq!(answer[0], "EOSE", "{answer}");
    for member in ["ids", "authors", "#e", "#p"] {
        client.send(&json!(["REQ", "a", {member: [long]}]));
        let text = client.closed("a");
        assert!(text.starts_with("invalid: ") && text.len() < 100, "{text}");
    }
    client.expect_silence();
    let note = Author::new(1).note("the subscription is open");
    relay.client().accept(&note);
    assert_eq!(client.live("open"), note);
}

#[test]
fn a_hundred_filters_of_a_thousand_stay_within_the_limits() {
    let relay = unlimited("req_events_max = 50");
    let (mut client, author) = (relay.client(), Author::new(1));
    let notes: Vec<Value> = (0..80).map(|number| author.note(&number.to_string())).collect();
    accept_all(&mut client, &notes);
    // Values: kinds, since keys are longer than a message may be.
    let kinds: Vec<u16> = (0..1000).collect();
    let mut message = vec![json!("REQ"), json!("a")];
    message.extend((0..100).map(|_| json!({"kinds": kinds})));
    client.send(&message.into());
    assert_eq!(client.closed("a"), "invalid: more than 5000 values in filters");
    // Events: each filter may find as many, each event comes once.
    let mut message = vec![json!("REQ"), json!("a")];
    message.extend((0..100).map(|filter| json!({"limit": 1000, "since": filter})));
    client.send(&message.into());
    let mut found = Vec::new();
    let end = loop {
        let message = client.receive();
        match message[0] == "EVENT" {
            true => found.push(message[2]["id"].to_string()),
            false => break message,
        }
    };
    assert_eq!(end, json!(["EOSE", "a", ["more"]]));
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 50);
    // Keys: the message is too long.
    let keys: Vec<String> = (0..1000).map(|number| format!("{number:064x}")).collect();
    let filter = json!({"authors": keys}).to_string();
    let message = format!("[\"REQ\",\"a\",{}]", vec![filter; 100].join(","));
    // The head of the frame announces the length.
    let frame = crate::support::frame(true, crate::support::TEXT, message.as_bytes());
    client.client.raw(&frame[..14]);
    assert_eq!(client.expect_close().0, 1009);
}

/// Events of one author with one tag. `RELAY_EVENTS` is another number of them.
fn crowded(count: u64) -> Directory {
    let (directory, author) = (Directory::new(), Author::new(1));
    let start = now() - count;
    let event = |number| author.event_at(start + number, 1, json!([["t", "common"]]), "");
    let mut left = 0..count;
    loop {
        let events: Vec<Value> = left.by_ref().take(10_000).map(event).collect();
        if events.is_empty() {
            return directory;
        }
        import(&directory, &events);
    }
}

fn events() -> u64 {
    std::env::var("RELAY_EVENTS").map_or(3_000, |number| number.parse().unwrap())
}

#[test]
fn endless_scans_end_and_delay_no_other_client() {
    let count = events();
    // Each event costs five steps: its entry and its record.
    let steps = 3 * count;
    let settings = format!("{WITHOUT_RATES}scan_steps_max = {steps}");
    let relay = Relay::start(crowded(count), &settings);
    let (mut attackers, mut client) =
        ([relay.client(), relay.client()], NostrClient::open(relay.address));
    // All events have the tag, and none of them is by these authors.
    let authors: Vec<String> = (10..30).map(|number| Author::new(number).key()).collect();
    let nothing = json!({"#t": ["common"], "authors": authors});
    const REQUESTS: usize = 20;
    for attacker in &mut attackers {
        for number in 0..REQUESTS {
            attacker.send(&json!(["REQ", format!("{number}"), nothing]));
        }
    }
    let newest = client.find(json!({"limit": 1}));
    for _ in 0..10 {
        assert_eq!(client.find(json!({"ids": [id(&newest[0])]})), newest);
        client.accept(&Author::new(2).event_at(now() - count * 2, 7, json!([]), &unique()));
    }
    for attacker in &mut attackers {
        let mut ended: Vec<u64> = (0..REQUESTS)
            .map(|_| {
                let message = attacker.expect("CLOSED");
                assert_eq!(message[2], "error: the query takes too long");
                message[1].as_str().unwrap().parse().unwrap()
            })
            .collect();
        ended.sort_unstable();
        assert_eq!(ended, (0..REQUESTS as u64).collect::<Vec<_>>());
        // Everything is the newest part of it.
        assert_eq!(attacker.find(json!({})).len(), 500);
        attacker.expect_silence();
    }
    relay.admin.await_metric("weir_nostr_scans", &["waiting"], 0.0);
    relay.admin.await_metric("weir_nostr_scans", &["running"], 0.0);
    relay.admin.await_metric("weir_nostr_subscriptions", &[], 0.0);
}

fn unique() -> String {
    format!("{:?}", std::time::Instant::now())
}

#[test]
fn a_count_of_everything_is_approximate_beyond_its_limit() {
    let count = events();
    let mut directory = crowded(count);
    // To find an entry costs steps, too.
    for (max, is_exact) in [(count / 2, false), (2 * count, true)] {
        let settings = format!("{WITHOUT_RATES}count_max = {max}");
        let relay = Relay::start(directory, &settings);
        let mut client = relay.client();
        let answer = client.ask(r#"["COUNT","a",{}]"#);
        assert_eq!(answer[0], "COUNT", "{answer}");
        let (counted, is_approximate) =
            (answer[2]["count"].as_u64().unwrap(), answer[2]["approximate"] == true);
        assert_eq!(is_approximate, !is_exact, "{answer}");
        assert!(if is_exact { counted == count } else { counted <= count }, "{answer}");
        // Many of them at once are answered, too; none after the connection has ended.
        for number in 0..50 {
            client.send(&json!(["COUNT", format!("{number}"), {}, {"kinds": [1]}]));
        }
        (0..10).for_each(|_| drop(client.expect("COUNT")));
        client.client.close(1000, "");
        while client.client.frame().opcode != CLOSE {}
        relay.admin.await_metric("weir_nostr_scans", &["waiting"], 0.0);
        relay.admin.await_metric("weir_nostr_scans", &["running"], 0.0);
        directory = relay.stopped();
    }
}
