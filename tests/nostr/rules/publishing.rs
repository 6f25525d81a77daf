//! EOSE, and which events are accepted.

use serde_json::json;

use super::*;

pub(super) const RULES: [Rule; 8] = [
    ("Supports EOSE", |given| {
        let mut client = given.client();
        let filter = json!({"authors": [given.stranger.key()], "kinds": [1], "limit": 10});
        expect_found(&mut client, filter, &[]);
    }),
    ("Keeps open incomplete subscriptions after EOSE", |given| {
        let mut client = given.client();
        let until = 1_700_000_000;
        let filter = json!({"authors": [given.stranger.key()], "kinds": [1], "until": until});
        assert!(client.request("a", &[filter]).is_empty());
        client.expect_silence();
        let late = given.stranger.event_at(until, 1, json!([]), "late");
        given.client().accept(&late);
        assert_eq!(client.live("a"), late);
    }),
    ("Sends OK after EVENT", |given| {
        let (mut client, note) = (given.client(), given.author.note("hello"));
        client.send(&json!(["EVENT", note]));
        assert_eq!(client.receive(), json!(["OK", note["id"], true, ""]));
    }),
    ("Verifies event signatures", |given| {
        let mut note = given.author.note("unsigned");
        note["sig"] = "0".repeat(128).into();
        assert_eq!(refused(&mut given.client(), &note), "invalid: the signature is wrong");
    }),
    ("Verifies event ID hashes", |given| {
        let mut note = given.author.note("a wrong id");
        given.author.sign_id(&mut note, &"cafebabe".repeat(8));
        let text = refused(&mut given.client(), &note);
        assert_eq!(text, "invalid: the id is not the hash of the event");
    }),
    ("Accepts NIP-01 JSON escape sequences", |given| {
        let content = "line\nquote\"back\\slash\rreturn\ttab\u{8}backspace\u{c}form feed";
        let (mut client, note) = (given.client(), given.author.note(content));
        for escape in [r"\n", r#"\""#, r"\\", r"\r", r"\t", r"\b", r"\f"] {
            assert!(note.to_string().contains(escape), "{escape}");
        }
        client.accept(&note);
        assert_eq!(client.find(json!({"ids": [note["id"]]})), [note]);
    }),
    ("Accepts UTF-8 non-characters", |given| {
        let (mut client, note) = (given.client(), given.author.note("\u{fdd1} and \u{10fff2}"));
        client.accept(&note);
        assert_eq!(client.find(json!({"ids": [note["id"]]})), [note]);
    }),
    ("Accepts event.created_at one week old", |given| {
        given.client().accept(&given.author.event_at(ago(7 * 24 * 60), 1, json!([]), ""));
    }),
];

#[test]
fn rules_of_publishing_hold() {
    check(&RULES, &Given::new());
}
