//! A relay's messages (NIP-01, NIP-42).

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use weir::protocol::Message;

use crate::payload::preview;
use crate::tally::Tally;

/// A message from a relay. Further elements are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer<'a> {
    Event { subscription: Cow<'a, str>, id: Cow<'a, str> },
    Ok { id: Cow<'a, str>, is_accepted: bool, text: Cow<'a, str> },
    Eose { subscription: Cow<'a, str> },
    Closed { subscription: Cow<'a, str>, text: Cow<'a, str> },
    Auth { challenge: Cow<'a, str> },
    Notice { text: Cow<'a, str> },
    Other,
}

impl<'a> Answer<'a> {
    /// `None` if the text is not such a message.
    pub(crate) fn parse(text: &'a str) -> Option<Answer<'a>> {
        serde_json::from_str(text).ok()
    }
}

/// A string that is only copied if it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The member of an event that identifies it.
#[derive(Deserialize)]
struct Identified<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Answer<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Answer<'a>, D::Error> {
        from.deserialize_seq(Elements)
    }
}

struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = Answer<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message of a relay")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Answer<'de>, A::Error> {
        let Text(verb) = next(&mut from)?;
        let mut text = || next(&mut from).map(|Text(text)| text);
        let answer = match &*verb {
            "EVENT" => {
                let subscription = text()?;
                let Identified { id } = next(&mut from)?;
                Answer::Event { subscription, id }
            }
            "OK" => {
                let id = text()?;
                let is_accepted = next(&mut from)?;
                let Text(text) = next(&mut from)?;
                Answer::Ok { id, is_accepted, text }
            }
            "EOSE" => Answer::Eose { subscription: text()? },
            "CLOSED" => Answer::Closed { subscription: text()?, text: text()? },
            "AUTH" => Answer::Auth { challenge: text()? },
            "NOTICE" => Answer::Notice { text: text()? },
            _ => Answer::Other,
        };
        while from.next_element::<IgnoredAny>()?.is_some() {}
        Ok(answer)
    }
}

fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(from: &mut A) -> Result<T, A::Error> {
    from.next_element()?.ok_or_else(|| A::Error::custom("too few elements"))
}

/// The prefix of a relay's text (NIP-01), for counting; `""` if it has none.
pub(crate) fn prefix(text: &str) -> &str {
    let prefix = text.split_once(':').map_or("", |(prefix, _)| prefix);
    let is_word = prefix.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    if is_word { prefix } else { "" }
}

/// Counts an event or AUTH that a relay refuses, by the prefix of its text.
pub(crate) fn refused(tally: &mut Tally, what: &str, text: &str, message: Message<'_>) {
    tally.wrong(format!("{what}, {}:", prefix(text)), || {
        format!("expected OK true, received {}", preview(message))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_with_white_space_escapes_and_further_elements() {
        let event = r#"[ "EVENT", "a\"b", {"content":"x\"id\"","id":"ab","tags":[["e","c"]]}]"#;
        let expected = Answer::Event { subscription: "a\"b".into(), id: "ab".into() };
        assert_eq!(Answer::parse(event), Some(expected));
        let ok = Answer::Ok { id: "ab".into(), is_accepted: false, text: "pow: 8".into() };
        assert_eq!(Answer::parse(r#"["OK","ab",false,"pow: 8"]"#), Some(ok));
        let eose = Some(Answer::Eose { subscription: "s".into() });
        assert_eq!(Answer::parse(r#"["EOSE","s"]"#), eose);
        assert_eq!(Answer::parse(r#"["EOSE","s","more"]"#), eose);
        assert_eq!(Answer::parse(r#"["COUNT","s",{"count":1}]"#), Some(Answer::Other));
        for text in ["", "{}", "[]", r#"["OK"]"#, r#"["OK","ab",1,""]"#, r#"["EVENT","a",{}]"#] {
            assert_eq!(Answer::parse(text), None, "{text}");
        }
    }

    #[test]
    fn refusals_are_counted_by_their_prefix() {
        let texts = ["rate-limited: 50/s", "no prefix", "No: prefix", ""];
        assert_eq!(texts.map(prefix), ["rate-limited", "", "", ""]);
    }
}
