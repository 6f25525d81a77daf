//! Sequences of events over sockets, the OK of each, and what must be left: replacement (NIP-01), deletion
//! (NIP-09) and requests to vanish (NIP-62).
//!
//! Each sequence runs twice, with other authors: once each event waits for the OK of the one before it, once
//! all of them are sent together, so that they may come into one batch of the writer.

mod deletions;
mod replacements;
mod vanishings;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::author::{Author, id, now};
use super::relay::{NostrClient, Relay};
use super::table::check_rows;

/// The OK of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ok {
    Stored,
    Duplicate,
    Newer,
    Deleted,
    Vanished,
    Invalid,
}

impl Ok {
    fn of(accepted: bool, text: &str) -> Ok {
        match (accepted, text) {
            (true, "") => Ok::Stored,
            (true, "duplicate: already have this event") => Ok::Duplicate,
            (false, "duplicate: a newer version is stored") => Ok::Newer,
            (false, "blocked: this event was deleted") => Ok::Deleted,
            (false, _) if text.starts_with("blocked: ") && text.ends_with("to vanish") => {
                Ok::Vanished
            }
            (false, _) if text.starts_with("invalid: ") => Ok::Invalid,
            _ => panic!("{accepted}: {text}"),
        }
    }
}

/// An event of a sequence. Authors are numbers from 1 to 9.
struct Step {
    /// Names the event to `e` tags and to what is left.
    name: &'static str,
    by: u32,
    kind: u64,
    /// Seconds after the start of the sequence.
    at: u64,
    /// Name and value: for `e` the name of an event, for `p` an author, for `a` an address with the number of
    /// an author.
    tags: &'static [&'static str],
    ok: Ok,
}

const fn step(
    name: &'static str,
    by: u32,
    kind: u64,
    at: u64,
    tags: &'static [&'static str],
    ok: Ok,
) -> Step {
    Step { name, by, kind, at, tags, ok }
}

/// A sequence: its rule, its events, and the names of those that are left.
struct Sequence {
    rule: &'static str,
    steps: &'static [Step],
    left: &'static [&'static str],
}

/// A sequence with authors of its own.
struct Run<'a> {
    sequence: &'a Sequence,
    /// The number of the authors' first one.
    first: u32,
    start: u64,
}

impl Run<'_> {
    fn author(&self, number: u32) -> Author {
        Author::new(self.first + number)
    }

    fn event(&self, name: &str) -> Value {
        let step = self.sequence.steps.iter().find(|step| step.name == name).unwrap();
        let tags: Vec<[String; 2]> = step.tags.iter().map(|tag| self.tag(tag)).collect();
        self.author(step.by).event_at(self.start + step.at, step.kind, json!(tags), "")
    }

    fn tag(&self, tag: &str) -> [String; 2] {
        let (name, value) = tag.split_once(' ').unwrap_or((tag, ""));
        let key = |number: &str| self.author(number.parse().unwrap()).key();
        let value = match name {
            "e" => id(&self.event(value)).to_owned(),
            "p" => key(value),
            "a" => {
                let parts: Vec<&str> = value.splitn(3, ':').collect();
                format!("{}:{}:{}", parts[0], key(parts[1]), parts[2])
            }
            _ => value.to_owned(),
        };
        [name.to_owned(), value]
    }

    /// Sends the events and compares their OKs.
    fn publish(&self, client: &mut NostrClient, is_pipelined: bool) {
        let steps = self.sequence.steps;
        let mut oks = Vec::new();
        let mut expected = Vec::new();
        for step in steps {
            let event = self.event(step.name);
            client.send(&json!(["EVENT", event]));
            expected.push((id(&event).to_owned(), step.ok));
            if !is_pipelined {
                oks.push(client.expect("OK"));
            }
        }
        oks.resize_with(steps.len(), || client.expect("OK"));
        let mut oks: Vec<(String, Ok)> = oks.iter().map(parsed).collect();
        if is_pipelined {
            // The OK of an event that is not stored may overtake those of stored ones.
            oks.sort();
            expected.sort();
        }
        for (mut ok, expected) in oks.into_iter().zip(expected) {
            let is_repeated = is_pipelined && self.is_repeated(&expected.0);
            if is_repeated && ok.1 == Ok::Duplicate {
                // It was stored when it was checked: what removes it was not committed yet.
                ok.1 = expected.1;
            }
            assert_eq!(ok, expected, "{}", self.name(&expected.0));
        }
    }

    /// Compares what is left. An author of gift wraps or their recipient must be authenticated.
    fn expect_left(&self, client: &mut NostrClient) {
        let authors: Vec<String> = (1..10).map(|number| self.author(number).key()).collect();
        let found = client.find(json!({"authors": authors}));
        let found: BTreeSet<String> = found.iter().map(|event| id(event).to_owned()).collect();
        let found: BTreeSet<&str> = found.iter().map(|id| self.name(id)).collect();
        assert_eq!(found, self.sequence.left.iter().copied().collect());
    }

    /// The name of the event with this id.
    fn name(&self, id_of: &str) -> &str {
        let is_meant = |step: &&Step| id(&self.event(step.name)) == id_of;
        self.sequence.steps.iter().find(is_meant).map_or("another event", |step| step.name)
    }

    fn is_repeated(&self, id: &str) -> bool {
        let name = self.name(id);
        self.sequence.steps.iter().filter(|step| step.name == name).count() > 1
    }

    fn client(&self, relay: &Relay) -> NostrClient {
        let mut client = relay.client();
        assert!(client.authenticate(&self.author(1)).0);
        client
    }
}

