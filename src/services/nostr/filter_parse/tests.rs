use serde_json::Value;

use super::super::event::Event;
use super::super::filter::{BroadFilters, contains};
use super::super::signed::{NOW, event_at, json, key_hex};
use super::super::testing::Random;
use super::*;

fn parsed(json: &str) -> Filter {
    Filter::parse(json, &FilterLimits::default()).unwrap()
}

fn error(json: &str) -> String {
    Filter::parse(json, &FilterLimits::default()).unwrap_err().to_string()
}

fn events(random: &mut Random) -> Vec<Event> {
    let keys: Vec<String> = (1..5).map(key_hex).collect();
    (0..300)
        .map(|_| {
            let mut value = || match random.below(3) {
                0 => ["x", "y", "", "é\n"][random.below(4)].to_owned(),
                1 => keys[random.below(4)].clone(),
                _ => keys[0].to_uppercase(),
            };
            let values = [value(), value(), value()];
            let names = ["t", "e", "p", "T", "tt", "\u{e9}"];
            let name = [random.below(6), random.below(6), random.below(6)].map(|at| names[at]);
            let tags: [&[&str]; 3] =
                [&[name[0], &values[0], &values[1]], &[name[1]], &[name[2], &values[2]]];
            let author = 1 + random.below(4) as u8;
            let created_at = NOW + random.next() % 5;
            let kind = [0, 1, 5, 30_000][random.below(4)];
            event_at(author, created_at, kind, &tags[..random.below(4)], "")
        })
        .collect()
}

/// A filter, each member present in a quarter or so of the cases.
fn filter(random: &mut Random, events: &[Event]) -> String {
    let keys: Vec<String> = (1..6).map(key_hex).collect();
    let mut members = Vec::new();
    let list = |random: &mut Random, item: &dyn Fn(&mut Random) -> String| {
        let items: Vec<String> = (0..random.below(4)).map(|_| item(random)).collect();
        format!("[{}]", items.join(","))
    };
    let id = |random: &mut Random| format!("\"{}\"", hex::encode(random.of(events).id()));
    let key = |random: &mut Random| format!("\"{}\"", random.of(&keys));
    let kind = |random: &mut Random| random.of(&[0, 1, 5, 7, 30_000]).to_string();
    let text = |random: &mut Random| {
        let upper = format!("\"{}\"", keys[0].to_uppercase());
        let items = ["\"x\"", "\"y\"", "\"\"", "\"\\u00e9\\n\"", &upper];
        (*random.of(&items)).to_owned()
    };
    if random.below(8) == 0 {
        members.push(format!("\"ids\":{}", list(random, &id)));
    }
    if random.below(3) == 0 {
        members.push(format!("\"authors\":{}", list(random, &key)));
    }
    if random.below(3) == 0 {
        members.push(format!("\"kinds\":{}", list(random, &kind)));
    }
    for (letter, item) in
        [("e", &key as &dyn Fn(&mut Random) -> String), ("p", &key), ("t", &text), ("T", &text)]
    {
        if random.below(4) == 0 {
            members.push(format!("\"#{letter}\":{}", list(random, item)));
        }
    }
    for member in ["since", "until"] {
        if random.below(4) == 0 {
            members.push(format!("\"{member}\":{}", NOW + random.next() % 6));
        }
    }
    format!("{{{}}}", members.join(","))
}

/// NIP-01 to the letter, on serde_json's values.
fn naive(filter: &Value, event: &Value) -> bool {
    filter.as_object().unwrap().iter().all(|(member, wanted)| match member.as_str() {
        "ids" => wanted.as_array().unwrap().contains(&event["id"]),
        "authors" => wanted.as_array().unwrap().contains(&event["pubkey"]),
        "kinds" => wanted.as_array().unwrap().contains(&event["kind"]),
        "since" => event["created_at"].as_u64() >= wanted.as_u64(),
        "until" => event["created_at"].as_u64() <= wanted.as_u64(),
        tag => event["tags"].as_array().unwrap().iter().any(|found| {
            found[0] == tag[1..]
                && wanted.as_array().unwrap().iter().any(|value| *value == found[1])
        }),
    })
}

