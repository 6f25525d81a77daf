//! Versions of replaceable and addressable events.

use serde_json::json;

use super::stored::Stored;
use super::*;

pub(super) const RULES: [Rule<Stored>; 10] = [
    ("Accepts metadata", |stored| {
        let ids = stored.profiles.each_ref().map(id);
        expect_found(&mut stored.client(), json!({"ids": ids}), &[&stored.profiles[1]]);
    }),
    ("Replaces metadata", |stored| {
        expect_found(&mut stored.client(), of_kind(stored, 0), &[&stored.profiles[1]]);
    }),
    ("Accepts Contactlists", |stored| {
        let ids = stored.contacts.each_ref().map(id);
        expect_found(&mut stored.client(), json!({"ids": ids}), &[&stored.contacts[0]]);
    }),
    ("Replaces Contactlists", |stored| {
        expect_found(&mut stored.client(), of_kind(stored, 3), &[&stored.contacts[0]]);
    }),
    ("Replaceable events replace older ones", |stored| {
        let found = stored.client().find(json!({"kinds": [10_003]}));
        assert!(!found.contains(&stored.bookmarks[0]));
    }),
    ("Replaceable events rejected if a newer one exists", |stored| {
        let text = refused(&mut stored.client(), &stored.bookmarks[0]);
        assert_eq!(text, "duplicate: a newer version is stored");
    }),
    ("Addressable events replace older ones", |stored| {
        let found = stored.client().find(json!({"kinds": [30_000]}));
        assert!(!found.contains(&stored.lists[0]));
    }),
    ("Addressable events rejected if a newer one exists", |stored| {
        let text = refused(&mut stored.client(), &stored.lists[0]);
        assert_eq!(text, "duplicate: a newer version is stored");
    }),
    ("Finds replaceable events", |stored| {
        expect_found(&mut stored.client(), of_kind(stored, 10_003), &[&stored.bookmarks[1]]);
    }),
    ("Finds addressable events", |stored| {
        expect_found(&mut stored.client(), of_kind(stored, 30_000), &[&stored.lists[1]]);
    }),
];

fn of_kind(stored: &Stored, kind: u64) -> serde_json::Value {
    json!({"kinds": [kind], "authors": [stored.key()]})
}

#[test]
fn rules_of_replacement_hold() {
    check(&RULES, &Stored::new());
}
