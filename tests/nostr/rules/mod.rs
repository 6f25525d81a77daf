//! The 43 rules that relay-tester 0.2.0 requires, under its names, over sockets: an empty relay without
//! configuration, and an author that has authenticated.

mod auth;
mod deleting;
mod finding;
mod publishing;
mod replacing;
mod stored;

use std::collections::HashSet;

use serde_json::{Value, json};

use super::author::{Author, id, now};
use super::relay::{NostrClient, Relay};
use super::table::check_rows;

/// A rule of relay-tester: its name, and what holds.
type Rule<T = Given> = (&'static str, fn(&T));

/// What a rule starts from.
struct Given {
    relay: Relay,
    author: Author,
    /// Another author, for what it must not be able to do.
    other: Author,
    /// A key without any event.
    stranger: Author,
}

impl Given {
    fn new() -> Given {
        let [author, other, stranger] = [1, 2, 3].map(Author::new);
        Given { relay: Relay::with(""), author, other, stranger }
    }

    /// A client that has authenticated as the author.
    fn client(&self) -> NostrClient {
        let mut client = self.relay.client();
        assert_eq!(client.authenticate(&self.author), (true, String::new()));
        client
    }
}

fn check<T>(rules: &[Rule<T>], given: &T) {
    check_rows(rules, |(name, _)| name, |(_, holds)| holds(given));
}

/// The time of so many minutes ago.
fn ago(minutes: u64) -> u64 {
    now() - minutes * 60
}

/// Asserts that a filter finds these events, in this order.
fn expect_found(client: &mut NostrClient, filter: Value, expected: &[&Value]) {
    let found = client.find(filter.clone());
    let found: Vec<&str> = found.iter().map(id).collect();
    let expected: Vec<&str> = expected.iter().copied().map(id).collect();
    assert_eq!(found, expected, "{filter}");
}

/// The text of the OK of an event that must be refused.
fn refused(client: &mut NostrClient, event: &Value) -> String {
    let (accepted, text) = client.publish(event);
    assert!(!accepted, "{event} is accepted: {text}");
    text
}

/// A request of the author to delete what these tags name.
fn deletion(author: &Author, created_at: u64, tags: &[[&str; 2]]) -> Value {
    author.event_at(created_at, 5, json!(tags), "")
}

#[test]
fn every_rule_has_a_row() {
    let mut names = HashSet::new();
    names.extend(auth::RULES.iter().map(|(name, _)| *name));
    names.extend(publishing::RULES.iter().map(|(name, _)| *name));
    names.extend(finding::RULES.iter().map(|(name, _)| *name));
    names.extend(replacing::RULES.iter().map(|(name, _)| *name));
    names.extend(deleting::RULES.iter().map(|(name, _)| *name));
    assert_eq!(names.len(), 43);
}
