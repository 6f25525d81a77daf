//! Replaceable, addressable, regular and ephemeral kinds (NIP-01).

use super::Ok::{Newer, Stored};
use super::{Sequence, step};

pub(super) const SEQUENCES: &[Sequence] = &[
    Sequence {
        rule: "a newer replaceable event replaces the older one",
        steps: &[step("old", 1, 0, 1, &[], Stored), step("new", 1, 0, 2, &[], Stored)],
        left: &["new"],
    },
    Sequence {
        rule: "an older replaceable event is refused",
        steps: &[step("new", 1, 10_002, 2, &[], Stored), step("old", 1, 10_002, 1, &[], Newer)],
        left: &["new"],
    },
    Sequence {
        rule: "replaceable events of other authors and kinds stay",
        steps: &[
            step("profile", 1, 0, 1, &[], Stored),
            step("of another author", 2, 0, 2, &[], Stored),
            step("contacts", 1, 3, 3, &[], Stored),
        ],
        left: &["profile", "of another author", "contacts"],
    },
    Sequence {
        rule: "a replaced version that comes again is refused",
        steps: &[
            step("old", 1, 0, 1, &[], Stored),
            step("new", 1, 0, 2, &[], Stored),
            step("old", 1, 0, 1, &[], Newer),
        ],
        left: &["new"],
    },
    Sequence {
        rule: "of three versions the newest is left",
        steps: &[
            step("second", 1, 0, 2, &[], Stored),
            step("third", 1, 0, 3, &[], Stored),
            step("first", 1, 0, 1, &[], Newer),
        ],
        left: &["third"],
    },
    Sequence {
        rule: "the d tag of a replaceable kind has no effect",
        steps: &[
            step("old", 1, 10_000, 1, &["d a"], Stored),
            step("new", 1, 19_999, 2, &["d b"], Stored),
            step("newer", 1, 10_000, 3, &["d b"], Stored),
        ],
        left: &["new", "newer"],
    },
    Sequence {
        rule: "an addressable event is replaced by its identifier",
        steps: &[
            step("old a", 1, 30_023, 1, &["d a"], Stored),
            step("b", 1, 30_023, 1, &["d b"], Stored),
            step("new a", 1, 30_023, 2, &["d a"], Stored),
            step("of another kind", 1, 39_999, 1, &["d a"], Stored),
        ],
        left: &["b", "new a", "of another kind"],
    },
    Sequence {
        rule: "no d tag is the empty identifier",
        steps: &[
            step("without", 1, 30_000, 1, &[], Stored),
            step("empty", 1, 30_000, 2, &["d"], Stored),
        ],
        left: &["empty"],
    },
    Sequence {
        rule: "the first d tag counts",
        steps: &[
            step("a and b", 1, 30_023, 1, &["d a", "d b"], Stored),
            step("b", 1, 30_023, 2, &["d b"], Stored),
            step("a", 1, 30_023, 3, &["d a"], Stored),
        ],
        left: &["b", "a"],
    },
    Sequence {
        rule: "regular kinds are not replaced; kind 41 is one of them",
        steps: &[
            step("1", 1, 1, 1, &[], Stored),
            step("2", 1, 1, 2, &[], Stored),
            step("3", 1, 41, 1, &[], Stored),
            step("4", 1, 41, 2, &[], Stored),
            step("5", 1, 40_000, 2, &[], Stored),
        ],
        left: &["1", "2", "3", "4", "5"],
    },
];
