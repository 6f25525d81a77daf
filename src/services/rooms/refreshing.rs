//! The subprotocol `weir.rooms`: a member sends a new token on its open connection.
//!
//! A text message that begins with `{"refresh"` is a command, and no member gets it. It is an object with
//! the `token`'s text as `refresh`, and an `id` of the client's choice. The answer repeats the `id`: other
//! members do not know it, so they cannot forge an answer. All other messages are relayed as without the
//! subprotocol.
//!
//! | the client sends | weir answers |
//! |---|---|
//! | `{"refresh":"eyJ..","id":"7"}` | `{"refreshed":true,"id":"7"}` |
//! | | `{"refreshed":false,"id":"7","reason":"unauthorized"}` |

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::protocol::Message;
use crate::protocol::handshake::Refusal;
use crate::reactor::{ConnId, Context, PresentError};

/// The subprotocols of rooms.
pub(super) const PROTOCOLS: &[&str] = &["weir.rooms"];
/// The start of a command.
const COMMAND: &str = "{\"refresh\"";
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
        let is_command = self.is_spoken && text.starts_with(COMMAND);
        if is_command {
            self.present(cx, conn, text);
        }
        is_command
    }

    fn present(&mut self, cx: &mut Context<'_>, conn: ConnId, text: &str) {
        let command = serde_json::from_str::<Command<'_>>(text);
        let Some(command) = command.ok().filter(|command| command.id.len() <= ID_BYTES_MAX) else {
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

fn reason(error: PresentError) -> &'static str {
    match error {
        PresentError::NoGate => "no_gate",
        PresentError::TooLong => "malformed",
        PresentError::Pending => "pending",
        PresentError::Full => Refusal::GateFailed.name(),
        // Nobody receives the answer.
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
        let parse = |text| serde_json::from_str::<Command<'_>>(text).ok();
        let command = parse(r#"{"refresh": "e.y.J", "id": "\u0037", "later": 1}"#).unwrap();
        assert_eq!((&*command.refresh, &*command.id), ("e.y.J", "7"));
        assert_eq!(parse(r#"{"refresh":"a"}"#).unwrap().id, "");
        for text in
            [r#"{"refresh":7}"#, r#"{"refresh":null}"#, r#"{"refresh":"a","id":7}"#, COMMAND]
        {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
