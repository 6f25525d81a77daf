use super::super::signed::{event, json};
use super::super::testing::Random;
use super::*;

const ID: &str = "00000000000000000000000000000000000000000000000000000000000000ab";

/// The JSON of an event with these members instead of its own; an empty value leaves a member out.
fn with(members: &[(&str, &str)]) -> String {
    let sig = format!("\"{}\"", "c".repeat(128));
    let all = [
        ("id", format!("\"{ID}\"")),
        ("pubkey", format!("\"{ID}\"")),
        ("created_at", "1".to_owned()),
        ("kind", "1".to_owned()),
        ("tags", "[]".to_owned()),
        ("content", "\"\"".to_owned()),
        ("sig", sig),
    ];
    let given = |name: &str| members.iter().find(|(given, _)| *given == name);
    let own = all.iter().map(|(name, value)| (*name, given(name).map_or(&**value, |(_, v)| *v)));
    let more = members.iter().filter(|(name, _)| all.iter().all(|(own, _)| own != name)).copied();
    let shown: Vec<String> = own
        .chain(more)
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{}}}", shown.join(","))
}

fn parsed(json: &str) -> Event {
    Event::parse(json, &EventLimits::default()).unwrap()
}

fn error(json: &str) -> String {
    Event::parse(json, &EventLimits::default()).unwrap_err().text.into_owned()
}

#[test]
fn members_of_a_wrong_type_are_named() {
    let integer = "must be an integer without sign, fraction and exponent";
    for (member, values, text) in [
        ("id", vec!["1", "null", "[]", "\"\"", "\"AB\""], "id must be 64 lower-case hex digits"),
        ("pubkey", vec!["{}", "true", "\"abc\""], "pubkey must be 64 lower-case hex digits"),
        ("sig", vec!["1", &format!("\"{ID}\"")], "sig must be 128 lower-case hex digits"),
        (
            "created_at",
            vec!["\"1\"", "-1", "1.0", "1e3", "null", "[1]", "-0"],
            &format!("created_at {integer}"),
        ),
        (
            "created_at",
            vec!["1099511627776", "9223372036854775808", "99999999999999999999"],
            "created_at must be below 2^40",
        ),
        ("kind", vec!["\"1\"", "-1", "1.5", "1E0", "null"], &format!("kind {integer}")),
        ("kind", vec!["65536", "99999999999999999999"], "kind must be at most 65535"),
        ("content", vec!["1", "null", "{}", "[\"\"]"], "content must be a string"),
        (
            "tags",
            vec!["{}", "\"\"", "null", "[[]]", "[\"e\"]", "[[1]]", "[[\"e\",null]]", "[[[\"e\"]]]"],
            "tags must be an array of non-empty arrays of strings",
        ),
    ] {
        for value in values {
            assert_eq!(error(&with(&[(member, value)])), text, "{value}");
        }
        let missing = format!("the member {member} is missing");
        assert_eq!(error(&with(&[(member, "")])), missing);
    }
}

#[test]
fn members_that_occur_twice_are_refused() {
    let whole = with(&[]);
    let inner = &whole[1..whole.len() - 1];
    for member in inner.split(",\"") {
        let member = format!("\"{}", member.trim_start_matches('"'));
        let name = member[1..].split('"').next().unwrap();
        let text = format!("the member {name} occurs twice");
        assert_eq!(error(&format!("{{{inner},{member}}}")), text);
    }
    let escaped = with(&[("\\u006b\\u0069nd", "1")]);
    assert_eq!(error(&escaped), "the member kind occurs twice");
}

#[test]
fn other_members_are_dropped() {
    let plain = parsed(&with(&[]));
    let more = [("seen", "[{\"a\":[1,null]}]"), ("Id", "7"), ("", "true"), ("relays", "\"\\\"\"")];
    assert_eq!(parsed(&with(&more)), plain);
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(error(&with(&[("x", &deep)])), "event: JSON nested deeper than 128 levels");
    assert!(error(&with(&[("x", "[1,]")])).starts_with("event: malformed JSON"));
}

#[test]
fn names_and_digits_may_be_escaped() {
    let escaped = ID.replace('a', "\\u0061");
    let text = with(&[("id", &format!("\"{escaped}\""))]).replace("\"kind\"", "\"k\\u0069nd\"");
    assert_eq!(parsed(&text), parsed(&with(&[])));
}

