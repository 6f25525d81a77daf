//! Malformed messages over sockets: each gets the answer that the table names, and none closes the
//! connection, except for its length. The table is the one of the unit tests.

#[path = "../../src/services/nostr/message/tests/names.rs"]
mod names;

use serde_json::json;

use self::names::Named;
use super::author::{Author, now};
use super::relay::{NostrClient, Relay};
use super::table::check_rows;

/// Messages, each below the answer that it gets (`= ..`). `$NAME` stands for a text.
const TABLE: &str = include_str!("../../src/services/nostr/message/malformed.txt");
/// The length in bytes above which a message closes the connection.
const MESSAGE_BYTES_MAX: usize = 512 * 1024;

fn named() -> Named {
    let event = Author::new(1).event_at(1_700_000_000, 1, json!([]), "hello");
    let text = |member: &str| event[member].as_str().unwrap().to_owned();
    Named { id: text("id"), pubkey: text("pubkey"), sig: text("sig"), event: event.to_string() }
}

/// The time that the unit tests take for the future is past here.
fn expand(named: &Named, line: &str) -> String {
    named.expand(line).replace("1700000901", &(now() + 1000).to_string())
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
    let (relay, named, rows) = (Relay::new(), named(), rows());
    assert!(rows.len() >= 200, "{}", rows.len());
    let mut client = relay.client();
    check_rows(
        &rows,
        |(message, _)| message,
        |(message, answer)| {
            let message = expand(&named, message);
            if message.len() > MESSAGE_BYTES_MAX {
                let mut client = relay.client();
                client.client.text(&message);
                assert_eq!(client.expect_close().0, 1009);
                return;
            }
            let answered = answer_of(&mut client, &message);
            let answer = expand(&named, answer);
            if answered != answer {
                // The next row starts with a connection of its own.
                client = relay.client();
                panic!("{answered:.200} instead of {answer:.200}");
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
