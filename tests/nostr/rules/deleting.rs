//! Deletion requests (NIP-09).

use serde_json::{Value, json};

use super::*;

pub(super) const RULES: [Rule; 9] = [
    ("Deletes by id", |given| {
        let (mut client, note) = (given.client(), given.author.note("deleted by id"));
        client.accept(&note);
        client.accept(&deletion(&given.author, now(), &[["e", id(&note)]]));
        expect_found(&mut client, json!({"ids": [id(&note)]}), &[]);
    }),
    ("Deletes by a-tag address", |given| {
        let mut client = given.client();
        // Of the same second: up to and with the time of the request.
        let article = article(&given.author, now(), 30_023, "address");
        client.accept(&article);
        let time = article["created_at"].as_u64().unwrap();
        client.accept(&deletion(&given.author, time, &[["a", &address(&article)]]));
        expect_found(&mut client, json!({"ids": [id(&article)]}), &[]);
    }),
    ("Delete by a-tag deletes older but not newer", |given| {
        let mut client = given.client();
        let [older, newer] = [5, 1].map(|age| article(&given.author, ago(age), 30_023, "order"));
        client.accept(&older);
        client.accept(&newer);
        client.accept(&deletion(&given.author, ago(3), &[["a", &address(&older)]]));
        let filter = json!({"authors": [given.author.key()], "kinds": [30_023], "#d": ["order"]});
        expect_found(&mut client, filter, &[&newer]);
    }),
    ("Delete by a-tag is bound by a-tag", |given| {
        let mut client = given.client();
        let bound = article(&given.author, ago(1), 30_023, "bound");
        let others = [
            article(&given.other, ago(2), 30_023, "bound"),
            article(&given.author, ago(3), 30_023, "free"),
            article(&given.author, ago(4), 30_024, "bound"),
        ];
        client.accept(&bound);
        others.iter().for_each(|event| client.accept(event));
        client.accept(&deletion(&given.author, now(), &[["a", &address(&bound)]]));
        let ids: Vec<&str> = others.iter().chain([&bound]).map(id).collect();
        expect_found(&mut client, json!({"ids": ids}), &others.each_ref());
    }),
    ("Cannot delete by id of other people's events", |given| {
        let (mut client, note) = (given.client(), given.other.note("of another author"));
        client.accept(&note);
        client.publish(&deletion(&given.author, now(), &[["e", id(&note)]]));
        expect_found(&mut client, json!({"ids": [id(&note)]}), &[&note]);
    }),
    ("Cannot delete by a-tag of other people's events", |given| {
        let mut client = given.client();
        let article = article(&given.other, ago(1), 30_023, "of another author");
        client.accept(&article);
        client.publish(&deletion(&given.author, now(), &[["a", &address(&article)]]));
        expect_found(&mut client, json!({"ids": [id(&article)]}), &[&article]);
    }),
    ("Resubmission of deleted-by-id event is rejected", |given| {
        let (mut client, note) = (given.client(), given.author.note("sent again"));
        client.accept(&note);
        client.accept(&deletion(&given.author, now(), &[["e", id(&note)]]));
        assert_eq!(refused(&mut client, &note), "blocked: this event was deleted");
    }),
    ("Rejects submission of event before address is deleted", |given| {
        let mut client = given.client();
        let article = article(&given.author, ago(5), 30_023, "before");
        client.accept(&article);
        client.accept(&deletion(&given.author, ago(2), &[["a", &address(&article)]]));
        assert_eq!(refused(&mut client, &article), "blocked: this event was deleted");
    }),
    ("Accepts submission of event after address is deleted", |given| {
        let mut client = given.client();
        let article = article(&given.author, ago(2), 30_023, "after");
        client.accept(&deletion(&given.author, ago(5), &[["a", &address(&article)]]));
        client.accept(&article);
    }),
];

fn article(author: &Author, created_at: u64, kind: u64, identifier: &str) -> Value {
    author.event_at(created_at, kind, json!([["d", identifier]]), "")
}

/// The address of an addressable event.
fn address(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let identifier = text(&event["tags"][0][1]);
    format!("{}:{}:{identifier}", event["kind"], text(&event["pubkey"]))
}

#[test]
fn rules_of_deletion_hold() {
    check(&RULES, &Given::new());
}
