//! The events of a run, signed before it starts: signing costs as much as a relay's verification.

use std::collections::HashMap;

use fastrand::Rng;

use super::author::{Author, unix_seconds};
use crate::size::Sizes;

/// The first eight bytes of an event's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct EventKey(u64);

impl EventKey {
    /// `None` if the id does not start with 16 hex digits.
    pub(crate) fn of(id: &str) -> Option<EventKey> {
        u64::from_str_radix(id.get(..16)?, 16).ok().map(EventKey)
    }
}

/// The properties of a run's events.
#[derive(Debug, Clone)]
pub(crate) struct EventPlan {
    pub(crate) count: usize,
    pub(crate) kind: u16,
    /// Lengths of the content, in bytes. The number that makes it unique is never cut.
    pub(crate) sizes: Sizes,
    pub(crate) seed: u64,
    /// Whether events carry the current time; else each is a second older than the next.
    pub(crate) is_live: bool,
}

/// Signed events. Event `i` is by author `i` modulo their number.
#[derive(Debug)]
pub(crate) struct Events {
    /// EVENT messages, one after the other.
    messages: String,
    /// The end of each message.
    ends: Vec<usize>,
    by_key: HashMap<EventKey, usize>,
}

/// Words of the content: it compresses like text.
const WORDS: [&str; 24] = [
    "note",
    "relay",
    "the",
    "event",
    "signed",
    "of",
    "morning",
    "stream",
    "and",
    "water",
    "gate",
    "key",
    "over",
    "river",
    "filter",
    "a",
    "coffee",
    "client",
    "with",
    "time",
    "zap",
    "from",
    "subscription",
    "weir",
];

impl Events {
    /// Signs `plan.count` events. Two runs never have an event in common: relays would answer
    /// `duplicate:`.
    pub(crate) fn sign(plan: &EventPlan, authors: &[Author]) -> Events {
        let mut rng = Rng::with_seed(plan.seed);
        let run = Rng::new().u64(..);
        let now = unix_seconds();
        let mut messages = String::new();
        let mut ends = Vec::with_capacity(plan.count);
        let mut by_key = HashMap::with_capacity(plan.count);
        for index in 0..plan.count {
            let author = &authors[index % authors.len()];
            let mentioned = &authors[rng.usize(..authors.len())].public_key;
            let tags = tags(plan.kind, index, mentioned, &mut rng);
            let content = content(index, run, plan.sizes.draw(&mut rng), &mut rng);
            let age = if plan.is_live { 0 } else { plan.count - index - 1 };
            messages.push_str(r#"["EVENT","#);
            let created_at = now.saturating_sub(age as u64);
            let id = author.sign(&mut messages, created_at, plan.kind, &tags, &content);
            messages.push(']');
            ends.push(messages.len());
            let key = id.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
            by_key.insert(EventKey(key), index);
        }
        Events { messages, ends, by_key }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The EVENT message of an event.
    pub(crate) fn message(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.messages[start..self.ends[index]]
    }

    /// The event with this id, if it is one of this run.
    pub(crate) fn find(&self, id: &str) -> Option<usize> {
        self.by_key.get(&EventKey::of(id)?).copied()
    }
}

/// Tags that relays index: an event, a key, a topic; and the `d` of an addressable event.
fn tags(kind: u16, index: usize, mentioned: &str, rng: &mut Rng) -> String {
    let (high, low) = (rng.u128(..), rng.u128(..));
    let identifier = match kind {
        30_000..=39_999 => format!(r#"["d","{index}"],"#),
        _ => String::new(),
    };
    format!(r#"[{identifier}["e","{high:032x}{low:032x}"],["p","{mentioned}"],["t","load"]]"#)
}

fn content(index: usize, run: u64, bytes: usize, rng: &mut Rng) -> String {
    let mut content = format!("{index} {run:x}");
    let unique = content.len();
    while content.len() < bytes {
        content.push(' ');
        content.push_str(WORDS[rng.usize(..WORDS.len())]);
    }
    content.truncate(bytes.max(unique));
    content
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::nostr::authors;

    fn plan(kind: u16, size: &str) -> EventPlan {
        let sizes = size.parse().unwrap();
        EventPlan { count: 3, kind, sizes, seed: 1, is_live: false }
    }

    fn event(events: &Events, index: usize) -> Value {
        let message: Value = serde_json::from_str(events.message(index)).unwrap();
        assert_eq!(message[0], "EVENT");
        message[1].clone()
    }

    #[test]
    fn events_are_found_by_id_and_rotate_through_the_authors() {
        let authors = authors(1, 2);
        let events = Events::sign(&plan(1, "200"), &authors);
        assert_eq!(events.len(), 3);
        for index in 0..3 {
            let event = event(&events, index);
            assert_eq!(events.find(event["id"].as_str().unwrap()), Some(index));
            assert_eq!(event["pubkey"], authors[index % 2].public_key);
            assert_eq!(event["content"].as_str().unwrap().len(), 200);
        }
        let times = [0, 1, 2].map(|index| event(&events, index)["created_at"].as_u64().unwrap());
        assert_eq!([times[1] - times[0], times[2] - times[1]], [1, 1]);
        assert_eq!((events.find("ff"), events.find(&"0".repeat(64))), (None, None));
    }

    #[test]
    fn events_of_two_runs_differ_however_short_they_are() {
        let (authors, plan) = (authors(1, 1), plan(30_000, "1"));
        let (one, two) = (Events::sign(&plan, &authors), Events::sign(&plan, &authors));
        let id = |events, index| event(events, index)["id"].clone();
        assert_ne!(id(&one, 0), id(&two, 0));
        assert_ne!(id(&one, 0), id(&one, 1));
        assert_eq!(event(&one, 2)["tags"][0], serde_json::json!(["d", "2"]));
    }
}
