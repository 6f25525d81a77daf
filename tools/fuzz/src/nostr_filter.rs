//! Filters of a Nostr relay, matched like serde_json's reading of filter and event.

use serde_json::Value;
use weir::services::nostr::event::Event;
use weir::services::nostr::filter::{Filter, FilterLimits};
use weir::services::nostr::parse::EventLimits;

use crate::bytes::Bytes;
use crate::nostr_json::{KEY, OTHER_KEY, altered, event, list, number, string};

const MEMBERS_MAX: usize = 4;

/// A filter that parses matches exactly the events that NIP-01 says it does, and matches nothing if its
/// lists or its range are empty.
pub fn nostr_filter(data: &[u8]) {
    let mut input = Bytes(data);
    while one_filter(&mut input).is_some() {}
}

fn one_filter(input: &mut Bytes<'_>) -> Option<()> {
    let text = filter(input)?;
    let text = altered(text, input)?;
    let event_text = event(input)?;
    let Ok(filter) = Filter::parse(&text, &FilterLimits::default()) else {
        return Some(());
    };
    let filter_value: Value = serde_json::from_str(&text).expect("a filter is JSON");
    let Ok(event) = Event::parse(&event_text, &EventLimits::default()) else {
        return Some(());
    };
    let event_value: Value = serde_json::from_str(&event_text).expect("an event is JSON");
    let expected = naive(&filter_value, &event_value);
    assert_eq!(filter.matches(&event), expected, "{text} {event_text}");
    assert!(!expected || !filter.matches_nothing(), "{text} {event_text}");
    Some(())
}

fn filter(input: &mut Bytes<'_>) -> Option<String> {
    let count = input.below(MEMBERS_MAX + 1)?;
    let members: Option<Vec<String>> = (0..count).map(|_| member(input)).collect();
    Some(format!("{{{}}}", members?.join(",")))
}

fn member(input: &mut Bytes<'_>) -> Option<String> {
    let key = |input: &mut Bytes<'_>| Some(format!("\"{}\"", [KEY, OTHER_KEY][input.below(2)?]));
    let name = ["ids", "authors", "#e", "#p", "#t", "#T", "#d", "kinds", "since", "until", "limit"]
        [input.below(11)?];
    let value = match name {
        "ids" | "authors" | "#e" | "#p" => list(input, 3, key)?,
        "kinds" => list(input, 3, |input| Some(number(input)?.to_owned()))?,
        "since" | "until" | "limit" => number(input)?.to_owned(),
        _ => list(input, 3, string)?,
    };
    Some(format!("\"{name}\":{value}"))
}

fn naive(filter: &Value, event: &Value) -> bool {
    filter.as_object().expect("an object").iter().all(|(member, wanted)| match member.as_str() {
        "ids" => contains(wanted, &event["id"]),
        "authors" => contains(wanted, &event["pubkey"]),
        "kinds" => contains(wanted, &event["kind"]),
        "since" => event["created_at"].as_u64() >= wanted.as_u64(),
        "until" => event["created_at"].as_u64() <= wanted.as_u64(),
        "limit" => true,
        tag => event["tags"]
            .as_array()
            .expect("a list")
            .iter()
            .any(|found| found[0] == tag[1..] && contains(wanted, &found[1])),
    })
}

fn contains(list: &Value, value: &Value) -> bool {
    list.as_array().expect("a list").contains(value)
}
