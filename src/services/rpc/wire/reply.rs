//! The text of a reply, while its answers arrive.
//!
//! An answer that is available at once is written in place: the id as it was sent, then the result,
//! which the backend appends. An answer that follows later leaves a placeholder after its id. A
//! result that would exceed the limit of the reply is replaced by an error.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::error::RpcError;
use super::filling::Filling;
use super::method::Class;
use super::subscription::SubscriptionId;
use crate::protocol::Piece;

/// A call that got an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) class: Class,
    pub(crate) code: i64,
}

/// The reply to one message.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// In a batch each item ends with a comma; the last one becomes the closing bracket.
    text: String,
    is_batch: bool,
    placeholders: Vec<Placeholder>,
    bytes_max: usize,
    /// Bytes in `text` and in the placeholders.
    bytes: usize,
    subscriptions: Subscribed,
}

/// The subscriptions of a reply.
#[derive(Debug, Default)]
pub(crate) struct Subscribed {
    /// Their ids are in the reply. They are activated when it is sent.
    pub(crate) named: Vec<SubscriptionId>,
    /// They wait for their source. The placeholders are for their ids.
    pub(crate) waiting: Vec<(usize, SubscriptionId)>,
}

/// The place of a result or an error that follows later, after the id of its reply.
#[derive(Debug)]
struct Placeholder {
    /// The position in the text.
    at: usize,
    class: Class,
    /// The call is a notification, which gets no reply.
    is_silent: bool,
    is_open: bool,
    /// In a batch, or before a shared result. Otherwise the answer of a single call is appended to
    /// the text.
    filling: String,
    /// A result after the filling.
    shared: Option<Arc<Box<[u8]>>>,
}

impl Subscribed {
    fn waiting(&self, placeholder: usize) -> Option<SubscriptionId> {
        self.waiting.iter().find(|(waiting, _)| *waiting == placeholder).map(|(_, id)| *id)
    }

    /// The placeholder has been filled with the id.
    fn filled(&mut self, placeholder: usize) {
        self.named.extend(self.waiting(placeholder));
    }
}

impl Reply {
    /// An empty reply in a buffer of the caller.
    pub(crate) fn new(mut text: String, bytes_max: usize) -> Reply {
        text.clear();
        Reply { text, bytes_max, ..Reply::default() }
    }

    /// Starts a batch.
    pub(crate) fn start_batch(&mut self) {
        self.is_batch = true;
        self.text.push('[');
        self.bytes = self.text.len();
    }

    /// The number of placeholders, open or not, which is the index of the next one.
    pub(crate) fn placeholders(&self) -> usize {
        self.placeholders.len()
    }

    /// The subscriptions whose ids are in the reply.
    pub(crate) fn named(&self) -> &[SubscriptionId] {
        &self.subscriptions.named
    }

    /// Removes all named subscriptions but the first `kept`, and returns them.
    pub(crate) fn split_off_named(&mut self, kept: usize) -> Vec<SubscriptionId> {
        self.subscriptions.named.split_off(kept)
    }

    /// The subscriptions that wait for their source, with their placeholders.
    pub(crate) fn waiting_subscriptions(&self) -> impl Iterator<Item = (usize, SubscriptionId)> {
        self.subscriptions.waiting.iter().copied().filter(|(index, _)| self.is_open(*index))
    }

    /// The subscription whose id belongs in this placeholder.
    pub(crate) fn waiting_subscription(&self, placeholder: usize) -> Option<SubscriptionId> {
        self.subscriptions.waiting(placeholder)
    }

    /// Whether the placeholder exists and is not filled.
    pub(crate) fn is_open(&self, placeholder: usize) -> bool {
        self.placeholders.get(placeholder).is_some_and(|placeholder| placeholder.is_open)
    }

    /// The first placeholder that is not filled.
    pub(crate) fn first_open(&self) -> Option<usize> {
        self.placeholders.iter().position(|one| one.is_open)
    }

