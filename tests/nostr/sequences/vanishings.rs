//! Requests to vanish (NIP-62). They are kept, and not served.

use super::Ok::{Deleted, Duplicate, Invalid, Stored, Vanished};
use super::{Sequence, step};

pub(super) const SEQUENCES: &[Sequence] = &[
    Sequence {
        rule: "all events of the author up to the time of the request are gone",
        steps: &[
            step("note", 1, 1, 1, &[], Stored),
            step("profile", 1, 0, 5, &[], Stored),
            step("deletion", 1, 5, 4, &["e note"], Stored),
            step("later", 1, 1, 6, &[], Stored),
            step("of another author", 2, 1, 1, &["p 1"], Stored),
            step("request", 1, 62, 5, &["relay ALL_RELAYS"], Stored),
        ],
        left: &["later", "of another author"],
    },
    Sequence {
        rule: "events up to the time of the request are refused from then on",
        steps: &[
            step("request", 1, 62, 5, &["relay ALL_RELAYS"], Stored),
            step("of the same second", 1, 1, 5, &[], Vanished),
            step("after", 1, 1, 6, &[], Stored),
            step("of another author", 2, 1, 1, &[], Stored),
            step("request", 1, 62, 5, &["relay ALL_RELAYS"], Duplicate),
        ],
        left: &["after", "of another author"],
    },
    Sequence {
        rule: "gift wraps to the author are gone and refused",
        steps: &[
            step("before", 9, 1059, 4, &["p 1"], Stored),
            step("request", 1, 62, 5, &["relay ALL_RELAYS"], Stored),
            step("of the same second", 9, 1059, 5, &["p 1"], Vanished),
            step("after", 9, 1059, 6, &["p 1"], Stored),
        ],
        left: &["after"],
    },
    Sequence {
        rule: "an earlier request does not lower the time",
        steps: &[
            step("later", 1, 62, 5, &["relay ALL_RELAYS"], Stored),
            step("earlier", 1, 62, 3, &["relay ALL_RELAYS"], Stored),
            step("between", 1, 1, 4, &[], Vanished),
        ],
        left: &[],
    },
    Sequence {
        rule: "a later request raises the time",
        steps: &[
            step("first", 1, 62, 3, &["relay ALL_RELAYS"], Stored),
            step("between", 1, 1, 4, &[], Stored),
            step("second", 1, 62, 5, &["relay ALL_RELAYS"], Stored),
            step("late", 1, 1, 5, &["d"], Vanished),
        ],
        left: &[],
    },
    Sequence {
        rule: "a request to vanish is not deleted",
        steps: &[
            step("deletion", 1, 5, 9, &["e request"], Stored),
            step("request", 1, 62, 5, &["relay ALL_RELAYS"], Stored),
            step("note", 1, 1, 5, &[], Vanished),
        ],
        left: &["deletion"],
    },
    Sequence {
        rule: "a request for another relay, or for none, is invalid",
        steps: &[
            step("note", 1, 1, 1, &[], Stored),
            step("for another", 1, 62, 5, &["relay wss://relay.example.org/"], Invalid),
            step("for none", 1, 62, 5, &[], Invalid),
        ],
        left: &["note"],
    },
    Sequence {
        rule: "what the author had deleted does not come back with a later date of the request",
        steps: &[
            step("note", 1, 1, 6, &[], Stored),
            step("deletion", 1, 5, 4, &["e note"], Stored),
            step("request", 1, 62, 5, &["relay ALL_RELAYS"], Stored),
            step("note", 1, 1, 6, &[], Deleted),
        ],
        left: &[],
    },
];
