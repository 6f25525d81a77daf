//! Each number of the information document (NIP-11) is the one that the relay enforces: what is at the
//! limit is accepted, what is beyond it is refused as the specification says.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::author::{Author, id, now};
use super::relay::{NostrClient, Relay};
use super::table::check_rows;
use crate::support::Client;

/// A relay whose limits are tested, and its document.
struct Given {
    relay: Relay,
    limitation: Map<String, Value>,
}

impl Given {
    fn new(settings: &str) -> Given {
        let rates = "events_rate = 'off'\nevents_rate_per_address = 'off'\nrequests_rate = 'off'\n";
        let (head, rest) = settings.split_once("---").unwrap_or(("", settings));
        let relay = Relay::with(&format!("{head}---{rates}{rest}"));
        let mut client = Client::tcp(relay.address);
        client.raw(b"GET / HTTP/1.1\r\nHost: a\r\nAccept: application/nostr+json\r\n\r\n");
        let document: Value = serde_json::from_slice(&client.answer().1).unwrap();
        let limitation = document["limitation"].as_object().unwrap().clone();
        Given { relay, limitation }
    }

    fn number(&self, name: &str) -> usize {
        self.limitation[name].as_u64().unwrap().try_into().unwrap()
    }

    fn client(&self) -> NostrClient {
        self.relay.client()
    }

    /// An event that the relay accepts, with these changes.
    fn event(&self, kind: u64, tags: Vec<Value>, content: &str) -> Value {
        self.event_at(now(), kind, tags, content)
    }

    fn event_at(&self, time: u64, kind: u64, tags: Vec<Value>, content: &str) -> Value {
        let bits = self.number("min_pow_difficulty");
        if bits == 0 {
            return Author::new(1).event_at(time, kind, json!(tags), content);
        }
        self.mined(time, kind, &tags, content, bits).0
    }

    /// An event of exactly so many leading zero bits or more, and their number.
    fn mined(
        &self,
        time: u64,
        kind: u64,
        tags: &[Value],
        content: &str,
        bits: usize,
    ) -> (Value, u32) {
        let target = self.number("min_pow_difficulty").to_string();
        let events = (0_u64..).map(|nonce| {
            let mut tags = tags.to_vec();
            if let Some(last) = tags.last_mut() {
                // In place of a tag: their number is a limit.
                *last = json!(["nonce", nonce.to_string(), target]);
            } else {
                tags.push(json!(["nonce", nonce.to_string(), target]));
            }
            Author::new(1).event_at(time, kind, json!(tags), content)
        });
        let mut events = events.map(|event| {
            let zeros = zero_bits(id(&event));
            (event, zeros)
        });
        events.find(|(_, zeros)| *zeros as usize >= bits).unwrap()
    }

    /// Publishes an event; returns the text of its refusal.
    fn refusal(&self, event: &Value) -> Option<String> {
        let (accepted, text) = self.client().publish(event);
        (!accepted).then_some(text)
    }
}

fn zero_bits(id: &str) -> u32 {
    let zeros = id.bytes().take_while(|digit| *digit == b'0').count() as u32;
    let rest = id.chars().nth(zeros as usize).unwrap().to_digit(16).unwrap();
    zeros * 4 + rest.leading_zeros() - 28
}