#[test]
fn filters_match_what_a_naive_comparison_matches() {
    let mut random = Random(3);
    let events = events(&mut random);
    let values: Vec<Value> =
        events.iter().map(|event| serde_json::from_str(&json(event)).unwrap()).collect();
    let (mut matched, mut tagged) = (0, 0);
    for _ in 0..2_000 {
        let text = filter(&mut random, &events);
        let value: Value = serde_json::from_str(&text).unwrap();
        let filter = parsed(&text);
        for (event, event_value) in events.iter().zip(&values) {
            let expected = naive(&value, event_value);
            assert_eq!(filter.matches(event), expected, "{text} {event_value}");
            assert!(!expected || !filter.matches_nothing());
            matched += usize::from(expected);
            tagged += usize::from(expected && !filter.tags().is_empty());
        }
    }
    assert!(matched > 10_000 && tagged > 1_000, "{matched} {tagged}");
}

#[test]
fn lists_are_sorted_and_free_of_duplicates() {
    let (one, two) = ("11".repeat(32), "22".repeat(32));
    let text = format!(
        r##"{{"kinds":[7,1,7],"#t":["b","a","b"],"#e":["{two}","{one}","{two}"],"ids":["{two}","{one}"]}}"##
    );
    let filter = parsed(&text);
    assert_eq!(filter.kinds(), Some(&[1, 7][..]));
    assert_eq!(filter.ids(), Some(&[[0x11; 32], [0x22; 32]][..]));
    let tags = [
        (b'e', [TagValue::Hex([0x11; 32]), TagValue::Hex([0x22; 32])].into()),
        (b't', [TagValue::of("a"), TagValue::of("b")].into()),
    ];
    assert_eq!(filter.tags(), tags);
    assert_eq!(filter.values(), 8);
}

