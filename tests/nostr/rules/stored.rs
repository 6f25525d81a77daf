//! The events of relay-tester that most of its rules search for: "group A".

use serde_json::{Value, json};

use super::*;

/// A relay with the events.
pub(super) struct Stored {
    pub(super) given: Given,
    /// Notes with a tag `t`: its value, and the age in minutes.
    pub(super) a40: Value,
    pub(super) b45: Value,
    pub(super) a50: Value,
    pub(super) b55: Value,
    /// Profiles (kind 0): the newer one comes last.
    pub(super) profiles: [Value; 2],
    /// Lists of contacts (kind 3): the newer one comes first.
    pub(super) contacts: [Value; 2],
    /// Events of a regular kind; only the first one has a tag `k`.
    pub(super) approved: [Value; 2],
    /// Versions of an addressable event (kind 30000), and of a replaceable one (kind 10003): the newer
    /// one comes last.
    pub(super) lists: [Value; 2],
    pub(super) bookmarks: [Value; 2],
    pub(super) ephemeral: Value,
}

impl Stored {
    /// Publishes the events; each must get an OK.
    pub(super) fn new() -> Stored {
        let given = Given::new();
        let by = &given.author;
        let event = |minutes, kind, tags: Value| by.event_at(ago(minutes), kind, tags, "");
        let note = |minutes, tag: &str| event(minutes, 1, json!([["t", tag]]));
        let bookmark = json!([["e", "ab".repeat(32)]]);
        let approval = json!(["n", "approved"]);
        let stored = Stored {
            a40: note(40, "a"),
            b45: note(45, "b"),
            a50: note(50, "a"),
            b55: note(55, "b"),
            profiles: [60, 0].map(|minutes| event(minutes, 0, json!([]))),
            contacts: [10, 70].map(|minutes| event(minutes, 3, json!([]))),
            approved: [
                event(30, 9999, json!([["k", "3036"], approval])),
                event(35, 9999, json!([approval])),
            ],
            lists: [120, 60].map(|minutes| event(minutes, 30_000, json!([["d", "1"]]))),
            bookmarks: [80, 65].map(|minutes| event(minutes, 10_003, json!([bookmark[0]]))),
            ephemeral: event(10, 21_212, json!([])),
            given,
        };
        let mut client = stored.given.client();
        for event in stored.all() {
            let (accepted, text) = client.publish(event);
            let is_older = *event == stored.contacts[1];
            let may_be_old = *event == stored.ephemeral;
            assert!(accepted != is_older || may_be_old, "{event}: {text}");
        }
        stored
    }

    /// All events in the order in which they are published.
    pub(super) fn all(&self) -> Vec<&Value> {
        let mut all = vec![&self.a40, &self.a50, &self.b45, &self.b55];
        all.extend(self.profiles.iter().chain(&self.contacts));
        all.push(&self.ephemeral);
        all.extend(self.approved.iter().chain(&self.lists).chain(&self.bookmarks));
        all
    }

    /// The events that must be left, newest first.
    pub(super) fn left(&self) -> Vec<&Value> {
        let mut left = vec![&self.a40, &self.a50, &self.b45, &self.b55];
        left.extend([&self.profiles[1], &self.contacts[0], &self.lists[1], &self.bookmarks[1]]);
        left.extend(&self.approved);
        left.sort_by_key(|event| std::cmp::Reverse(event["created_at"].as_u64()));
        left
    }

    pub(super) fn client(&self) -> NostrClient {
        self.given.client()
    }

    /// The author's key.
    pub(super) fn key(&self) -> String {
        self.given.author.key()
    }
}
