mod names;

use self::names::Named;
use super::super::event::{Event, EventId};
use super::super::signature::KeyCache;
use super::super::signed::{NOW, event, json};
use super::super::tags::PublicKey;
use super::super::verify::{Known, Lists, Verdict, Verifier, VerifySettings};
use super::*;

/// Malformed messages and their answers; [`Named`] has the texts that `$NAME` stands for.
const MALFORMED: &str = include_str!("malformed.txt");

struct Empty;

impl Known for Empty {
    fn signature(&self, _: &EventId) -> Option<[u8; 64]> {
        None
    }

    fn is_vanished(&self, _: &PublicKey, _: u64) -> bool {
        false
    }
}

impl Lists for Empty {
    fn refusal(&self, _: &Event) -> Option<Refusal> {
        None
    }
}

/// The answer of a relay without configuration; `None` if the message is well-formed.
fn answer(text: &str) -> Option<String> {
    let mut out = Vec::new();
    match ClientMessage::parse(text, &MessageLimits::default()) {
        Err(bad) => bad.write(&mut out),
        Ok(ClientMessage::Event(rest)) => {
            let mut verifier = Verifier {
                settings: &VerifySettings::default(),
                known: &Empty,
                lists: &Empty,
                keys: &mut KeyCache::default(),
                now: NOW,
            };
            let Verdict::Refuse { id, refusal } = verifier.check_message(rest) else {
                return None;
            };
            match id {
                Some(id) => BadMessage::Ok(id, refusal).write(&mut out),
                None => BadMessage::Notice(refusal).write(&mut out),
            }
        }
        Ok(_) => return None,
    }
    Some(String::from_utf8(out).unwrap())
}

fn named() -> Named {
    let event = event(1, 1, &[], "hello");
    Named {
        event: json(&event),
        id: hex::encode(event.id()),
        pubkey: hex::encode(event.pubkey()),
        sig: hex::encode(event.sig()),
    }
}

#[test]
fn malformed_messages_get_the_answer_that_the_table_names() {
    let (named, mut expected) = (named(), "");
    let mut checked = 0;
    for line in MALFORMED.lines() {
        if let Some(answer) = line.strip_prefix("= ") {
            expected = answer;
        } else if !line.is_empty() && !line.starts_with('#') {
            assert_eq!(answer(&named.expand(line)), Some(named.expand(expected)), "{line}");
            checked += 1;
        }
    }
    assert!(checked >= 200, "{checked}");
}

fn parsed(text: &str) -> ClientMessage<'_> {
    ClientMessage::parse(text, &MessageLimits::default()).unwrap()
}

#[test]
fn well_formed_messages_are_parsed() {
    let sub = SubscriptionId::of("a");
    let sub = || sub.clone();
    let filter = |json| Filter::parse(json, &FilterLimits::default()).unwrap();
    for (text, message) in [
        (r#"["EVENT",{"id":1}]"#, ClientMessage::Event(r#"{"id":1}]"#)),
        (r#" [ "AUTH" , {"id":1}, 2]"#, ClientMessage::Auth(r#"{"id":1}, 2]"#)),
        (r#"["REQ","a",{}]"#, ClientMessage::Req { sub: sub(), filters: vec![filter("{}")] }),
        (
            " [ \"\\u0052EQ\" , \"a\" , {\"kinds\":[1]} , { } ]\n",
            ClientMessage::Req {
                sub: sub(),
                filters: vec![filter(r#"{"kinds":[1]}"#), filter("{}")],
            },
        ),
        (r#"["COUNT","a",{}]"#, ClientMessage::Count { sub: sub(), filters: vec![filter("{}")] }),
        (r#"["CLOSE","a"]"#, ClientMessage::Close { sub: sub() }),
        (r#"["CLOSE","a",{"x":[1]},null]"#, ClientMessage::Close { sub: sub() }),
        (
            r#"["NEG-OPEN","a",{},"6100Ff"]"#,
            ClientMessage::NegOpen {
                sub: sub(),
                filter: filter("{}"),
                message: vec![0x61, 0, 0xFF],
            },
        ),
        (r#"["NEG-MSG","a","61",1]"#, ClientMessage::NegMsg { sub: sub(), message: vec![0x61] }),
        (r#"["NEG-CLOSE","a"]"#, ClientMessage::NegClose { sub: sub() }),
    ] {
        assert_eq!(parsed(text), message, "{text}");
    }
}

#[test]
fn limits_hold_up_to_their_value() {
    let sub = "\u{e9}".repeat(64);
    assert!(matches!(parsed(&format!("[\"REQ\",\"{sub}\",{{}}]")), ClientMessage::Req { .. }));
    let filters = vec!["{\"kinds\":[1]}"; 100].join(",");
    assert!(matches!(parsed(&format!("[\"REQ\",\"a\",{filters}]")), ClientMessage::Req { .. }));
    let kinds = vec!["1"; 5_000].join(",");
    parsed(&format!("[\"REQ\",\"a\",{{\"kinds\":[{kinds}]}}]"));
    let limits = MessageLimits { subscription_id_max_chars: 300, ..MessageLimits::default() };
    let message = |chars| format!("[\"REQ\",\"{}\",{{}}]", "a".repeat(chars));
    assert!(ClientMessage::parse(&message(300), &limits).is_ok());
    let refused = ClientMessage::parse(&message(301), &limits).unwrap_err();
    assert!(matches!(refused, BadMessage::Notice(_)));
}

#[test]
fn an_id_that_was_never_valid_can_be_closed() {
    let text = format!("[\"CLOSE\",\"{}\"]", "a".repeat(300));
    assert!(matches!(parsed(&text), ClientMessage::Close { .. }));
}

#[test]
fn subscription_ids_keep_their_raw_json() {
    let ClientMessage::Close { sub } = parsed(r#"["CLOSE","\u0061\"\/"]"#) else {
        panic!("another message");
    };
    assert_eq!(sub.json(), r#""\u0061\"\/""#);
    assert_eq!(SubscriptionId::of("a\"\n").json(), r#""a\"\n""#);
}

#[test]
fn the_id_of_an_event_message_is_found() {
    let named = named();
    let text = named.expand("[\"EVENT\",{\"x\":[{}],$I,\"kind\":-1}");
    assert_eq!(event_id_of(&text), HexId::parse(&named.expand("$ID")));
    assert_eq!(event_id_of("[\"EVENT\",{}]"), None);
}

#[test]
fn a_request_that_is_not_parsed_is_refused_by_its_verb() {
    let refused = |text: &str| {
        let mut out = Vec::new();
        let refusal = Prefix::RateLimited.text("the relay is busy");
        unparsed(text, &MessageLimits::default(), refusal).write(&mut out);
        String::from_utf8(out).unwrap()
    };
    let (closed, neg_err) = (r#"["CLOSED","a",""#, r#"["NEG-ERR","a",""#);
    let notice = r#"["NOTICE",""#;
    for (text, start) in [
        (r#"["REQ","a",{"#, closed),
        (r#"["COUNT","a""#, closed),
        (r#"["NEG-OPEN","a",{}"#, neg_err),
        (r#"["NEG-MSG","a""#, neg_err),
        (r#"["CLOSE","a"]"#, notice),
        (r#"["REQ",1]"#, notice),
        (r#"["REQ"]"#, notice),
    ] {
        assert_eq!(refused(text), format!("{start}rate-limited: the relay is busy\"]"), "{text}");
    }
}
