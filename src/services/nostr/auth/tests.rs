use super::super::event::Head;
use super::super::signed::{NOW, event_at, json, key};
use super::*;

const CHALLENGE: &str = "00112233445566778899aabbccddeeff";
const RELAY: &[&str] = &["relay", "wss://relay.example.com/"];
const ANSWER: &[&str] = &["challenge", CHALLENGE];

fn checked(event: &Event) -> Result<PublicKey, String> {
    let names = RelayNames::of_urls(["wss://relay.example.com"]).unwrap();
    let limits = EventLimits::default();
    let terms = AuthTerms { challenge: CHALLENGE, names: &names, limits: &limits, now: NOW };
    let mut keys = KeyCache::default();
    let result = check(event, &terms, &mut keys).map_err(|refusal| refusal.to_string());
    // The same by way of a message.
    let rest = format!("{}]", json(event));
    match check_message(&rest, &terms, &mut keys) {
        Ok(parsed) => assert_eq!((Ok(*parsed.pubkey()), &parsed), (result.clone(), event)),
        Err(refused) => {
            assert_eq!(refused.id, Some(event.id().into()));
            assert_eq!(result, Err(refused.refusal.to_string()));
        }
    }
    result
}

#[test]
fn the_author_of_a_valid_event_is_authenticated() {
    for created_at in [NOW, NOW - 600, NOW + 600] {
        let event = event_at(1, created_at, KIND_AUTH, &[RELAY, ANSWER], "");
        assert_eq!(checked(&event), Ok(key(1)));
    }
}

#[test]
fn refusals_name_the_reason() {
    let refused = |event: &Event, text: &str| {
        assert_eq!(checked(event), Err(format!("invalid: {text}")));
    };
    let event = |tags: &[&[&str]]| event_at(1, NOW, KIND_AUTH, tags, "");
    let wrong_kind = event_at(1, NOW, 1, &[RELAY, ANSWER], "");
    refused(&wrong_kind, "the kind of an AUTH event must be 22242");
    for created_at in [NOW - 601, NOW + 601, 0] {
        let old = event_at(1, created_at, KIND_AUTH, &[RELAY, ANSWER], "");
        refused(&old, "created_at is more than 600 seconds from now");
    }
    let wrong_challenge = "the challenge is not this connection's";
    for tags in [&[RELAY][..], &[RELAY, &["challenge"]], &[RELAY, &["challenge", ""]]] {
        refused(&event(tags), wrong_challenge);
    }
    refused(&event(&[RELAY, &["challenge", "00"], ANSWER]), wrong_challenge);
    let wrong_relay = "the relay tag does not name this relay";
    refused(&event(&[ANSWER]), wrong_relay);
    refused(&event(&[ANSWER, &["relay", "wss://other.example.com"]]), wrong_relay);
    refused(&event(&[ANSWER, &["relay", "relay.example.com"]]), wrong_relay);
    let valid = event(&[RELAY, ANSWER]);
    let with = |head| Event::from_stored(head, valid.tags_json(), valid.content_json());
    let head = *valid.head();
    refused(&with(Head { pubkey: key(2), ..head }), "the id is not the hash of the event");
    refused(&with(Head { sig: [1; 64], ..head }), "the signature is wrong");
}

#[test]
fn malformed_events_are_refused_with_their_id_if_there_is_one() {
    let names = RelayNames::default();
    let limits = EventLimits::default();
    let terms = AuthTerms { challenge: CHALLENGE, names: &names, limits: &limits, now: NOW };
    let refused = |rest: &str| check_message(rest, &terms, &mut KeyCache::default()).unwrap_err();
    assert_eq!(refused("\"challenge\"]").id, None);
    let id = "ab".repeat(32);
    assert_eq!(refused(&format!("{{\"id\":\"{id}\"}}]")).id, HexId::parse(&id));
    let long = event_at(1, NOW, KIND_AUTH, &[RELAY, ANSWER], &"x".repeat(512 * 1024));
    let text = refused(&format!("{}]", json(&long))).refusal.to_string();
    assert_eq!(text, "invalid: the event is larger than 524288 bytes");
}
