//! Replacement (NIP-01), deletion (NIP-09) and vanishing (NIP-62): sequences of events, what becomes of each,
//! and what must be left. Each sequence runs with a commit per event, and as one batch.

use super::*;

/// What becomes of an event: its outcome without details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Became {
    Stored,
    Duplicate,
    Newer,
    Deleted,
    Vanished,
    Vanishing,
    Invalid,
}
use Became::*;

fn became(outcome: &Outcome) -> Became {
    match outcome {
        // In one batch, what a later event removes is superseded.
        Outcome::Stored { .. } | Outcome::Superseded => Stored,
        Outcome::Duplicate => Duplicate,
        Outcome::Newer => Newer,
        Outcome::Deleted => Deleted,
        Outcome::Vanished => Vanished,
        Outcome::Vanishing { .. } => Vanishing,
        Outcome::Invalid(_) => Invalid,
        Outcome::DiskFull => unreachable!("there is no limit on the disk"),
    }
}

/// A sequence: its rule, events with what becomes of them, and the ids that are left.
struct Sequence {
    rule: &'static str,
    events: Vec<(Draft, Became)>,
    left: &'static [u64],
}

pub(super) fn at(id: u64, by: u8, kind: u16, time: u64) -> Draft {
    Draft::new(id, by, kind, NOW - 1_000 + time)
}

pub(super) fn event_tag(number: u64) -> String {
    hex_of(&id(number))
}

pub(super) fn address(kind: u16, by: u8, identifier: &str) -> String {
    format!("{kind}:{}:{identifier}", hex_of(&author(by)))
}

pub(super) fn deletion(id: u64, by: u8, time: u64) -> Draft {
    at(id, by, 5, time)
}

fn replacements() -> Vec<Sequence> {
    let article = |id, time, d| at(id, 1, 30_023, time).tag("d", d);
    let sequence = |rule, events, left| Sequence { rule, events, left };
    vec![
        sequence(
            "a newer replaceable event replaces the older one",
            vec![(at(1, 1, 0, 1), Stored), (at(2, 1, 0, 2), Stored)],
            &[2],
        ),
        sequence(
            "an older replaceable event is refused",
            vec![(at(1, 1, 10_002, 2), Stored), (at(2, 1, 10_002, 1), Newer)],
            &[1],
        ),
        sequence(
            "of the same second, the lower id replaces the higher one",
            vec![(at(9, 1, 3, 1), Stored), (at(8, 1, 3, 1), Stored)],
            &[8],
        ),
        sequence(
            "of the same second, the higher id is refused",
            vec![(at(8, 1, 3, 1), Stored), (at(9, 1, 3, 1), Newer)],
            &[8],
        ),
        sequence(
            "replaceable events of other authors and kinds stay",
            vec![(at(1, 1, 0, 1), Stored), (at(2, 2, 0, 2), Stored), (at(3, 1, 3, 3), Stored)],
            &[1, 2, 3],
        ),
        sequence(
            "a replaced version that comes again is refused",
            vec![(at(1, 1, 0, 1), Stored), (at(2, 1, 0, 2), Stored), (at(1, 1, 0, 1), Newer)],
            &[2],
        ),
        sequence(
            "three versions leave the newest, in whatever order they come",
            vec![(at(1, 1, 0, 2), Stored), (at(2, 1, 0, 3), Stored), (at(3, 1, 0, 1), Newer)],
            &[2],
        ),
        sequence(
            "an addressable event is replaced by its identifier",
            vec![
                (article(1, 1, "a"), Stored),
                (article(2, 1, "b"), Stored),
                (article(3, 2, "a"), Stored),
            ],
            &[2, 3],
        ),
        sequence(
            "no d tag is the empty identifier",
            vec![(at(1, 1, 30_000, 1), Stored), (at(2, 1, 30_000, 2).tag("d", ""), Stored)],
            &[2],
        ),
        sequence(
            "the first d tag counts",
            vec![
                (article(1, 1, "a").tag("d", "b"), Stored),
                (article(2, 2, "b"), Stored),
                (article(3, 3, "a"), Stored),
            ],
            &[2, 3],
        ),
        sequence(
            "regular kinds are not replaced; kind 41 is one of them",
            vec![
                (at(1, 1, 1, 1), Stored),
                (at(2, 1, 1, 2), Stored),
                (at(3, 1, 41, 1), Stored),
                (at(4, 1, 41, 2), Stored),
            ],
            &[1, 3, 2, 4],
        ),
        sequence(
            "ephemeral events are not stored",
            vec![(at(1, 1, 20_000, 1), Invalid), (at(2, 1, 29_999, 1), Invalid)],
            &[],
        ),
    ]
}