    /// Writes the reply to a call. `write` appends the result; `Ok(false)` leaves a placeholder
    /// instead. If it fails, or if the call is a notification, the appended text is removed.
    pub(crate) fn call(
        &mut self,
        id: Option<&RawValue>,
        class: Class,
        write: impl FnOnce(&mut String, &mut Subscribed) -> Result<bool, RpcError>,
    ) -> Written {
        let start = self.text.len();
        write_head(&mut self.text, id.unwrap_or(RawValue::NULL));
        let after_id = self.text.len();
        self.text += r#""result":"#;
        let error = match write(&mut self.text, &mut self.subscriptions) {
            Ok(false) => {
                self.leave_placeholder(
                    if id.is_some() { after_id } else { start },
                    class,
                    id.is_none(),
                );
                return Written::Later;
            }
            Ok(true) if self.text.len() + self.closing_bytes() > self.bytes_max => {
                RpcError::too_large()
            }
            Ok(true) if id.is_some() => {
                self.text.push('}');
                self.end_item();
                return Written::Result;
            }
            Ok(true) => {
                self.text.truncate(start);
                return Written::Nothing;
            }
            Err(error) => error,
        };
        self.text.truncate(start);
        if id.is_none() {
            return Written::Nothing;
        }
        self.error(id, &error);
        Written::Error(Failed { class, code: error.code })
    }

    fn leave_placeholder(&mut self, at: usize, class: Class, is_silent: bool) {
        self.text.truncate(at);
        self.bytes = at;
        self.placeholders.push(Placeholder {
            at,
            class,
            is_silent,
            is_open: true,
            filling: String::new(),
            shared: None,
        });
    }

    /// Writes an error. Without a valid id the reply has the id `null`.
    pub(crate) fn error(&mut self, id: Option<&RawValue>, error: &RpcError) {
        write_head(&mut self.text, id.unwrap_or(RawValue::NULL));
        write_error(&mut self.text, error);
        self.end_item();
    }

    /// Bytes after a result.
    fn closing_bytes(&self) -> usize {
        1 + usize::from(self.is_batch)
    }

    fn end_item(&mut self) {
        if self.is_batch {
            self.text.push(',');
        }
        self.bytes = self.text.len();
    }

    /// Fills an open placeholder. Returns the error, if the answer is one.
    pub(crate) fn fill(
        &mut self,
        placeholder: usize,
        answer: Result<Filling<'_>, &RpcError>,
    ) -> Option<Failed> {
        const BEFORE: &str = r#""result":"#;
        let room = self.bytes_max.saturating_sub(self.bytes + BEFORE.len() + self.closing_bytes());
        let open = self.placeholders.get_mut(placeholder).filter(|open| open.is_open)?;
        open.is_open = false;
        if open.is_silent {
            if answer.is_ok() {
                self.subscriptions.filled(placeholder);
            }
            return None;
        }
        let refusal = RpcError::too_large();
        let answer =
            answer.and_then(|result| if result.len() > room { Err(&refusal) } else { Ok(result) });
        if let Ok(Filling::Shared(result)) = answer {
            open.filling += BEFORE;
            open.shared = Some(Arc::clone(result));
            self.bytes += BEFORE.len() + result.len() + self.closing_bytes();
            self.subscriptions.filled(placeholder);
            return None;
        }
        let out = if self.is_batch { &mut open.filling } else { &mut self.text };
        let before = out.len();
        match answer {
            Ok(Filling::Shared(_)) => {}
            Ok(Filling::Copied(result)) => {
                *out += BEFORE;
                *out += result;
                out.push('}');
                self.subscriptions.filled(placeholder);
            }
            Err(error) => write_error(out, error),
        }
        if self.is_batch {
            out.push(',');
        }
        self.bytes += out.len() - before;
        answer.err().map(|error| Failed { class: open.class, code: error.code })
    }

    /// Bytes of the reply so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it contains a shared result. Then it is sent in pieces.
    pub(crate) fn is_shared(&self) -> bool {
        self.placeholders.iter().any(|one| one.shared.is_some())
    }

