//! Malformed messages over sockets: each gets the answer that the table names, and none closes the
//! connection, except for its length. The table is the one of the unit tests.

use serde_json::json;

use super::author::{Author, id, now};
use super::relay::{NostrClient, Relay};
use super::table::check_rows;

/// Messages, each below the answer that it gets (`= ..`). `$NAME` stands for a text.
const TABLE: &str = include_str!("../../src/services/nostr/message/malformed.txt");
/// The length in bytes above which a message closes the connection.
const MESSAGE_BYTES_MAX: usize = 512 * 1024;

/// The texts behind the names of the table; longer names first.
fn names() -> Vec<(&'static str, String)> {
    let event = Author::new(1).event_at(1_700_000_000, 1, json!([]), "hello");
    let text = |member: &str| event[member].as_str().unwrap().to_owned();
    let (key, signature) = (text("pubkey"), text("sig"));
    let list = |count: usize, item: &str| vec![item; count].join(",");
    vec![
        // The time that the unit tests take for the future.
        ("1700000901", (now() + 1000).to_string()),
        ("$EVENT", event.to_string()),
        ("$DEEP", "[".repeat(100_000)),
        ("$A524288", "a".repeat(524_288)),
        ("$A65537", "a".repeat(65_537)),
        ("$A257", "a".repeat(257)),
        ("$A256", "a".repeat(256)),
        ("$A65", "a".repeat(65)),
        ("$A64", "a".repeat(64)),
        ("$E65", "\\u00e9".repeat(65)),
        ("$FILTERS101", list(101, "{}")),
        ("$KINDS5001", list(5_001, "1")),
        ("$KINDS2501", list(2_501, "1")),
        ("$TAGS10001", list(10_001, "[\"t\"]")),
        ("$UPKEY", key.to_uppercase()),
        ("$UPSIG", signature.to_uppercase()),
        ("$UP", id(&event).to_uppercase()),
        ("$PUBKEY", key),
        ("$SIG", signature),
        ("$ID62", id(&event)[2..].to_owned()),
        ("$ID", id(&event).to_owned()),
    ]
}

/// Abbreviated members of an event, before a `,`, `}` or `]`.
const MEMBERS: [(&str, &str); 7] = [
    ("$I", "\"id\":\"$ID\""),
    ("$P", "\"pubkey\":\"$PUBKEY\""),
    ("$T", "\"created_at\":1700000000"),
    ("$K", "\"kind\":1"),
    ("$G", "\"tags\":[]"),
    ("$C", "\"content\":\"hello\""),
    ("$S", "\"sig\":\"$SIG\""),
];

fn expand(text: &str, names: &[(&str, String)]) -> String {
    let mut text = text.to_owned();
    for (name, member) in MEMBERS {
        for end in [",", "}", "]"] {
            text = text.replace(&format!("{name}{end}"), &format!("{member}{end}"));
        }
    }
    names.iter().fold(text, |text, (name, value)| text.replace(name, value))
}

/// The messages with their answers, as they stand in the table.
fn rows() -> Vec<(&'static str, &'static str)> {
    let mut answer = "";
    let mut rows = Vec::new();
    for line in TABLE.lines() {
        match line.strip_prefix("= ") {
            Some(text) => answer = text,
            None if line.is_empty() || line.starts_with('#') => {}
            None => rows.push((line, answer)),
        }
    }
    rows
}

#[test]
fn malformed_messages_get_their_answers_and_close_no_connection() {
    let (relay, names, rows) = (Relay::new(), names(), rows());
    assert!(rows.len() >= 200, "{}", rows.len());
    let mut client = relay.client();
    check_rows(
        &rows,
        |(message, _)| message,
        |(message, answer)| {
            let message = expand(message, &names);
            if message.len() > MESSAGE_BYTES_MAX {
                let mut client = relay.client();
                client.client.text(&message);
                assert_eq!(client.expect_close().0, 1009);
                return;
            }
            let answered = answer_of(&mut client, &message);
            if answered != expand(answer, &names) {
                // The next row starts with a connection of its own.
                client = relay.client();
                panic!("{:.200} instead of {:.200}", answered, expand(answer, &names));
            }
            client.expect_silence();
        },
    );
    assert_eq!(client.find(json!({})), [json!(null); 0]);
}

/// The text of the message that follows this one.
fn answer_of(client: &mut NostrClient, message: &str) -> String {
    client.client.text(message);
    String::from_utf8(client.client.frame().payload).unwrap()
}
