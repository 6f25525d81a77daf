//! Ways around the protection of private messages (NIP-17, NIP-59).

use serde_json::{Value, json};

use super::*;

/// A relay with search, with a private message of each kind to `recipient`, and a public note; and a client
/// of the sender.
fn with_messages(recipient: &Author) -> (Relay, Vec<Value>, Value) {
    let relay = unlimited("search_events_max = 1000");
    let (mut client, sender) = (relay.client(), Author::new(1));
    let to_recipient = json!([["p", recipient.key()], ["t", "secret"]]);
    let messages: Vec<Value> =
        [4, 1059].map(|kind| sender.event(kind, to_recipient.clone(), "the secret word")).into();
    let note = sender.event(1, json!([["t", "secret"]]), "a public word, no secret");
    accept_all(&mut client, &messages);
    client.accept(&note);
    (relay, messages, note)
}

fn count(client: &mut NostrClient, filter: &Value) -> Value {
    let answer = client.ask(&json!(["COUNT", "count", filter]).to_string());
    assert_eq!(answer[0], "COUNT", "{answer}");
    answer[2]["count"].clone()
}

#[test]
fn no_other_way_leads_to_private_messages() {
    let recipient = Author::new(2);
    let (relay, messages, note) = with_messages(&recipient);
    let ids: Vec<&str> = messages.iter().chain([&note]).map(id).collect();
    // Each filter matches all three.
    let filters = [
        json!({}),
        json!({"ids": ids}),
        json!({"authors": [Author::new(1).key()]}),
        json!({"kinds": [1, 4, 1059]}),
        json!({"#t": ["secret"]}),
        json!({"kinds": [1, 4, 1059], "search": "secret"}),
        json!({"ids": ids, "search": "word"}),
        json!({"since": 0, "until": u64::MAX, "limit": 3}),
    ];
    let (mut anybody, mut stranger) = (relay.client(), relay.client());
    assert!(stranger.authenticate(&Author::new(3)).0);
    for client in [&mut anybody, &mut stranger] {
        for filter in &filters {
            assert_eq!(client.find(filter.clone()), std::slice::from_ref(&note), "{filter}");
            assert_eq!(count(client, filter), 1, "{filter}");
        }
        let by_kind = json!({"kinds": [4, 1059], "search": "secret", "#p": [recipient.key()]});
        for verb in ["REQ", "COUNT"] {
            client.send(&json!([verb, "a", by_kind]));
            let text = client.closed("a");
            let is_refused =
                text.starts_with("auth-required: ") || text.starts_with("restricted: ");
            assert!(is_refused, "{text}");
        }
    }
    let mut reader = relay.client();
    assert!(reader.authenticate(&recipient).0);
    for filter in &filters {
        assert_eq!(reader.find(filter.clone()).len(), 3, "{filter}");
        assert_eq!(count(&mut reader, filter), 3, "{filter}");
    }
}

#[test]
fn private_ephemeral_messages_go_to_their_recipients_alone() {
    let (relay, sender, recipient) = (Relay::new(), Author::new(1), Author::new(2));
    let (mut reader, mut anybody, mut stranger) = (relay.client(), relay.client(), relay.client());
    assert!(reader.authenticate(&recipient).0);
    assert!(stranger.authenticate(&Author::new(3)).0);
    for client in [&mut reader, &mut anybody, &mut stranger] {
        client.request("live", &[json!({"limit": 0})]);
        client.request("kinds", &[json!({"kinds": [1, 21_059], "limit": 0})]);
    }
    let wrap = sender.event(21_059, json!([["p", recipient.key()]]), "secret");
    let mut writer = relay.client();
    writer.accept(&wrap);
    let mut names: Vec<Value> = (0..2)
        .map(|_| {
            let message = reader.expect("EVENT");
            assert_eq!(message[2], wrap);
            message[1].clone()
        })
        .collect();
    names.sort_by_key(Value::to_string);
    assert_eq!(names, ["kinds", "live"]);
    anybody.expect_silence();
    stranger.expect_silence();
    // Without its recipient nobody has heard it: the OK does not tell that others listen.
    let lost = sender.event(21_059, json!([["p", Author::new(4).key()]]), "secret");
    assert_eq!(writer.publish(&lost), (true, "mute: no subscriber".to_owned()));
}