    /// The reply in pieces, at least one of them shared. All placeholders must be filled.
    pub(crate) fn take_pieces(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::with_capacity(2 * self.placeholders.len() + 1);
        let mut own = String::new();
        let mut at = 0;
        for placeholder in &mut self.placeholders {
            own += &self.text[at..placeholder.at];
            own += &placeholder.filling;
            at = placeholder.at;
            if let Some(shared) = placeholder.shared.take() {
                pieces.push(std::mem::take(&mut own).into_bytes().into());
                pieces.push(shared.into());
                own += if self.is_batch { "}," } else { "}" };
            }
        }
        own += &self.text[at..];
        if self.is_batch {
            // The last comma becomes the bracket.
            own.pop();
            own.push(']');
        }
        pieces.push(own.into_bytes().into());
        pieces
    }

    /// Replaces the whole reply by an error: of a single call with its id, of a batch by one error.
    pub(crate) fn replace(&mut self, error: &RpcError) {
        let start = self.placeholders.first().map_or(0, |first| first.at);
        self.text.truncate(if self.is_batch { 0 } else { start });
        self.placeholders.clear();
        self.is_batch = false;
        if self.text.is_empty() {
            write_head(&mut self.text, RawValue::NULL);
        }
        write_error(&mut self.text, error);
        self.bytes = self.text.len();
    }

    /// The text of the complete reply, empty if no call gets one. May be called once. All
    /// placeholders must be filled.
    pub(crate) fn finish(&mut self) -> &str {
        if self.is_batch {
            self.finish_batch();
        }
        &self.text
    }

    fn finish_batch(&mut self) {
        if !self.placeholders.is_empty() {
            let mut whole = String::with_capacity(self.bytes + 1);
            let mut at = 0;
            for placeholder in &self.placeholders {
                whole += &self.text[at..placeholder.at];
                whole += &placeholder.filling;
                at = placeholder.at;
            }
            whole += &self.text[at..];
            self.text = whole;
        }
        match self.text.pop() {
            Some(',') => self.text.push(']'),
            // Only notifications: no reply, not even an empty array (JSON-RPC 2.0, 6).
            _ => self.text.clear(),
        }
    }

    /// The text that [`finish`](Reply::finish) has returned, or a buffer for another reply.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// The entry of a call in the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Result,
    Error(Failed),
    /// Nothing: the call is a notification.
    Nothing,
    /// A placeholder.
    Later,
}

fn write_head(out: &mut String, id: &RawValue) {
    *out += r#"{"jsonrpc":"2.0","id":"#;
    *out += id.get();
    out.push(',');
}

/// Appends an error, after the id of its reply.
fn write_error(out: &mut String, error: &RpcError) {
    *out += r#""error":{"code":"#;
    *out += &error.code.to_string();
    *out += r#","message":"#;
    *out += &serde_json::Value::from(&*error.message).to_string();
    if let Some(data) = &error.data {
        *out += r#","data":"#;
        *out += data.get();
    }
    *out += "}}";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_subscription_is_named_only_if_its_id_has_room() {
        let id = RawValue::from_string("1".to_owned()).unwrap();
        let answer = RawValue::from_string(r#""0x10""#.to_owned()).unwrap();
        let subscription = SubscriptionId::parse("0x10").unwrap();
        for (bytes_max, is_named) in [(1000, true), (95, false)] {
            let mut reply = Reply::new(String::new(), bytes_max);
            reply.start_batch();
            reply.call(Some(&id), Class::Subscribe, |_, subscriptions| {
                subscriptions.waiting.push((0, subscription));
                Ok(false)
            });
            reply.call(Some(&id), Class::Info, |out, _| {
                *out += &format!(r#""{}""#, "x".repeat(20));
                Ok(true)
            });
            let failed = reply.fill(0, Ok(Filling::Copied(answer.get())));
            assert_eq!(failed.is_none(), is_named);
            assert_eq!(reply.named().contains(&subscription), is_named, "{}", reply.finish());
        }
    }
}
