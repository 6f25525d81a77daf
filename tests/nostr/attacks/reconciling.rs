//! Negentropy messages (NIP-77) that are cut, or promise more than they have.

use serde_json::json;

use super::*;

#[test]
fn malformed_messages_end_the_session_only() {
    let relay = unlimited("");
    let (mut client, author) = (relay.client(), Author::new(1));
    let notes: Vec<_> = (0..50).map(|number| author.note(&number.to_string())).collect();
    accept_all(&mut client, &notes);
    // 2^63 and 2^64 - 1 as varints; one that never ends, and one of more than 64 bits.
    let (huge, most) = ("81808080808080808000", "81ffffffffffffffff7f");
    let (endless, beyond) = ("ff".repeat(1000), "83ffffffffffffffff7f");
    let malformed = |message: &str| {
        let messages =
            [json!(["NEG-OPEN", "first", {}, message]), json!(["NEG-MSG", "later", message])];
        messages.map(|message| message.to_string())
    };
    for (what, message) in [
        ("no version", String::new()),
        ("a bound of 2^63 bytes", format!("6100{huge}")),
        ("a bound of 33 bytes", format!("610021{}01", "00".repeat(33))),
        ("a bound that is cut", "61002000".to_owned()),
        ("an unknown mode", "61000007".to_owned()),
        ("a mode of 2^63", format!("610000{huge}")),
        ("a fingerprint that is cut", format!("61000001{}", "00".repeat(15))),
        ("a list of 2^63 ids", format!("61000002{huge}")),
        ("a list of 2^64 - 1 ids", format!("61000002{most}")),
        ("a list that is cut", format!("6100000202{}", "00".repeat(63))),
        (
            "a list of 1,000,000 ids that ends after one",
            format!("61000002bd8440{}", "00".repeat(32)),
        ),
    ] {
        // As the first message, and as a later one.
        client.send(&json!(["NEG-OPEN", "later", {}, "61"]));
        assert_eq!(client.expect("NEG-MSG"), json!(["NEG-MSG", "later", "61"]));
        for (session, message) in ["first", "later"].iter().zip(malformed(&message)) {
            let answer = client.ask(&message);
            let expected = "invalid: the message is not negentropy version 1";
            assert_eq!(answer, json!(["NEG-ERR", session, expected]), "{what}");
            let answer = client.ask(&json!(["NEG-MSG", session, "61"]).to_string());
            assert_eq!(answer[2], "closed: no session has this id", "{what}");
        }
    }
    // A varint that is cut, or has too many bits, is read as far as it goes: the reply is small.
    for (what, message) in [
        ("a cut time", "6180".to_owned()),
        ("a time without end", format!("61{endless}")),
        ("a time beyond 64 bits", format!("61{beyond}0000")),
        ("no length of a bound", "6100".to_owned()),
        ("no mode", "610000".to_owned()),
        ("a cut mode", "61000081".to_owned()),
        ("a list without its length", "61000002".to_owned()),
        ("a length that is cut", "6100000281".to_owned()),
    ] {
        client.send(&json!(["NEG-OPEN", "later", {}, "61"]));
        client.expect("NEG-MSG");
        for message in malformed(&message) {
            let answer = client.ask(&message);
            let text = answer[2].as_str().unwrap();
            assert!(answer[0] == "NEG-MSG" || text.starts_with("invalid: "), "{what}: {answer}");
            assert!(text.len() < 5000, "{what}: {} digits", text.len());
        }
    }
    for session in ["first", "later"] {
        client.send(&json!(["NEG-CLOSE", session]));
    }
    relay.admin.await_metric("weir_nostr_negentropy_sessions", &[], 0.0);
    // Another version gets the one that the relay has.
    client.send(&json!(["NEG-OPEN", "version", {}, "60"]));
    assert_eq!(client.receive(), json!(["NEG-MSG", "version", "61"]));
    // Ranges without order and of equal bounds are answered within the size of a message.
    let ranges = "00000200".repeat(10_000);
    client.send(&json!(["NEG-OPEN", "many", {}, format!("61{ranges}")]));
    let answer = client.receive();
    assert!(answer[0] == "NEG-MSG" || answer[0] == "NEG-ERR", "{}", answer[0]);
    assert!(answer[2].as_str().unwrap().len() <= 2 * 128 * 1024);
    assert_eq!(client.find(json!({"limit": 1})).len(), 1);
}
