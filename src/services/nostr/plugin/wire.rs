//! The lines of strfry's plugin protocol.

use std::io::Write;

use serde::Deserialize;

use crate::services::nostr::event::{EventId, push_hex};
use crate::services::nostr::refusal::{Prefix, Refusal};
use crate::services::nostr::tags::hex_32;
use crate::services::nostr::write_policy::{Judgement, Source, Submission};

/// Characters of a plugin's message that a client gets.
const MESSAGE_CHARS_MAX: usize = 500;

/// The line for an event.
pub(super) fn request(submission: &Submission<'_>) -> Vec<u8> {
    let Submission { event, received_at, source, authed } = submission;
    let mut line = Vec::with_capacity(event.json_bytes() + 256);
    line.extend_from_slice(br#"{"type":"new","event":"#);
    event.write_json(&mut line);
    let (kind, info) = match source {
        Source::Client(address) => {
            let address = address.to_canonical();
            (if address.is_ipv4() { "IP4" } else { "IP6" }, address.to_string())
        }
        Source::Import => ("Import", String::new()),
        Source::Sync => ("Sync", String::new()),
    };
    // Writing to a Vec does not fail.
    let _ =
        write!(line, r#","receivedAt":{received_at},"sourceType":"{kind}","sourceInfo":"{info}""#);
    if let Some(key) = authed {
        line.extend_from_slice(br#","authed":""#);
        push_hex(&mut line, *key);
        line.push(b'"');
    }
    line.extend_from_slice(b"}\n");
    line
}

#[derive(Deserialize)]
struct Answer {
    id: String,
    action: Action,
    #[serde(default)]
    msg: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Action {
    Accept,
    Reject,
    ShadowReject,
}

/// The event that a line judges, and how. `None`: the line is no answer.
pub(super) fn answer(line: &[u8]) -> Option<(EventId, Judgement)> {
    let Answer { id, action, msg } = serde_json::from_slice(line).ok()?;
    let judgement = match action {
        Action::Accept => Judgement::Accept,
        Action::Reject => Judgement::Reject(refusal(msg.as_deref().unwrap_or_default())),
        Action::ShadowReject => Judgement::ShadowReject,
    };
    Some((hex_32(&id)?, judgement))
}

/// A message that starts with a prefix of NIP-01 is sent as it is.
fn refusal(message: &str) -> Refusal {
    let text = |text: &str| text.trim().chars().take(MESSAGE_CHARS_MAX).collect::<String>();
    if let Some((word, rest)) = message.split_once(':')
        && let Some(prefix) = Prefix::ALL.into_iter().find(|prefix| prefix.name() == word)
    {
        return prefix.text(text(rest));
    }
    match text(message) {
        text if text.is_empty() => Prefix::Blocked.text("the write policy refuses the event"),
        text => Prefix::Blocked.text(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::nostr::testing::{event, key};

    #[test]
    fn a_request_is_one_line_of_json() {
        let event = event(1, 2, 7, 1000, r#"[["t","a\nb"]]"#);
        let key = key(3);
        let line =
            |source, authed| request(&Submission { event: &event, received_at: 5, source, authed });
        for (source, kind, info) in [
            (Source::Client("192.0.2.1".parse().unwrap()), "IP4", "192.0.2.1"),
            (Source::Client("::ffff:192.0.2.1".parse().unwrap()), "IP4", "192.0.2.1"),
            (Source::Client("2001:db8::1".parse().unwrap()), "IP6", "2001:db8::1"),
            (Source::Import, "Import", ""),
            (Source::Sync, "Sync", ""),
        ] {
            let line = line(source, None);
            assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
            let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(value["type"], "new");
            assert_eq!(value["event"]["id"], hex::encode(event.id()));
            assert_eq!(value["event"]["tags"][0][1], "a\nb");
            assert_eq!(value["receivedAt"], 5);
            assert_eq!((&value["sourceType"], &value["sourceInfo"]), (&kind.into(), &info.into()));
            assert_eq!(value.get("authed"), None);
        }
        let value: serde_json::Value =
            serde_json::from_slice(&line(Source::Import, Some(&key))).unwrap();
        assert_eq!(value["authed"], hex::encode(key));
    }

    #[test]
    fn answers_name_an_event_and_an_action() {
        let judgement = |rest: &str| {
            let line = format!(r#"{{"id":"{}",{rest}}}"#, hex::encode(key(4)));
            let (id, judgement) = answer(line.as_bytes())?;
            assert_eq!(id, key(4));
            Some(judgement)
        };
        let reject =
            |prefix: Prefix, text: &'static str| Some(Judgement::Reject(prefix.text(text)));
        assert_eq!(judgement(r#""action":"accept""#), Some(Judgement::Accept));
        assert_eq!(judgement(r#""action":"accept","msg":null,"x":[1]"#), Some(Judgement::Accept));
        assert_eq!(judgement(r#""action":"shadowReject","msg":"""#), Some(Judgement::ShadowReject));
        let default = reject(Prefix::Blocked, "the write policy refuses the event");
        assert_eq!(judgement(r#""action":"reject""#), default);
        assert_eq!(judgement(r#""action":"reject","msg":" ""#), default);
        let pow = reject(Prefix::Pow, "28 bits");
        assert_eq!(judgement(r#""action":"reject","msg":"pow: 28 bits""#), pow);
        let other = reject(Prefix::Blocked, "spam: no");
        assert_eq!(judgement(r#""action":"reject","msg":"spam: no""#), other);
        for malformed in [r#""action":"Accept""#, r#""action":true"#, r#""msg":"accept""#] {
            assert_eq!(judgement(malformed), None);
        }
        for malformed in ["", "ready", "[]", r#"{"id":"abc","action":"accept"}"#] {
            assert_eq!(answer(malformed.as_bytes()), None);
        }
    }

    #[test]
    fn long_messages_are_cut() {
        let Refusal { text, .. } = refusal(&"ä".repeat(100_000));
        assert_eq!(text.chars().count(), MESSAGE_CHARS_MAX);
    }
}
