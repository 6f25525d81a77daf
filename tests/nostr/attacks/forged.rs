//! Events that are not what their author has signed.

use serde_json::{Value, json};

use super::*;

#[test]
fn a_known_id_with_another_signature_is_not_known() {
    let relay = Relay::new();
    let (mut client, author) = (relay.client(), Author::new(1));
    let note = author.note("genuine");
    client.accept(&note);
    let mut forged = note.clone();
    for signature in [Author::new(2).note("genuine")["sig"].clone(), "0".repeat(128).into()] {
        forged["sig"] = signature;
        assert_eq!(refused(&mut client, &forged), "invalid: the signature is wrong");
    }
    // The stored event has its own signature.
    assert_eq!(client.find(json!({"ids": [id(&note)]})), std::slice::from_ref(&note));
    assert_eq!(client.publish(&note), (true, "duplicate: already have this event".to_owned()));
}

#[test]
fn a_signature_over_a_wrong_id_is_no_proof() {
    let relay = Relay::new();
    let (mut client, author) = (relay.client(), Author::new(1));
    let (genuine, mut forged) = (author.note("genuine"), author.note("changed"));
    let wrong_id = "cafebabe".repeat(8);
    author.sign_id(&mut forged, &wrong_id);
    assert_eq!(refused(&mut client, &forged), "invalid: the id is not the hash of the event");
    // Neither does the id of another event help, whether it is stored or not.
    for is_stored in [false, true] {
        if is_stored {
            client.accept(&genuine);
        }
        forged["id"] = genuine["id"].clone();
        forged["sig"] = genuine["sig"].clone();
        assert_eq!(refused(&mut client, &forged), "invalid: the id is not the hash of the event");
    }
    assert_eq!(client.find(json!({"ids": [wrong_id, id(&genuine)]})), [genuine]);
}

#[test]
fn times_beyond_all_clocks_are_refused() {
    let relay = Relay::new();
    let (mut client, author) = (relay.client(), Author::new(1));
    let note = author.note("hello");
    let id = id(&note);
    let time = note["created_at"].to_string();
    for wrong in [
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "1099511627776",
        "-1",
        "-9223372036854775808",
        "1e10",
        "1.0",
        "01",
        "\"1\"",
        "null",
    ] {
        let text = note.to_string().replace(&time, wrong);
        let answer = client.ask(&format!("[\"EVENT\",{text}]"));
        // A number that JSON does not have is a malformed message.
        let (verb, text) = match answer[0].as_str().unwrap() {
            "OK" => (answer[1] == id && answer[2] == false, &answer[3]),
            _ => (answer[0] == "NOTICE", &answer[1]),
        };
        let text = text.as_str().unwrap();
        assert!(verb && text.starts_with("invalid: "), "{wrong}: {answer}");
    }
    // Signed ones: a time that is no clock's, and the last one that the relay can hold.
    for time in [10_000_000_000, (1 << 40) - 1] {
        let text = refused(&mut client, &author.event_at(time, 1, json!([]), ""));
        assert!(text.contains("in the future"), "{text}");
    }
    client.accept(&author.event_at(0, 1, json!([]), "the first second"));
    for filter in [
        json!({"since": u64::MAX}),
        json!({"until": 0, "authors": [Author::new(2).key()]}),
        json!({"since": 1, "until": 0}),
    ] {
        assert_eq!(client.find(filter), [Value::Null; 0]);
    }
    assert_eq!(client.find(json!({"until": u64::MAX})).len(), 1);
}