/// The id and the outcome in an OK message.
fn parsed(ok: &Value) -> (String, Ok) {
    let text = |at: usize| ok[at].as_str().unwrap();
    (text(1).to_owned(), Ok::of(ok[2].as_bool().unwrap(), text(3)))
}

/// Runs the sequences of a table; then again what is left after a SIGKILL.
fn check(sequences: &[Sequence]) {
    let relay = Relay::new();
    let start = now() - 1000;
    let runs = || {
        let runs = sequences.iter().flat_map(|sequence| [(sequence, false), (sequence, true)]);
        (0..).zip(runs).map(|(number, (sequence, is_pipelined))| {
            (Run { sequence, first: 10 * number, start }, is_pipelined)
        })
    };
    let rows: Vec<_> = runs().collect();
    check_rows(
        &rows,
        |(run, _)| run.sequence.rule,
        |(run, is_pipelined)| {
            let mut client = run.client(&relay);
            run.publish(&mut client, *is_pipelined);
            run.expect_left(&mut client);
        },
    );
    let relay = relay.killed();
    check_rows(
        &rows,
        |(run, _)| run.sequence.rule,
        |(run, _)| {
            run.expect_left(&mut run.client(&relay));
        },
    );
}

#[test]
fn replacements_leave_the_newest_version() {
    check(replacements::SEQUENCES);
}

#[test]
fn deletions_remove_what_they_name_and_their_author_owns() {
    check(deletions::SEQUENCES);
}

#[test]
fn requests_to_vanish_remove_all_up_to_their_time() {
    check(vanishings::SEQUENCES);
}

#[test]
fn there_are_sequences_enough() {
    let count = replacements::SEQUENCES.len() + deletions::SEQUENCES.len();
    assert!(count + vanishings::SEQUENCES.len() >= 25);
}

/// NIP-01: of two versions of one second the lower id is kept, whichever comes first.
#[test]
fn of_one_second_the_version_with_the_lower_id_is_kept() {
    let relay = Relay::new();
    for (number, kind, tags) in [(1, 0, json!([])), (2, 30_023, json!([["d", "a"]]))] {
        for is_lower_first in [true, false] {
            let author = Author::new(2 * number + u32::from(is_lower_first));
            let version = |content: &str| author.event_at(now() - 9, kind, tags.clone(), content);
            let mut versions = [version("one"), version("two")];
            versions.sort_by_key(|event| id(event).to_owned());
            let [lower, higher] = &versions;
            let mut client = relay.client();
            if is_lower_first {
                client.accept(lower);
                let (accepted, text) = client.publish(higher);
                assert_eq!(Ok::of(accepted, &text), Ok::Newer);
            } else {
                client.accept(higher);
                client.accept(lower);
            }
            let filter = json!({"authors": [author.key()]});
            assert_eq!(client.find(filter), std::slice::from_ref(lower));
        }
    }
}
