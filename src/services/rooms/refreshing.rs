//! The subprotocol `weir.rooms`: a member sends a new token on its open connection.
//!
//! A text message that is a JSON object with a member `refresh` is a command, and no member of the room
//! gets it: it has the token as `refresh`, and an `id` of the client's choice. The answer repeats the `id`,
//! which other members cannot guess if it is random, so they cannot forge an answer. All other messages are
//! relayed as without the subprotocol.
//!
//! | the client sends | weir answers |
//! |---|---|
//! | `{"refresh":"eyJ..","id":"7"}` | `{"refreshed":true,"id":"7"}` |
//! | | `{"refreshed":false,"id":"7","reason":"unauthorized"}` |

use std::borrow::Cow;
use std::collections::HashMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::protocol::Message;
use crate::protocol::handshake::Refusal;
use crate::reactor::budget::PRESENTED_BYTES_MAX;
use crate::reactor::{ConnId, Context, PresentError};

/// The subprotocols of rooms.
pub(super) const PROTOCOLS: &[&str] = &["weir.rooms"];
/// The member of a command that has the token.
const TOKEN: &str = "refresh";
/// The start of most commands. Such a text is a command even if it is malformed.
const COMMAND: &str = "{\"refresh\"";
/// Maximum length of a command in bytes; a token has at most half of that. Longer ones are malformed.
const COMMAND_BYTES_MAX: usize = 2 * PRESENTED_BYTES_MAX;
/// Maximum length of an `id` in bytes.
const ID_BYTES_MAX: usize = 64;

/// The commands of one member.
#[derive(Debug)]
pub(super) struct Refreshing {
    /// Whether the member may send commands.
    is_spoken: bool,
    /// The `id` of the command that its gate decides on.
    pending: Option<Box<str>>,
}

#[derive(Deserialize)]
struct Command<'a> {
    #[serde(borrow)]
    refresh: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Cow<'a, str>,
}

#[derive(Serialize)]
struct Answer<'a> {
    refreshed: bool,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl Refreshing {
    /// For a member that has agreed on this subprotocol.
    pub(super) fn new(protocol: Option<&str>) -> Refreshing {
        Refreshing { is_spoken: protocol.is_some(), pending: None }
    }

    /// Carries out a command; false if a message is not one.
    pub(super) fn handles(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        message: Message<'_>,
    ) -> bool {
        let Message::Text(text) = message else {
            return false;
        };
        let is_command = self.is_spoken && is_command(text);
        if is_command {
            self.present(cx, conn, text);
        }
        is_command
    }

    fn present(&mut self, cx: &mut Context<'_>, conn: ConnId, text: &str) {
        let Some(command) = Command::parse(text) else {
            return send(cx, conn, "", Some("malformed"));
        };
        match cx.present(conn, &command.refresh) {
            Ok(()) => self.pending = Some((&*command.id).into()),
            Err(error) => send(cx, conn, &command.id, Some(reason(error))),
        }
    }

    /// Sends what the gate has decided.
    pub(super) fn answer(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        outcome: Result<(), Refusal>,
    ) {
        let id = self.pending.take().unwrap_or_default();
        send(cx, conn, &id, outcome.err().map(Refusal::name));
    }
}

impl<'a> Command<'a> {
    /// `None` if it is malformed.
    fn parse(text: &'a str) -> Option<Command<'a>> {
        if text.len() > COMMAND_BYTES_MAX {
            return None;
        }
        let command: Command<'a> = serde_json::from_str(text).ok()?;
        (command.id.len() <= ID_BYTES_MAX).then_some(command)
    }
}

/// Whether a text is a command. Members may be in any order, since serializers sort them as they like:
/// the room must not get a token because its client writes the `id` first.
fn is_command(text: &str) -> bool {
    if text.starts_with(COMMAND) {
        return true;
    }
    // Most messages are not parsed.
    let may_be = text.len() <= COMMAND_BYTES_MAX
        && text.trim_ascii_start().starts_with('{')
        && text.contains(TOKEN);
    may_be
        && serde_json::from_str::<HashMap<String, IgnoredAny>>(text)
            .is_ok_and(|members| members.contains_key(TOKEN))
}

fn reason(error: PresentError) -> &'static str {
    match error {
        PresentError::NoGate => "no_gate",
        PresentError::TooLong => "malformed",
        PresentError::Pending => "pending",
        PresentError::Full => Refusal::GateFailed.name(),
        // The connection gets no answer.
        PresentError::Gone => Refusal::Unauthorized.name(),
    }
}

fn send(cx: &mut Context<'_>, conn: ConnId, id: &str, reason: Option<&'static str>) {
    let answer = Answer { refreshed: reason.is_none(), id, reason };
    if let Ok(text) = serde_json::to_string(&answer) {
        // A member without room for it does not read, and ends by the route's policy.
        let _ = cx.send(conn, &*text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_objects_with_a_token_and_an_id() {
        let parse = Command::parse;
        let command = parse(r#"{"refresh": "e.y.J", "id": "\u0037", "later": 1}"#).unwrap();
        assert_eq!((&*command.refresh, &*command.id), ("e.y.J", "7"));
        assert_eq!(parse(r#"{"refresh":"a"}"#).unwrap().id, "");
        for text in
            [r#"{"refresh":7}"#, r#"{"refresh":null}"#, r#"{"refresh":"a","id":7}"#, COMMAND]
        {
            assert!(parse(text).is_none(), "{text}");
        }
        let padded = |len: usize| format!(r#"{{"refresh":"a","more":"{}"}}"#, "x".repeat(len));
        let (short, long) = (padded(COMMAND_BYTES_MAX - 50), padded(COMMAND_BYTES_MAX));
        assert!(parse(&short).is_some() && parse(&long).is_none());
    }

    #[test]
    fn an_object_with_a_token_is_a_command_in_any_spelling() {
        for text in [
            r#"{"refresh":"a","id":"7"}"#,
            r#"{"id":"7","refresh":"a"}"#,
            "\n {\n  \"refresh\" : \"a\"\n}",
            r#"{"id":"7","refresh":"a","refresh":"b"}"#,
            r#"{"id":{"a":[1]},"refresh":null}"#,
            COMMAND,
        ] {
            assert!(is_command(text), "{text}");
        }
        for text in [
            "",
            "{}",
            "refresh",
            r#""refresh""#,
            r#"["refresh"]"#,
            r#"{"type":"refresh"}"#,
            r#"{"data":{"refresh":"a"}}"#,
            r#"{"refreshed":true,"id":"7"}"#,
            r#"{ "id":"7","refresh":"#,
        ] {
            assert!(!is_command(text), "{text}");
        }
    }
}
