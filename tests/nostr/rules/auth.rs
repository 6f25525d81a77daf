//! What an AUTH must have (NIP-42).

use serde_json::{Value, json};

use super::*;

/// An AUTH, and how it differs from a valid one.
struct Auth {
    kind: u64,
    minutes: u64,
    relay: Option<&'static str>,
    challenge: Option<&'static str>,
}

const VALID: Auth = Auth { kind: 22242, minutes: 0, relay: None, challenge: None };

pub(super) const RULES: [Rule; 4] = [
    ("Auth event kind is verified", |given| {
        expect_refused(given, Auth { kind: 1, ..VALID });
    }),
    ("Auth event relay is verified", |given| {
        expect_refused(given, Auth { relay: Some("intentionally wrong relay"), ..VALID });
    }),
    ("Auth event challenge is verified", |given| {
        expect_refused(given, Auth { challenge: Some("intentionally wrong challenge"), ..VALID });
    }),
    ("Auth event time is verified", |given| {
        expect_refused(given, Auth { minutes: 30, ..VALID });
    }),
];

/// Sends the AUTH first on a connection; it must be refused, by its id.
fn expect_refused(given: &Given, auth: Auth) {
    let mut client = given.relay.client();
    let event = event(given, &client.challenge, &auth);
    client.send(&json!(["AUTH", event]));
    let (accepted, text) = client.ok(id(&event));
    assert!(!accepted && text.starts_with("invalid: "), "{text}");
    // The connection can still authenticate.
    let event = self::event(given, &client.challenge, &VALID);
    client.send(&json!(["AUTH", event]));
    assert_eq!(client.ok(id(&event)), (true, String::new()));
}

fn event(given: &Given, challenge: &str, auth: &Auth) -> Value {
    let url = format!("ws://{}/", given.relay.address);
    let relay = auth.relay.unwrap_or(&url);
    let challenge = auth.challenge.unwrap_or(challenge);
    let tags = json!([["relay", relay], ["challenge", challenge]]);
    given.author.event_at(ago(auth.minutes), auth.kind, tags, "")
}

#[test]
fn rules_of_authentication_hold() {
    check(&RULES, &Given::new());
}