#[test]
fn an_absent_member_matches_all_and_an_empty_list_nothing() {
    let event = event_at(1, NOW, 1, &[&["t", "x"]], "");
    assert!(parsed("{}").matches(&event));
    for text in [r#"{"ids":[]}"#, r#"{"authors":[]}"#, r#"{"kinds":[]}"#, r##"{"#t":[]}"##] {
        assert!(parsed(text).matches_nothing(), "{text}");
        assert!(!parsed(text).matches(&event), "{text}");
    }
    assert!(parsed(r#"{"since":2,"until":1}"#).matches_nothing());
    assert!(!parsed(r#"{"since":1,"until":1}"#).matches_nothing());
}

#[test]
fn since_and_until_are_inclusive() {
    let event = event_at(1, 100, 1, &[], "");
    assert!(parsed(r#"{"since":100,"until":100}"#).matches(&event));
    assert!(!parsed(r#"{"since":101}"#).matches(&event));
    assert!(!parsed(r#"{"until":99}"#).matches(&event));
}

#[test]
fn a_limit_is_lowered_to_the_relay_s() {
    assert_eq!(parsed(r#"{"limit":0}"#).limit(), Some(0));
    assert_eq!(parsed(r#"{"limit":1001}"#).limit(), Some(1000));
    assert_eq!(parsed(r#"{"limit":18446744073709551615}"#).limit(), Some(1000));
    assert_eq!(parsed("{}").limit(), None);
}

#[test]
fn only_the_second_element_of_a_tag_counts() {
    let event = event_at(1, NOW, 1, &[&["t", "x", "y"]], "");
    assert!(parsed(r##"{"#t":["x"]}"##).matches(&event));
    assert!(!parsed(r##"{"#t":["y"]}"##).matches(&event));
}

#[test]
fn malformed_filters_name_the_member() {
    for (text, expected) in [
        ("[]", "invalid: a filter must be an object"),
        ("null", "invalid: a filter must be an object"),
        (r#"{"ids":null}"#, "invalid: the filter member ids must be an array"),
        (r#"{"ids":["ab"]}"#, "invalid: ids must be strings of 64 lower-case hex digits"),
        (r#"{"authors":[1]}"#, "invalid: authors must be strings of 64 lower-case hex digits"),
        (r#"{"kinds":1}"#, "invalid: the filter member kinds must be an array"),
        (r#"{"kinds":[65536]}"#, "invalid: kinds must be integers from 0 to 65535"),
        (r#"{"kinds":[-1]}"#, "invalid: kinds must be integers from 0 to 65535"),
        (r#"{"kinds":["1"]}"#, "invalid: kinds must be integers from 0 to 65535"),
        (r##"{"#e":["x"]}"##, "invalid: #e and #p must be strings of 64 lower-case hex digits"),
        (r##"{"#t":[1]}"##, "invalid: #<letter> must be strings"),
        (r##"{"#t":null}"##, "invalid: the filter member #<letter> must be an array"),
        (r#"{"since":-1}"#, "invalid: since must be an unsigned integer below 2^64"),
        (r#"{"until":null}"#, "invalid: until must be an unsigned integer below 2^64"),
        (r#"{"limit":1.0}"#, "invalid: limit must be an unsigned integer below 2^64"),
        (r#"{"limit":"1"}"#, "invalid: limit must be an unsigned integer below 2^64"),
        (r#"{"kinds":[1],"kinds":[1]}"#, "invalid: the filter member kinds occurs twice"),
        (r##"{"#t":[],"#\u0074":[]}"##, "invalid: the filter member #<letter> occurs twice"),
        (r#"{"search":"x"}"#, "unsupported: a filter member that this relay does not have"),
        (r##"{"#ab":["x"]}"##, "unsupported: a filter member that this relay does not have"),
        (r##"{"#1":["x"]}"##, "unsupported: a filter member that this relay does not have"),
        (r#"{"&t":["x"]}"#, "unsupported: a filter member that this relay does not have"),
        (r#"{"kinds":[1]"#, "invalid: malformed JSON at byte 12"),
        (r#"{} {}"#, "invalid: malformed JSON at byte 3"),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn unknown_members_are_ignored_if_the_setting_says_so() {
    let limits =
        FilterLimits { unknown_members: UnknownMembers::Ignore, ..FilterLimits::default() };
    let filter = Filter::parse(r##"{"search":"x","#ab":[[1]],"kinds":[1]}"##, &limits);
    assert_eq!(filter, Ok(parsed(r#"{"kinds":[1]}"#)));
    assert!(Filter::parse(r#"{"kinds":null}"#, &limits).is_err());
}

#[test]
fn search_is_read_if_the_relay_has_it() {
    let limits = FilterLimits { search: true, ..FilterLimits::default() };
    let filter = Filter::parse(r#"{"search":"two \"words\""}"#, &limits).unwrap();
    assert_eq!(filter.search(), Some("two \"words\""));
    assert!(Filter::parse(r#"{"search":1}"#, &limits).is_err());
    let of =
        |chars: usize| Filter::parse(&format!(r#"{{"search":"{}"}}"#, "ä".repeat(chars)), &limits);
    assert!(of(256).is_ok());
    assert_eq!(of(257).unwrap_err().to_string(), "invalid: search is longer than 256 characters");
}

#[test]
fn values_are_counted_over_all_lists() {
    let limits = FilterLimits { values_max: 3, ..FilterLimits::default() };
    assert!(Filter::parse(r##"{"kinds":[1,1],"#t":["a"]}"##, &limits).is_ok());
    let error = Filter::parse(r##"{"kinds":[1,1],"#t":["a","b"]}"##, &limits).unwrap_err();
    assert_eq!(error.to_string(), "invalid: more than 3 values in filters");
}

#[test]
fn filters_without_keys_and_bounds_are_broad() {
    let is_broad = |text: &str| parsed(text).is_broad(NOW);
    assert!(is_broad("{}"));
    assert!(is_broad(r#"{"kinds":[1]}"#));
    assert!(is_broad(r#"{"limit":101}"#));
    assert!(!is_broad(r#"{"limit":100}"#));
    assert!(!is_broad(r#"{"authors":[]}"#));
    assert!(!is_broad(r##"{"#t":["x"]}"##));
    assert!(!is_broad(&format!(r#"{{"since":{}}}"#, NOW - 7_200)));
    assert!(is_broad(&format!(r#"{{"since":{}}}"#, NOW - 7_201)));
    assert!(!is_broad(r#"{"since":100,"until":7300}"#));
    assert!(is_broad(r#"{"since":100,"until":7301}"#));
    let refuses = |setting: BroadFilters, text| setting.refuses(&parsed(text), NOW);
    assert!(!refuses(BroadFilters::Allow, "{}"));
    assert!(refuses(BroadFilters::Limited, "{}"));
    assert!(!refuses(BroadFilters::Limited, r#"{"limit":1}"#));
    assert!(refuses(BroadFilters::Refuse, r#"{"limit":1}"#));
    assert!(!refuses(BroadFilters::Refuse, r#"{"ids":[]}"#));
}

#[test]
fn borrowed_values_are_ordered_like_owned_ones() {
    let texts = ["", "a", &"0".repeat(64), &"f".repeat(64), &"F".repeat(64), "z"];
    let mut owned: Vec<TagValue> = texts.iter().map(|text| TagValue::of(text)).collect();
    owned.sort();
    for text in texts {
        assert!(contains(&owned, TagValueRef::of(text)), "{text}");
    }
    assert!(!contains(&owned, TagValueRef::of("b")));
    assert_eq!(TagValue::of(&"F".repeat(64)), TagValue::Text("F".repeat(64).into()));
}
