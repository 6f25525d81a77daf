//! Deletion requests (NIP-09), and those for gift wraps (NIP-59).

use super::Ok::{Deleted, Duplicate, Invalid, Newer, Stored};
use super::{Sequence, step};

pub(super) const SEQUENCES: &[Sequence] = &[
    Sequence {
        rule: "an author deletes own events by id",
        steps: &[
            step("1", 1, 1, 1, &[], Stored),
            step("2", 1, 1, 2, &[], Stored),
            step("3", 1, 1, 3, &[], Stored),
            step("deletion", 1, 5, 4, &["e 1", "e 3"], Stored),
        ],
        left: &["2", "deletion"],
    },
    Sequence {
        rule: "events of other authors are not deleted",
        steps: &[
            step("note", 1, 1, 1, &[], Stored),
            step("deletion", 2, 5, 2, &["e note"], Stored),
        ],
        left: &["note", "deletion"],
    },
    Sequence {
        rule: "an event that was deleted before it came is refused",
        steps: &[
            step("deletion", 1, 5, 2, &["e note"], Stored),
            step("note", 1, 1, 1, &[], Deleted),
        ],
        left: &["deletion"],
    },
    Sequence {
        rule: "a deletion by another author does not refuse a later event",
        steps: &[
            step("deletion", 2, 5, 2, &["e note"], Stored),
            step("note", 1, 1, 1, &[], Stored),
        ],
        left: &["deletion", "note"],
    },
    Sequence {
        rule: "a deleted event does not come back",
        steps: &[
            step("note", 1, 1, 1, &[], Stored),
            step("deletion", 1, 5, 2, &["e note"], Stored),
            step("note", 1, 1, 1, &[], Deleted),
        ],
        left: &["deletion"],
    },
    Sequence {
        rule: "the deletion of a deletion changes nothing",
        steps: &[
            step("note", 1, 1, 1, &[], Stored),
            step("deletion", 1, 5, 2, &["e note"], Stored),
            step("deletion of it", 1, 5, 3, &["e deletion"], Stored),
            step("note", 1, 1, 1, &[], Deleted),
            step("deletion", 1, 5, 2, &["e note"], Duplicate),
        ],
        left: &["deletion", "deletion of it"],
    },
    Sequence {
        rule: "a deletion that was deleted before it came is stored and has its effect",
        steps: &[
            step("deletion of it", 1, 5, 3, &["e deletion"], Stored),
            step("note", 1, 1, 1, &[], Stored),
            step("deletion", 1, 5, 2, &["e note"], Stored),
        ],
        left: &["deletion of it", "deletion"],
    },
    Sequence {
        rule: "an address is deleted up to the time of the request",
        steps: &[
            step("a", 1, 30_023, 5, &["d a"], Stored),
            step("b", 1, 30_023, 5, &["d b"], Stored),
            step("deletion", 1, 5, 5, &["a 30023:1:a"], Stored),
        ],
        left: &["b", "deletion"],
    },
    Sequence {
        rule: "a version after the time of the request stays",
        steps: &[
            step("later", 1, 30_023, 6, &["d a"], Stored),
            step("deletion", 1, 5, 5, &["a 30023:1:a"], Stored),
        ],
        left: &["later", "deletion"],
    },
    Sequence {
        rule: "versions up to the time of the request are refused from then on",
        steps: &[
            step("deletion", 1, 5, 5, &["a 30023:1:a"], Stored),
            step("before", 1, 30_023, 4, &["d a"], Deleted),
            step("of the same second", 1, 30_023, 5, &["d a"], Deleted),
            step("after", 1, 30_023, 6, &["d a"], Stored),
        ],
        left: &["deletion", "after"],
    },
    Sequence {
        rule: "of two deletions of an address the later time counts",
        steps: &[
            step("later", 1, 5, 7, &["a 30023:1:a"], Stored),
            step("earlier", 1, 5, 3, &["a 30023:1:a"], Stored),
            step("between", 1, 30_023, 5, &["d a"], Deleted),
        ],
        left: &["later", "earlier"],
    },
    Sequence {
        rule: "an identifier may contain colons",
        steps: &[
            step("a:b:c", 1, 30_023, 1, &["d a:b:c"], Stored),
            step("a", 1, 30_023, 1, &["d a"], Stored),
            step("deletion", 1, 5, 2, &["a 30023:1:a:b:c"], Stored),
        ],
        left: &["a", "deletion"],
    },
    Sequence {
        rule: "a replaceable event is deleted by its address",
        steps: &[
            step("1", 1, 10_002, 1, &[], Stored),
            step("deletion", 1, 5, 2, &["a 10002:1:"], Stored),
            step("2", 1, 10_002, 2, &[], Deleted),
            step("3", 1, 10_002, 3, &[], Stored),
        ],
        left: &["deletion", "3"],
    },
    Sequence {
        rule: "a request with addresses of other authors only is invalid",
        steps: &[
            step("a", 1, 30_023, 1, &["d a"], Stored),
            step("deletion", 2, 5, 2, &["a 30023:1:a"], Invalid),
        ],
        left: &["a"],
    },
    Sequence {
        rule: "addresses of other authors beside own events are ignored",
        steps: &[
            step("a", 1, 30_023, 1, &["d a"], Stored),
            step("note", 2, 1, 1, &[], Stored),
            step("deletion", 2, 5, 2, &["a 30023:1:a", "e note"], Stored),
        ],
        left: &["a", "deletion"],
    },
    Sequence {
        rule: "the deletion of the newest version lets an older one in",
        steps: &[
            step("newer", 1, 0, 2, &[], Stored),
            step("deletion", 1, 5, 3, &["e newer"], Stored),
            step("older", 1, 0, 1, &[], Stored),
        ],
        left: &["deletion", "older"],
    },
    Sequence {
        rule: "the deletion of a replaced version leaves the newest one",
        steps: &[
            step("older", 1, 0, 1, &[], Stored),
            step("newer", 1, 0, 2, &[], Stored),
            step("deletion", 1, 5, 3, &["e older"], Stored),
            step("older", 1, 0, 1, &[], Deleted),
        ],
        left: &["newer", "deletion"],
    },
    Sequence {
        rule: "a deletion request is not replaced by a later one",
        steps: &[
            step("note", 1, 1, 1, &[], Stored),
            step("first", 1, 5, 2, &["e note"], Stored),
            step("second", 1, 5, 3, &["e note"], Stored),
            step("old", 1, 0, 1, &[], Stored),
            step("older", 1, 0, 0, &[], Newer),
        ],
        left: &["first", "second", "old"],
    },
    Sequence {
        rule: "the recipient deletes a gift wrap, before or after it comes",
        steps: &[
            step("wrap", 9, 1059, 1, &["p 1"], Stored),
            step("deletion", 1, 5, 2, &["e wrap", "e later"], Stored),
            step("later", 8, 1059, 1, &["p 1"], Deleted),
        ],
        left: &["deletion"],
    },
    Sequence {
        rule: "other authors do not delete a gift wrap, and a p tag of another kind gives no right",
        steps: &[
            step("wrap", 9, 1059, 1, &["p 1"], Stored),
            step("note", 9, 1, 1, &["p 1"], Stored),
            step("by another", 2, 5, 2, &["e wrap"], Stored),
            step("by the mentioned", 1, 5, 2, &["e note"], Stored),
        ],
        left: &["wrap", "note", "by another", "by the mentioned"],
    },
];