fn deletions() -> Vec<Sequence> {
    let article = |id, time, d| at(id, 1, 30_023, time).tag("d", d);
    let sequence = |rule, events, left| Sequence { rule, events, left };
    vec![
        sequence(
            "an author deletes own events by id",
            vec![
                (at(1, 1, 1, 1), Stored),
                (at(2, 1, 1, 2), Stored),
                (at(3, 1, 1, 3), Stored),
                (deletion(4, 1, 4).tag("e", &event_tag(1)).tag("e", &event_tag(3)), Stored),
            ],
            &[2, 4],
        ),
        sequence(
            "other authors' events are not deleted",
            vec![(at(1, 1, 1, 1), Stored), (deletion(2, 2, 2).tag("e", &event_tag(1)), Stored)],
            &[1, 2],
        ),
        sequence(
            "an event that was deleted before it came is refused",
            vec![(deletion(2, 1, 2).tag("e", &event_tag(1)), Stored), (at(1, 1, 1, 1), Deleted)],
            &[2],
        ),
        sequence(
            "a deletion by another author does not refuse an event",
            vec![(deletion(2, 2, 2).tag("e", &event_tag(1)), Stored), (at(1, 1, 1, 1), Stored)],
            &[1, 2],
        ),
        sequence(
            "a deleted event does not come back",
            vec![
                (at(1, 1, 1, 1), Stored),
                (deletion(2, 1, 2).tag("e", &event_tag(1)), Stored),
                (at(1, 1, 1, 1), Deleted),
            ],
            &[2],
        ),
        sequence(
            "a deletion of a deletion has no effect",
            vec![
                (at(1, 1, 1, 1), Stored),
                (deletion(2, 1, 2).tag("e", &event_tag(1)), Stored),
                (deletion(3, 1, 3).tag("e", &event_tag(2)), Stored),
                (at(1, 1, 1, 1), Deleted),
                (deletion(2, 1, 2).tag("e", &event_tag(1)), Duplicate),
            ],
            &[2, 3],
        ),
        sequence(
            "a deletion that was deleted before it came is stored, and has its effect",
            vec![
                (deletion(3, 1, 3).tag("e", &event_tag(2)), Stored),
                (at(1, 1, 1, 1), Stored),
                (deletion(2, 1, 2).tag("e", &event_tag(1)), Stored),
            ],
            &[2, 3],
        ),
        sequence(
            "an address is deleted up to the time of the request",
            vec![
                (article(1, 5, "a"), Stored),
                (article(2, 5, "b"), Stored),
                (deletion(3, 1, 5).tag("a", &address(30_023, 1, "a")), Stored),
            ],
            &[2, 3],
        ),
        sequence(
            "a version after the time of the request stays",
            vec![
                (article(1, 6, "a"), Stored),
                (deletion(2, 1, 5).tag("a", &address(30_023, 1, "a")), Stored),
            ],
            &[2, 1],
        ),
        sequence(
            "versions up to the time of the request are refused from then on",
            vec![
                (deletion(1, 1, 5).tag("a", &address(30_023, 1, "a")), Stored),
                (article(2, 4, "a"), Deleted),
                (article(3, 5, "a"), Deleted),
                (article(4, 6, "a"), Stored),
            ],
            &[1, 4],
        ),
        sequence(
            "of two deletions of an address the later time counts",
            vec![
                (deletion(1, 1, 7).tag("a", &address(30_023, 1, "a")), Stored),
                (deletion(2, 1, 3).tag("a", &address(30_023, 1, "a")), Stored),
                (article(3, 5, "a"), Deleted),
            ],
            &[2, 1],
        ),
        sequence(
            "an identifier may contain colons",
            vec![
                (article(1, 1, "a:b:c"), Stored),
                (article(2, 1, "a"), Stored),
                (deletion(3, 1, 2).tag("a", &address(30_023, 1, "a:b:c")), Stored),
            ],
            &[2, 3],
        ),
        sequence(
            "a replaceable event is deleted by its address",
            vec![
                (at(1, 1, 10_002, 1), Stored),
                (deletion(2, 1, 2).tag("a", &address(10_002, 1, "")), Stored),
                (at(3, 1, 10_002, 2), Deleted),
                (at(4, 1, 10_002, 3), Stored),
            ],
            &[2, 4],
        ),
        sequence(
            "a request with nothing but others' addresses is invalid",
            vec![
                (article(1, 1, "a"), Stored),
                (deletion(2, 2, 2).tag("a", &address(30_023, 1, "a")), Invalid),
            ],
            &[1],
        ),
        sequence(
            "others' addresses beside own events are ignored",
            vec![
                (article(1, 1, "a"), Stored),
                (at(2, 2, 1, 1), Stored),
                (
                    deletion(3, 2, 2).tag("a", &address(30_023, 1, "a")).tag("e", &event_tag(2)),
                    Stored,
                ),
            ],
            &[1, 3],
        ),
        sequence(
            "a deleted version gives way to an older one",
            vec![
                (at(1, 1, 0, 2), Stored),
                (deletion(2, 1, 3).tag("e", &event_tag(1)), Stored),
                (at(3, 1, 0, 1), Stored),
            ],
            &[3, 2],
        ),
        sequence(
            "the recipient deletes a gift wrap, before or after it comes",
            vec![
                (at(1, 9, 1059, 1).tag("p", &hex_of(&author(1))), Stored),
                (deletion(2, 1, 2).tag("e", &event_tag(1)).tag("e", &event_tag(3)), Stored),
                (at(3, 8, 1059, 1).tag("p", &hex_of(&author(1))), Deleted),
            ],
            &[2],
        ),
        sequence(
            "nobody else deletes a gift wrap, and a p tag of another kind gives no right",
            vec![
                (at(1, 9, 1059, 1).tag("p", &hex_of(&author(1))), Stored),
                (at(2, 9, 1, 1).tag("p", &hex_of(&author(1))), Stored),
                (deletion(3, 2, 2).tag("e", &event_tag(1)), Stored),
                (deletion(4, 1, 2).tag("e", &event_tag(2)), Stored),
            ],
            &[1, 2, 3, 4],
        ),
    ]
}

