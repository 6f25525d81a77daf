//! Events of a Nostr relay, compared with serde_json's reading of the same text.

use serde_json::Value;
use weir::services::nostr::event::Event;
use weir::services::nostr::json::Reader;
use weir::services::nostr::parse::EventLimits;

use crate::bytes::Bytes;
use crate::nostr_json::{altered, event};

/// A text is JSON for the relay if it is for serde_json. Members of parsed events have the values that
/// serde_json reads. What is written parses to the same event, and is written the same again.
pub fn nostr_event(data: &[u8]) {
    let mut input = Bytes(data);
    while one_event(&mut input).is_some() {}
}

fn one_event(input: &mut Bytes<'_>) -> Option<()> {
    let text = event(input)?;
    let text = altered(text, input)?;
    let value = serde_json::from_str::<Value>(&text);
    // serde_json's numbers have a range.
    if value.as_ref().is_err_and(|error| error.to_string().starts_with("number")) {
        return Some(());
    }
    let mut reader = Reader::new(&text);
    let is_json = reader.skip().and_then(|()| reader.end()).is_ok();
    assert_eq!(is_json, value.is_ok(), "{text}");
    match Event::parse(&text, &EventLimits::default()) {
        Ok(event) => check(&event, &value.expect("checked above"), &text),
        Err(invalid) => assert!(!is_json || !invalid.text.starts_with("event: "), "{text}"),
    }
    Some(())
}

fn check(event: &Event, value: &Value, text: &str) {
    let mut written = Vec::new();
    event.write_json(&mut written);
    assert_eq!(written.len(), event.json_bytes(), "{text}");
    let written = String::from_utf8(written).expect("JSON is UTF-8");
    let again = Event::parse(&written, &EventLimits::default());
    assert_eq!(again.as_ref(), Ok(event), "{text}");
    let mut rewritten = Vec::new();
    again.expect("compared").write_json(&mut rewritten);
    assert_eq!(rewritten, written.as_bytes(), "{text}");

    let read: Value = serde_json::from_str(&written).expect("JSON");
    for member in ["id", "pubkey", "created_at", "kind", "tags", "content", "sig"] {
        assert_eq!(read[member], value[member], "{text}");
    }
    assert_eq!(value["content"], *event.content(), "{text}");
    let tags: Vec<Vec<String>> = event
        .tags()
        .iter()
        .map(|tag| tag.elements().map(|element| element.into_owned()).collect())
        .collect();
    assert_eq!(value["tags"], Value::from(tags), "{text}");
    // Arithmetic that must not overflow.
    let _ = (event.has_valid_id(), event.expiration(), event.address(), event.is_protected());
}
