//! Messages of clients to a Nostr relay: each is parsed, or answered with JSON that echoes nothing but the
//! subscription's id.

use serde_json::Value;
use weir::services::nostr::message::{ClientMessage, MessageLimits, event_id_of};
use weir::services::nostr::verb::{Verb, verb_of};

use crate::bytes::Bytes;
use crate::nostr_json::{altered, event, string};

/// Messages, altered or not, are parsed if serde_json parses them and their elements are right. Answers are
/// JSON. A verb that is found without parsing is the message's.
pub fn nostr_message(data: &[u8]) {
    let mut input = Bytes(data);
    while one_message(&mut input).is_some() {}
}

fn one_message(input: &mut Bytes<'_>) -> Option<()> {
    let text = message(input)?;
    let text = altered(text, input)?;
    match ClientMessage::parse(&text, &MessageLimits::default()) {
        Ok(message) => check(&message, &text),
        Err(bad) => {
            let mut answer = Vec::new();
            bad.write(&mut answer);
            let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
            let is_json = serde_json::from_str::<Value>(&text).is_ok();
            assert!(is_json || answer[0] == "NOTICE", "{text}");
            assert!(["NOTICE", "CLOSED", "NEG-ERR"].iter().any(|verb| answer[0] == **verb));
        }
    }
    let _ = event_id_of(&text);
    Some(())
}

fn check(message: &ClientMessage<'_>, text: &str) {
    let verb = match message {
        ClientMessage::Event(_) => Verb::Event,
        ClientMessage::Req { .. } => Verb::Req,
        ClientMessage::Close { .. } => Verb::Close,
        ClientMessage::Count { .. } => Verb::Count,
        ClientMessage::Auth(_) => Verb::Auth,
        ClientMessage::NegOpen { .. } => Verb::NegOpen,
        ClientMessage::NegMsg { .. } => Verb::NegMsg,
        ClientMessage::NegClose { .. } => Verb::NegClose,
    };
    // Escapes hide the verb from the look without parsing.
    assert!(verb_of(text).is_none_or(|found| found == verb), "{text}");
    match message {
        ClientMessage::Event(rest) | ClientMessage::Auth(rest) => {
            assert!(text.ends_with(rest), "{text}");
        }
        ClientMessage::Req { sub, .. }
        | ClientMessage::Close { sub }
        | ClientMessage::Count { sub, .. }
        | ClientMessage::NegOpen { sub, .. }
        | ClientMessage::NegMsg { sub, .. }
        | ClientMessage::NegClose { sub } => {
            let value: Value = serde_json::from_str(text).expect("a message is JSON");
            assert_eq!(value[0], verb.name(), "{text}");
            let id: Value = serde_json::from_str(sub.json()).expect("an id is JSON");
            assert_eq!(value[1], id, "{text}");
        }
    }
}

fn message(input: &mut Bytes<'_>) -> Option<String> {
    let filter = ["{}", "{\"kinds\":[1]}", "{\"#t\":[\"a\"],\"limit\":0}", "{\"ids\":1}"];
    Some(match input.below(10)? {
        0 => format!("[\"EVENT\",{}]", event(input)?),
        1 => format!("[\"AUTH\",{}]", event(input)?),
        2 => format!("[\"CLOSE\",{}]", string(input)?),
        3 => format!("[\"COUNT\",{},{}]", string(input)?, filter[input.below(4)?]),
        4 => format!("[\"NEG-OPEN\",{},{},\"6100\"]", string(input)?, filter[input.below(4)?]),
        5 => format!("[\"NEG-MSG\",{},\"61{}\"]", string(input)?, ["", "0", "ff"][input.below(3)?]),
        6 => format!("[\"NEG-CLOSE\",{}]", string(input)?),
        7 => format!("[{}]", string(input)?),
        _ => {
            let (one, two) = (filter[input.below(4)?], filter[input.below(4)?]);
            format!(" [ \"REQ\" , {},{one} , {two} ]", string(input)?)
        }
    })
}