#[test]
fn white_space_and_order_do_not_matter() {
    let text = format!(
        " {{ \"content\" : \"a\\/b\" , \"tags\" : [ [ \"e\" , \"\\u0041\" ] , [ \"-\" ] ] ,\n\
         \"sig\":\"{}\", \"kind\":1,\t\"created_at\":1, \"pubkey\":\"{ID}\",\"id\":\"{ID}\" }}\r\n",
        "c".repeat(128)
    );
    let event = parsed(&text);
    assert_eq!(event.tags_json(), r#"[["e","A"],["-"]]"#);
    assert_eq!(event.content_json(), r#""a/b""#);
    let tags = [("tags", r#"[["e","A"],["-"]]"#), ("content", r#""a/b""#)];
    assert_eq!(json(&event), with(&tags));
}

#[test]
fn nul_and_non_characters_are_legal_and_lone_surrogates_are_not() {
    let content = |json: &str| with(&[("content", json)]);
    assert_eq!(parsed(&content(r#""\u0000\uffff\udbff\udfff""#)).content(), "\0\u{ffff}\u{10ffff}");
    assert_eq!(error(&content(r#""\ud800""#)), "event: a string contains half of a surrogate pair");
    assert!(error(&content("\"\u{1}\"")).starts_with("event: malformed JSON"));
}

#[test]
fn the_id_of_an_invalid_event_is_found() {
    let id = |text: &str| Event::parse(text, &EventLimits::default()).unwrap_err().id;
    let expected = HexId::parse(ID);
    assert!(expected.is_some());
    assert_eq!(id(&with(&[("kind", "-1")])), expected);
    assert_eq!(id(&with(&[("sig", "")])), expected);
    // Behind the error, before a syntax error, escaped, in upper case.
    assert_eq!(id(&format!("{{\"kind\":-1,\"id\":\"{ID}\"}}")), expected);
    assert_eq!(id(&format!("{{\"id\":\"{ID}\",\"kind\":")), expected);
    assert_eq!(id(&format!("{{\"i\\u0064\":\"{}\"}}", ID.replace('a', "\\u0061"))), expected);
    let upper = ID.to_uppercase();
    assert_eq!(id(&format!("{{\"id\":\"{upper}\"}}")).unwrap().as_bytes(), upper.as_bytes());
    for text in [
        "{}".to_owned(),
        "[]".to_owned(),
        String::new(),
        "{\"id\":1}".to_owned(),
        format!("{{\"id\":\"{}\"}}", &ID[1..]),
        format!("{{\"id\":\"{}g\"}}", &ID[1..]),
        format!("{{\"event\":{{\"id\":\"{ID}\"}}}}"),
        format!("{{\"kind\":x,\"id\":\"{ID}\"}}"),
    ] {
        assert_eq!(id(&text), None, "{text}");
    }
}

#[test]
fn limits_are_named_with_their_value() {
    let limits = EventLimits {
        event_max_bytes: 420,
        tags_max: 2,
        tag_value_max_bytes: 4,
        content_max_chars: Some(3),
    };
    let parse = |tags: &str, content: &str| {
        let text = with(&[("tags", tags), ("content", content), ("more", "\"x\"")]);
        Event::parse(&text, &limits).map_err(|invalid| invalid.text.into_owned())
    };
    assert!(parse(r#"[["t","éé"],["abcd"]]"#, r#""éé\n""#).is_ok());
    let error = |text: &str| Err(text.to_owned());
    assert_eq!(parse(r#"[["t"],["t"],["t"]]"#, r#""""#), error("the event has more than 2 tags"));
    assert_eq!(parse(r#"[["t","12345"]]"#, r#""""#), error("a tag value is longer than 4 bytes"));
    assert_eq!(parse(r#"[["12345"]]"#, r#""""#), error("a tag value is longer than 4 bytes"));
    assert!(parse(r#"[["t","\u0041\u0041\n\n"]]"#, r#""""#).is_ok());
    assert_eq!(parse("[]", r#""éééé""#), error("the content is longer than 3 characters"));
    let long = format!("\"{}\"", "x".repeat(99));
    assert_eq!(parse("[]", &long), error("the event is larger than 420 bytes"));
    let exact = with(&[("content", "\"\"")]);
    let limits = EventLimits { event_max_bytes: exact.len(), ..EventLimits::default() };
    assert!(Event::parse(&exact, &limits).is_ok());
    let limits = EventLimits { event_max_bytes: exact.len() - 1, ..limits };
    assert!(Event::parse(&exact, &limits).is_err());
}

#[test]
fn a_message_may_have_more_elements() {
    let text = with(&[]);
    let parse = |rest: &str| parse_in_message(&format!("{text}{rest}")).map(|(event, _)| event);
    for rest in ["]", " , 1, [\"x\"] ] ", ",null]"] {
        assert_eq!(parse(rest), Ok(parsed(&text)), "{rest}");
    }
    for rest in ["", ",]", "]]", "] x", "}", ",", ",nul]"] {
        let invalid = parse(rest).unwrap_err();
        assert!(invalid.text.starts_with("event: malformed JSON"), "{rest}");
        assert_eq!(invalid.id, HexId::parse(ID));
    }
    assert!(Event::parse(&format!("{text} x"), &EventLimits::default()).is_err());
}

#[test]
fn written_events_parse_to_the_same_event() {
    const TEXTS: [&str; 8] =
        ["", "a", "é😀", "\"\\\n\r\t\u{8}\u{c}", "\0\u{1f}\u{7f}", "]],[[", "\u{10ffff}", "x,y"];
    let mut random = Random(2);
    for _ in 0..300 {
        let mut texts = || (0..1 + random.below(3)).map(|_| *random.of(&TEXTS)).collect::<Vec<_>>();
        let tags = [texts(), texts(), texts()];
        let content = texts().concat();
        let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
        let event = event(1, 1, &tags[..random.below(4)], &content);
        assert_eq!(parsed(&json(&event)), event);
        assert_eq!(event.content(), content);
        assert!(event.has_valid_id());
    }
}
