//! The names in `malformed.txt`, and what they stand for. The tests over sockets include this file, too.

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
/// Long texts, as counts of an item; longer names first.
const REPEATED: [(&str, usize, &str); 8] = [
    ("$DEEP", 100_000, "["),
    ("$A524288", 524_288, "a"),
    ("$A65537", 65_537, "a"),
    ("$A257", 257, "a"),
    ("$A256", 256, "a"),
    ("$A65", 65, "a"),
    ("$A64", 64, "a"),
    ("$E65", 65, "\\u00e9"),
];
/// Long lists, without their brackets.
const LISTS: [(&str, usize, &str); 4] = [
    ("$FILTERS101", 101, "{}"),
    ("$KINDS5001", 5_001, "1"),
    ("$KINDS2501", 2_501, "1"),
    ("$TAGS10001", 10_001, "[\"t\"]"),
];

/// A valid event of kind 1 with the text `hello`, and its members in hexadecimal digits.
pub(super) struct Named {
    pub(super) event: String,
    pub(super) id: String,
    pub(super) pubkey: String,
    pub(super) sig: String,
}

impl Named {
    /// Replaces the names in a line of the table.
    pub(super) fn expand(&self, line: &str) -> String {
        let mut text = line.replace("$EVENT", &self.event);
        for (name, member) in MEMBERS {
            for end in [",", "}", "]"] {
                text = text.replace(&format!("{name}{end}"), &format!("{member}{end}"));
            }
        }
        for (name, count, item) in REPEATED {
            text = text.replace(name, &item.repeat(count));
        }
        for (name, count, item) in LISTS {
            text = text.replace(name, &vec![item; count].join(","));
        }
        for (name, value) in [
            ("$UPKEY", self.pubkey.to_uppercase()),
            ("$UPSIG", self.sig.to_uppercase()),
            ("$UP", self.id.to_uppercase()),
            ("$PUBKEY", self.pubkey.clone()),
            ("$SIG", self.sig.clone()),
            ("$ID62", self.id[2..].to_owned()),
            ("$ID", self.id.clone()),
        ] {
            text = text.replace(name, &value);
        }
        text
    }
}
