//! Messages of a relay to its client (NIP-01, 77), as far as a synchronisation needs them.

use serde_json::value::RawValue;

use crate::services::nostr::event::EventId;
use crate::services::nostr::tags::hex_32;

/// A message of a relay.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received<'a> {
    Event { sub: &'a str, json: &'a str },
    Eose { sub: &'a str },
    Closed { sub: &'a str, text: String },
    Ok { id: EventId, accepted: bool, text: String },
    Notice(String),
    NegMsg { sub: &'a str, message: Vec<u8> },
    NegErr { sub: &'a str, text: String },
}

impl<'a> Received<'a> {
    /// Parses a message; `None` for one that is malformed or of another kind. Subscription ids stay raw
    /// JSON.
    pub(super) fn parse(text: &'a str) -> Option<Received<'a>> {
        let parts: Vec<&RawValue> = serde_json::from_str(text).ok()?;
        let raw = |at: usize| parts.get(at).map(|part| part.get());
        let string = |at: usize| serde_json::from_str::<String>(raw(at)?).ok();
        let sub = raw(1)?;
        Some(match string(0)?.as_str() {
            "EVENT" => Received::Event { sub, json: raw(2)? },
            "EOSE" => Received::Eose { sub },
            "CLOSED" => Received::Closed { sub, text: string(2).unwrap_or_default() },
            "OK" => Received::Ok {
                id: hex_32(&string(1)?)?,
                accepted: raw(2)? == "true",
                text: string(3).unwrap_or_default(),
            },
            "NOTICE" => Received::Notice(string(1)?),
            "NEG-MSG" => Received::NegMsg { sub, message: hex::decode(string(2)?).ok()? },
            "NEG-ERR" => Received::NegErr { sub, text: string(2).unwrap_or_default() },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_relay_are_recognized() {
        let id = "ab".repeat(32);
        let parsed = |text: &str| format!("{:?}", Received::parse(text));
        for (text, expected) in [
            (r#"["EVENT","a",{"id":1}]"#, r#"Some(Event { sub: "\"a\"", json: "{\"id\":1}" })"#),
            (r#"["EOSE","a",["finish"]]"#, r#"Some(Eose { sub: "\"a\"" })"#),
            (r#"["NOTICE","a\nb"]"#, r#"Some(Notice("a\nb"))"#),
            (
                r#" [ "NEG-MSG" , "a" , "61ff" ] "#,
                r#"Some(NegMsg { sub: "\"a\"", message: [97, 255] })"#,
            ),
            (
                r#"["NEG-ERR","a","blocked: x"]"#,
                r#"Some(NegErr { sub: "\"a\"", text: "blocked: x" })"#,
            ),
            (r#"["CLOSED","a"]"#, r#"Some(Closed { sub: "\"a\"", text: "" })"#),
        ] {
            assert_eq!(parsed(text), expected);
        }
        let ok = format!(r#"["OK","{id}",false,"rate-limited: slow down"]"#);
        let expected = Received::Ok {
            id: [0xAB; 32],
            accepted: false,
            text: "rate-limited: slow down".into(),
        };
        assert_eq!(Received::parse(&ok), Some(expected));
        for bad in [
            "",
            "{}",
            "[]",
            r#"["EVENT","a"]"#,
            r#"["OK","ab",true,""]"#,
            r#"["X","a"]"#,
            r#"["NEG-MSG","a","6"]"#,
        ] {
            assert_eq!(Received::parse(bad), None, "{bad}");
        }
    }
}