/// A member of the document's `limitation`, and the test of its value.
type Row = (&'static str, fn(&Given));

const ROWS: [Row; 14] = [
    ("max_message_length", |given| {
        let max = given.number("max_message_length");
        let message = |len: usize| {
            let (head, tail) = (r#"["CLOSE","a",""#, r#""]"#);
            format!("{head}{}{tail}", "x".repeat(len - head.len() - tail.len()))
        };
        let mut client = given.client();
        client.client.text(&message(max));
        client.expect_silence();
        client.client.text(&message(max + 1));
        assert_eq!(client.expect_close().0, 1009);
    }),
    ("max_subscriptions", |given| {
        let max = given.number("max_subscriptions");
        let mut client = given.client();
        for number in 0..max {
            client.request(&number.to_string(), &[json!({"limit": 0})]);
        }
        client.send(&json!(["REQ", "more", {"limit": 0}]));
        let text = client.closed("more");
        assert!(text.starts_with("rate-limited: ") && text.contains(&max.to_string()), "{text}");
        client.request("0", &[json!({"limit": 0, "kinds": [1]})]);
    }),
    ("max_filters", |given| {
        let max = given.number("max_filters");
        let mut client = given.client();
        client.request("a", &vec![json!({"limit": 0}); max]);
        let mut message = vec![json!("REQ"), json!("b")];
        message.extend(vec![json!({"limit": 0}); max + 1]);
        for verb in ["REQ", "COUNT"] {
            message[0] = verb.into();
            client.send(&json!(message));
            assert_eq!(client.closed("b"), format!("invalid: more than {max} filters"));
        }
    }),
    // A larger `limit` is reduced.
    ("max_limit", |given| {
        let max = given.number("max_limit");
        let mut client = given.client();
        let filter = |limit: usize| json!({"kinds": [7], "limit": limit});
        assert!(stored(given) > max);
        for (limit, found) in [(max - 1, max - 1), (max, max), (max + 1, max)] {
            assert_eq!(client.find(filter(limit)).len(), found, "{limit}");
        }
    }),
    ("default_limit", |given| {
        let default = given.number("default_limit");
        assert!(stored(given) > default);
        assert_eq!(given.client().find(json!({"kinds": [7]})).len(), default);
    }),
    ("max_subid_length", |given| {
        let max = given.number("max_subid_length");
        let mut client = given.client();
        client.request(&"x".repeat(max), &[json!({"limit": 0})]);
        client.request(&"\u{1F600}".repeat(max), &[json!({"limit": 0})]);
        let expected = format!("invalid: a subscription id is longer than {max} characters");
        for verb in ["REQ", "COUNT"] {
            let long = "x".repeat(max + 1);
            client.send(&json!([verb, long, {"limit": 0}]));
            // An id above 256 characters is not sent back.
            let text = if max < 256 { client.closed(&long) } else { client.notice() };
            assert_eq!(text, expected);
        }
    }),
    ("max_event_tags", |given| {
        let max = given.number("max_event_tags");
        let event = |tags: usize| given.event(1, vec![json!(["x"]); tags], "");
        assert_eq!(given.refusal(&event(max)), None);
        let text = given.refusal(&event(max + 1)).unwrap();
        assert!(text.starts_with("invalid: ") && text.contains(&format!("{max} tags")), "{text}");
    }),
    // In characters.
    ("max_content_length", |given| {
        let max = given.number("max_content_length");
        let event = |content: String| given.event(1, Vec::new(), &content);
        assert_eq!(given.refusal(&event("x".repeat(max))), None);
        assert_eq!(given.refusal(&event("\u{1F600}".repeat(max))), None);
        let text = given.refusal(&event("x".repeat(max + 1))).unwrap();
        assert!(text.starts_with("invalid: ") && text.contains(&max.to_string()), "{text}");
    }),
    ("min_pow_difficulty", |given| {
        let min = given.number("min_pow_difficulty");
        let (enough, bits) = given.mined(now(), 1, &[], "", min);
        assert!(bits as usize >= min);
        assert_eq!(given.refusal(&enough), None);
        let target = json!([["nonce", "0", min.to_string()]]);
        let mut cheap =
            (0..).map(|number| Author::new(1).event(1, target.clone(), &format!("cheap {number}")));
        if min > 0 {
            let is_less = |event: &Value| (zero_bits(id(event)) as usize) < min;
            let text = given.refusal(&cheap.find(is_less).unwrap()).unwrap();
            assert!(text.starts_with("pow: ") && text.contains(&min.to_string()), "{text}");
        }
    }),
    ("auth_required", |given| {
        let is_required = given.limitation["auth_required"] == true;
        let mut client = given.client();
        client.send(&json!(["REQ", "a", {"limit": 0}]));
        let is_closed = client.receive()[0] == "CLOSED";
        let text = given.refusal(&given.event(1, Vec::new(), "without a key"));
        let is_refused = text.is_some_and(|text| text.starts_with("auth-required: "));
        assert_eq!(is_closed || is_refused, is_required);
    }),
    ("payment_required", |given| {
        assert_eq!(given.limitation["payment_required"], false);
    }),
    ("restricted_writes", |given| {
        // A plain note of a new author.
        let note = Author::new(9).note("anybody");
        let is_refused = given.refusal(&note).is_some();
        assert_eq!(given.limitation["restricted_writes"] == true, is_refused);
    }),
    ("created_at_lower_limit", |given| {
        let past = given.number("created_at_lower_limit") as u64;
        let event = |age: u64| given.event_at(now() - age, 1, Vec::new(), "old");
        // A second may pass before the event is checked.
        assert_eq!(given.refusal(&event(past - 30)), None);
        let text = given.refusal(&event(past + 1)).unwrap();
        assert!(text.starts_with("invalid: ") && text.contains(&past.to_string()), "{text}");
    }),
    ("created_at_upper_limit", |given| {
        let future = given.number("created_at_upper_limit") as u64;
        let event = |age: u64| given.event_at(now() + age, 1, Vec::new(), "early");
        assert_eq!(given.refusal(&event(future)), None);
        let text = given.refusal(&event(future + 30)).unwrap();
        assert!(text.starts_with("invalid: ") && text.contains(&future.to_string()), "{text}");
    }),
];

/// Stores more events of kind 7 than `max_limit`; returns how many there are.
fn stored(given: &Given) -> usize {
    let wanted = given.number("max_limit") + 2;
    let mut client = given.client();
    let start = now() - wanted as u64;
    let events: Vec<Value> = (0..wanted as u64)
        .map(|number| given.event_at(start + number, 7, Vec::new(), "+"))
        .collect();
    for events in events.chunks(200) {
        events.iter().for_each(|event| client.send(&json!(["EVENT", event])));
        // Another row may have stored some of them: OKs of duplicates are not in the order of the events.
        let mut awaited: HashSet<&str> = events.iter().map(id).collect();
        while !awaited.is_empty() {
            let ok = client.expect("OK");
            assert!(ok[2] == true && awaited.remove(ok[1].as_str().unwrap()), "{ok}");
        }
    }
    wanted
}

/// Checks the members of these names.
fn check_members(given: &Given, names: &[&str]) {
    let rows: Vec<&Row> = ROWS.iter().filter(|(name, _)| names.contains(name)).collect();
    check_rows(&rows, |(name, _)| name, |(_, holds)| holds(given));
}

/// Checks each member that the document has. A member without a row fails.
fn check(given: &Given) {
    let names: Vec<&str> = given.limitation.keys().map(String::as_str).collect();
    check_members(given, &names);
    for name in given.limitation.keys() {
        assert!(ROWS.iter().any(|(row, _)| row == name), "{name} has no test");
    }
}

#[test]
fn the_limits_of_a_relay_without_configuration_are_those_of_its_document() {
    check(&Given::new(""));
}

#[test]
fn changed_limits_are_those_of_the_document() {
    let given = Given::new(
        "---subscriptions_per_connection_max = 7\nfilters_max = 3\nlimit_max = 20\n\
         limit_default = 10\nsubscription_id_max = 12\ntags_max = 5\ncontent_max = 100\n\
         pow_min = 6\nfuture_max = '1h'\npast_max = '2h'",
    );
    for (name, value) in [
        ("max_subscriptions", 7),
        ("max_filters", 3),
        ("max_limit", 20),
        ("default_limit", 10),
        ("max_subid_length", 12),
        ("max_event_tags", 5),
        ("max_content_length", 100),
        ("min_pow_difficulty", 6),
        ("created_at_upper_limit", 3600),
        ("created_at_lower_limit", 7200),
    ] {
        assert_eq!(given.number(name), value, "{name}");
    }
    check(&given);
}

#[test]
fn the_seeds_numbers_can_be_set() {
    let given = Given::new("---subscriptions_per_connection_max = 20\nsubscription_id_max = 256");
    assert_eq!(given.number("max_subscriptions"), 20);
    assert_eq!(given.number("max_subid_length"), 256);
    check_members(&given, &["max_subscriptions", "max_subid_length"]);
}

#[test]
fn required_authentication_and_restricted_writes_are_announced() {
    for (settings, is_required, is_restricted) in [
        ("auth = 'read'", true, false),
        ("auth = 'write'", true, true),
        ("auth = 'all'", true, true),
        ("allow_only = true", false, true),
        (&format!("allow_authors = ['{}']", Author::new(1).key()), false, true),
        ("allow_kinds = ['7']", false, true),
        ("pow_min = 30", false, true),
        ("deny_kinds = ['7']", false, false),
    ] {
        let given = Given::new(&format!("---{settings}"));
        assert_eq!(given.limitation["auth_required"], is_required, "{settings}");
        assert_eq!(given.limitation["restricted_writes"], is_restricted, "{settings}");
        // Nobody mines an event for the test.
        if settings != "pow_min = 30" {
            check_members(&given, &["auth_required", "restricted_writes"]);
        }
    }
}
