//! A request to vanish (NIP-62) whose removal does not come to its end.

use serde_json::{Value, json};

use super::*;
use crate::nostr::commands::{import, result};
use crate::support::eventually;

#[test]
fn a_vanished_author_stays_away_through_crashes() {
    const NOTES: u64 = 1500;
    const WRAPS: u64 = 600;
    let (author, sender) = (Author::new(1), Author::new(2));
    let start = now() - 10_000;
    let to_author = json!([["p", author.key()]]);
    let notes: Vec<Value> =
        (0..NOTES).map(|number| author.event_at(start + number, 1, json!([]), "")).collect();
    let wraps: Vec<Value> = (0..WRAPS)
        .map(|number| sender.event_at(start + number, 1059, to_author.clone(), ""))
        .collect();
    let kept = sender.event_at(start, 1, to_author, "kept");
    let directory = Directory::new();
    import(&directory, notes.iter().chain(&wraps).chain([&kept]));

    let mut relay = Relay::start(directory, WITHOUT_RATES);
    let mut client = relay.client();
    assert_eq!(client.find(json!({"kinds": [1]})).len(), 500);
    let request = author.event(62, json!([["relay", "ALL_RELAYS"]]), "");
    client.accept(&request);
    for _ in 0..4 {
        // In the middle of the removal: it goes on in steps behind the OK.
        relay = relay.killed();
        let mut client = relay.client();
        assert!(client.authenticate(&author).0);
        assert_eq!(client.find(json!({})), std::slice::from_ref(&kept));
        let some: Vec<&str> = notes.iter().chain(&wraps).step_by(50).map(id).collect();
        assert_eq!(client.find(json!({"ids": some})), [Value::Null; 0]);
        for event in [&notes[0], &notes[NOTES as usize - 1], &wraps[0]] {
            assert!(refused(&mut client, event).starts_with("blocked: "));
        }
    }
    eventually(
        || relay.admin.metric("weir_nostr_store_events", &[]) == 1.0,
        "all of the author's events are removed",
    );
    assert_eq!(relay.client().find(json!({})), [kept]);
    result(&relay.stopped(), &["check", "--verify"]);
}