fn vanishings() -> Vec<Sequence> {
    let sequence = |rule, events, left| Sequence { rule, events, left };
    vec![
        sequence(
            "events up to the time of a request to vanish are refused",
            vec![
                (at(1, 1, 62, 5), Vanishing),
                (at(2, 1, 1, 5), Vanished),
                (at(3, 1, 1, 6), Stored),
                (at(4, 2, 1, 1), Stored),
                (at(1, 1, 62, 5), Duplicate),
            ],
            &[4, 3],
        ),
        sequence(
            "gift wraps to a vanished author are refused",
            vec![
                (at(1, 1, 62, 5), Vanishing),
                (at(2, 9, 1059, 5).tag("p", &hex_of(&author(1))), Vanished),
                (at(3, 9, 1059, 6).tag("p", &hex_of(&author(1))), Stored),
            ],
            &[3],
        ),
        sequence(
            "an earlier request does not lower the time",
            vec![
                (at(1, 1, 62, 5), Vanishing),
                (at(2, 1, 62, 3), Vanishing),
                (at(3, 1, 1, 4), Vanished),
            ],
            &[],
        ),
        sequence(
            "a request to vanish is not deleted",
            vec![
                (deletion(2, 1, 9).tag("e", &event_tag(1)), Stored),
                (at(1, 1, 62, 5), Vanishing),
                (at(3, 1, 1, 5), Vanished),
            ],
            &[2],
        ),
    ]
}

#[test]
fn sequences_leave_what_the_nips_say() {
    let mut sequences = replacements();
    sequences.extend(deletions());
    sequences.extend(vanishings());
    assert!(sequences.len() >= 25);
    for Sequence { rule, events, left } in &sequences {
        for batched in [false, true] {
            let directory = Directory::new();
            let (store, mut writer) = directory.open();
            let (drafts, expected): (Vec<Draft>, Vec<Became>) = events.iter().cloned().unzip();
            let outcomes: Vec<Outcome> = if batched {
                commit(&mut writer, &drafts)
            } else {
                drafts
                    .iter()
                    .flat_map(|draft| commit(&mut writer, std::slice::from_ref(draft)))
                    .collect()
            };
            let got: Vec<Became> = outcomes.iter().map(became).collect();
            assert_eq!(got, expected, "{rule} (batched: {batched})");
            let mut ids: Vec<EventId> = left.iter().map(|number| id(*number)).collect();
            let mut stored = everything(&store);
            ids.sort_unstable();
            stored.sort_unstable();
            assert_eq!(stored, ids, "{rule} (batched: {batched})");
            assert_consistent(&store);
        }
    }
}
