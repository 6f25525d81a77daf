use super::super::event::Head;
use super::super::signed::{NOW, event_at, json, key};
use super::*;

const BODY: &[u8] = br#"{"method":"banpubkey","params":[]}"#;
const URL: &[&str] = &["u", "https://relay.example.com/?a=b"];
const METHOD: &[&str] = &["method", "POST"];

fn payload() -> String {
    hex::encode(Sha256::digest(BODY))
}

fn header(event: &Event) -> String {
    format!("Nostr {}", base64::engine::general_purpose::STANDARD.encode(json(event)))
}

fn checked(authorization: &str, body: &[u8]) -> Result<Event, String> {
    let names = RelayNames::of_urls(["wss://relay.example.com"]).unwrap();
    let (method, target) = ("POST", "/?a=b");
    let terms = HttpAuthTerms { names: &names, method, target, body, now: NOW };
    check(authorization, &terms, &mut KeyCache::default()).map_err(|refusal| refusal.to_string())
}

fn authorization(created_at: u64, kind: u16, tags: &[&[&str]]) -> Event {
    event_at(1, created_at, kind, tags, "")
}

#[test]
fn the_author_of_a_valid_event_is_returned() {
    for created_at in [NOW, NOW - 60, NOW + 60] {
        let tags = [URL, METHOD, &["payload", &payload()]];
        let event = authorization(created_at, KIND_HTTP_AUTH, &tags);
        let checked_event = checked(&header(&event), BODY).unwrap();
        assert_eq!((checked_event.pubkey(), &checked_event), (&key(1), &event));
    }
    let without_body = authorization(NOW, KIND_HTTP_AUTH, &[URL, METHOD]);
    assert!(checked(&header(&without_body), b"").is_ok());
    let lower_method = authorization(NOW, KIND_HTTP_AUTH, &[URL, &["method", "post"]]);
    assert!(checked(&header(&lower_method), b"").is_ok());
    let lower = header(&without_body).replace("Nostr ", "nostr  ");
    assert!(checked(lower.trim_end_matches('='), b"").is_ok());
}

#[test]
fn refusals_name_the_reason() {
    let payload = payload();
    let payload: &[&str] = &["payload", &payload];
    let refused = |event: &Event, text: &str| {
        assert_eq!(checked(&header(event), BODY), Err(format!("invalid: {text}")));
    };
    let event = |tags: &[&[&str]]| authorization(NOW, KIND_HTTP_AUTH, tags);
    let auth = authorization(NOW, 22_242, &[URL, METHOD, payload]);
    refused(&auth, "the kind of an HTTP authorization must be 27235");
    for created_at in [NOW - 61, NOW + 61] {
        let old = authorization(created_at, KIND_HTTP_AUTH, &[URL, METHOD, payload]);
        refused(&old, "created_at is more than 60 seconds from now");
    }
    let wrong_url = "the u tag is not the URL of this request";
    refused(&event(&[METHOD, payload]), wrong_url);
    for url in [
        "https://relay.example.com/",
        "https://relay.example.com/b?a=b",
        "https://other.example.com/?a=b",
        "http://relay.example.com/?a=b",
        "/?a=b",
    ] {
        refused(&event(&[&["u", url], METHOD, payload]), wrong_url);
    }
    let wrong_method = "the method tag is not the method of this request";
    refused(&event(&[URL, payload]), wrong_method);
    refused(&event(&[URL, &["method", "GET"], payload]), wrong_method);
    let wrong_payload = "the payload tag is not the SHA-256 of the body";
    refused(&event(&[URL, METHOD]), wrong_payload);
    refused(&event(&[URL, METHOD, &["payload", &"0".repeat(64)]]), wrong_payload);
    let valid = event(&[URL, METHOD, payload]);
    let with = |head| Event::from_stored(head, valid.tags_json(), valid.content_json());
    let head = *valid.head();
    refused(&with(Head { pubkey: key(2), ..head }), "the id is not the hash of the event");
    refused(&with(Head { sig: [1; 64], ..head }), "the signature is wrong");
}

#[test]
fn other_headers_are_refused() {
    let malformed = "auth-required: the header Authorization must be Nostr and base64".to_owned();
    for text in ["", "Nostr", "Basic YTpi", "Nostr %", "Nostr /w==", "Nostr e30=x"] {
        assert_eq!(checked(text, b""), Err(malformed.clone()), "{text}");
    }
    assert_eq!(checked("Nostr e30=", b""), Err("invalid: the member id is missing".to_owned()));
}

#[test]
fn an_event_authorizes_one_request() {
    let mut used = UsedIds::default();
    let event = |created_at| authorization(created_at, KIND_HTTP_AUTH, &[URL, METHOD]);
    let used_before = "the HTTP authorization was used before";
    // The last second in which the event is valid is later than the time of its first use.
    assert!(used.insert(&event(NOW + 60), NOW).is_ok());
    assert!(used.insert(&event(NOW + 59), NOW).is_ok());
    for now in [NOW, NOW + 60, NOW + 119, NOW + 120] {
        assert_eq!(used.insert(&event(NOW + 60), now).unwrap_err().text, used_before);
    }
    assert_eq!(used.ids.len(), 1);
    assert!(used.insert(&event(NOW + 200), NOW + 200).is_ok());
    assert_eq!(used.ids.len(), 1);
}

#[test]
fn remembered_events_are_bounded() {
    let mut used = UsedIds::default();
    let event = authorization(NOW, KIND_HTTP_AUTH, &[]);
    let numbered = |number: usize| {
        let mut head = *event.head();
        head.id[..8].copy_from_slice(&number.to_be_bytes());
        Event::from_stored(head, "[]", "\"\"")
    };
    for number in 0..USED_IDS_MAX {
        assert!(used.insert(&numbered(number), NOW).is_ok());
    }
    let refusal = used.insert(&numbered(USED_IDS_MAX), NOW).unwrap_err().to_string();
    assert_eq!(refusal, "rate-limited: more than 4096 requests in two minutes");
    assert!(used.insert(&numbered(USED_IDS_MAX), NOW + 61).is_ok());
}
