//! Filters, and the order of what they find.

use serde_json::{Value, json};

use super::stored::Stored;
use super::*;

pub(super) const RULES: [Rule<Stored>; 12] = [
    ("Events are ordered from newest to oldest", |stored| {
        let ids: Vec<&str> = stored.all().into_iter().map(id).collect();
        let found = stored.client().find(json!({"ids": ids}));
        let times: Vec<u64> =
            found.iter().map(|event| event["created_at"].as_u64().unwrap()).collect();
        assert!(times.len() >= 3 && times.is_sorted_by(|a, b| a >= b), "{times:?}");
    }),
    ("Newest events are returned when filter is limited", |stored| {
        let filter =
            json!({"authors": [stored.key()], "#t": ["a", "b"], "kinds": [1, 7], "limit": 2});
        expect_found(&mut stored.client(), filter, &[&stored.a40, &stored.b45]);
    }),
    ("Finds by id", |stored| {
        let ids: Vec<&str> = stored.left().into_iter().map(id).collect();
        expect_found(&mut stored.client(), json!({"ids": ids}), &stored.left());
    }),
    ("Finds by pubkey and kind", |stored| {
        let authors = [stored.key(), stored.given.stranger.key()];
        let expected = [&stored.contacts[0], &stored.a40, &stored.b45, &stored.a50, &stored.b55];
        let filter = json!({"authors": authors, "kinds": [1, 3]});
        expect_found(&mut stored.client(), filter, &expected);
    }),
    ("Finds by pubkey and tags", |stored| {
        let mut client = stored.client();
        let filter = json!({"authors": [stored.key()], "#p": [stored.key()]});
        expect_found(&mut client, filter, &[]);
        let filter = json!({"authors": [stored.key()], "#t": ["b"]});
        expect_found(&mut client, filter, &[&stored.b45, &stored.b55]);
    }),
    ("Finds by kind and tags", |stored| {
        let filter = json!({"kinds": [1, 9999, 3], "#n": ["approved"]});
        expect_found(&mut stored.client(), filter, &both(&stored.approved));
    }),
    ("Finds by tags", |stored| {
        expect_found(&mut stored.client(), json!({"#k": ["3036"]}), &[&stored.approved[0]]);
    }),
    ("Finds by multiple tags", |stored| {
        let filter = json!({
            "authors": [stored.key()], "kinds": [9999], "#k": ["3036"], "#n": ["approved"],
            "limit": 20,
        });
        expect_found(&mut stored.client(), filter, &[&stored.approved[0]]);
    }),
    ("Finds by pubkey", |stored| {
        expect_found(&mut stored.client(), json!({"authors": [stored.key()]}), &stored.left());
    }),
    ("Finds by scrape", |stored| {
        let found = stored.client().find(json!({}));
        for event in stored.left() {
            assert!(found.contains(event), "{event}");
        }
        assert!(!found.contains(&stored.ephemeral) && !found.contains(&stored.profiles[0]));
    }),
    ("Since and until filters are inclusive", |stored| {
        let event = stored.given.author.event(5000, json!([]), "");
        let mut client = stored.client();
        client.accept(&event);
        for bound in ["until", "since"] {
            let mut filter = json!({"authors": [stored.key()], "kinds": [5000]});
            filter[bound] = event["created_at"].clone();
            expect_found(&mut client, filter, &[&event]);
        }
    }),
    ("Limit zero works", |stored| {
        let mut client = stored.client();
        let filter = json!({"authors": [stored.key()], "limit": 0});
        assert!(client.request("a", &[filter]).is_empty());
        client.expect_silence();
    }),
];

fn both(events: &[Value; 2]) -> [&Value; 2] {
    [&events[0], &events[1]]
}

#[test]
fn rules_of_filters_hold() {
    check(&RULES, &Stored::new());
}
