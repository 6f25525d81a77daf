//! The text of a reply, while its parts come together.
//!
//! What is answered at once is written straight to its place, with the id as it came and the result
//! where the backend appends it; what follows later leaves a hole behind its id. A reply never exceeds
//! its limit: what would is an error instead.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::error::RpcError;
use super::filling::Filling;
use super::method::Class;
use super::subscription::SubscriptionId;
use crate::protocol::Piece;

/// A call that was answered with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) class: Class,
    pub(crate) code: i64,
}

/// The reply to one message.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// Of a batch each reply ends in a comma, the last one's becomes the bracket.
    text: String,
    is_batch: bool,
    holes: Vec<Hole>,
    bytes_max: usize,
    /// Bytes in `text` and in the holes.
    bytes: usize,
    subscriptions: Subscribed,
}

/// The subscriptions of a reply.
#[derive(Debug, Default)]
pub(crate) struct Subscribed {
    /// Those that it names.
    pub(crate) named: Vec<SubscriptionId>,
    /// Those that answers begin, by their holes.
    pub(crate) begin: Vec<(usize, SubscriptionId)>,
}

/// A result or an error that is not there yet, behind its reply's id.
#[derive(Debug)]
struct Hole {
    /// Where in the text it belongs.
    at: usize,
    class: Class,
    /// A notification is not answered.
    is_silent: bool,
    is_open: bool,
    /// Of a batch, or in front of a shared result; that of a single call goes straight to the end of the
    /// text.
    filling: String,
    /// A result behind the filling.
    shared: Option<Arc<[u8]>>,
}

impl Subscribed {
    fn begins(&self, hole: usize) -> Option<SubscriptionId> {
        self.begin.iter().find(|(begun, _)| *begun == hole).map(|(_, id)| *id)
    }

    fn begun(&mut self, hole: usize) {
        self.named.extend(self.begins(hole));
    }
}

impl Reply {
    /// Nothing yet, on a buffer of the caller's.
    pub(crate) fn new(mut text: String, bytes_max: usize) -> Reply {
        text.clear();
        Reply { text, bytes_max, ..Reply::default() }
    }

    /// What follows are the replies of a batch.
    pub(crate) fn begin_batch(&mut self) {
        self.is_batch = true;
        self.text.push('[');
        self.bytes = self.text.len();
    }

    /// How many holes there are, open or not. The next one has this number.
    pub(crate) fn holes(&self) -> usize {
        self.holes.len()
    }

    /// The subscriptions that it names.
    pub(crate) fn named(&self) -> &[SubscriptionId] {
        &self.subscriptions.named
    }

    /// Names no more than the first so many; returns the others.
    pub(crate) fn unname(&mut self, kept: usize) -> Vec<SubscriptionId> {
        self.subscriptions.named.split_off(kept)
    }

    /// The subscriptions that wait for their answer, and where that belongs.
    pub(crate) fn beginning(&self) -> impl Iterator<Item = (usize, SubscriptionId)> {
        self.subscriptions.begin.iter().copied().filter(|(hole, _)| self.is_open(*hole))
    }

    /// The subscription that the answer in this hole begins.
    pub(crate) fn begins(&self, hole: usize) -> Option<SubscriptionId> {
        self.subscriptions.begins(hole)
    }

    /// Whether there is such a hole, and nothing in it.
    pub(crate) fn is_open(&self, hole: usize) -> bool {
        self.holes.get(hole).is_some_and(|hole| hole.is_open)
    }

    /// The first hole with nothing in it.
    pub(crate) fn first_open(&self) -> Option<usize> {
        self.holes.iter().position(|hole| hole.is_open)
    }

    /// Writes the reply to a call of this class, whose result `write` appends. What it appended is
    /// forgotten if it fails, or if there is no id to answer to; `Ok(false)` leaves a hole.
    pub(crate) fn call(
        &mut self,
        id: Option<&RawValue>,
        class: Class,
        write: impl FnOnce(&mut String, &mut Subscribed) -> Result<bool, RpcError>,
    ) -> Written {
        let start = self.text.len();
        head(&mut self.text, id.unwrap_or(RawValue::NULL));
        let behind_id = self.text.len();
        self.text += r#""result":"#;
        let error = match write(&mut self.text, &mut self.subscriptions) {
            Ok(false) => {
                self.leave_hole(if id.is_some() { behind_id } else { start }, class, id.is_none());
                return Written::Hole;
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

    fn leave_hole(&mut self, at: usize, class: Class, is_silent: bool) {
        self.text.truncate(at);
        self.bytes = at;
        self.holes.push(Hole {
            at,
            class,
            is_silent,
            is_open: true,
            filling: String::new(),
            shared: None,
        });
    }

    /// Writes an error; to something without a valid id as if that were null.
    pub(crate) fn error(&mut self, id: Option<&RawValue>, error: &RpcError) {
        head(&mut self.text, id.unwrap_or(RawValue::NULL));
        write_error(&mut self.text, error);
        self.end_item();
    }

    /// Bytes that follow a result.
    fn closing_bytes(&self) -> usize {
        1 + usize::from(self.is_batch)
    }

    fn end_item(&mut self) {
        if self.is_batch {
            self.text.push(',');
        }
        self.bytes = self.text.len();
    }

    /// Fills an open hole; answers with the error, if it is one.
    pub(crate) fn fill(
        &mut self,
        number: usize,
        answer: Result<Filling<'_>, &RpcError>,
    ) -> Option<Failed> {
        const BEFORE: &str = r#""result":"#;
        let room = self.bytes_max.saturating_sub(self.bytes + BEFORE.len() + self.closing_bytes());
        let hole = self.holes.get_mut(number).filter(|hole| hole.is_open)?;
        hole.is_open = false;
        if hole.is_silent {
            if answer.is_ok() {
                self.subscriptions.begun(number);
            }
            return None;
        }
        let refusal = RpcError::too_large();
        let answer =
            answer.and_then(|result| if result.len() > room { Err(&refusal) } else { Ok(result) });
        if let Ok(Filling::Shared(result)) = answer {
            hole.filling += BEFORE;
            hole.shared = Some(Arc::clone(result));
            self.bytes += BEFORE.len() + result.len() + self.closing_bytes();
            self.subscriptions.begun(number);
            return None;
        }
        let out = if self.is_batch { &mut hole.filling } else { &mut self.text };
        let before = out.len();
        match answer {
            Ok(Filling::Shared(_)) => {}
            Ok(Filling::Copied(result)) => {
                *out += BEFORE;
                *out += result;
                out.push('}');
                self.subscriptions.begun(number);
            }
            Err(error) => write_error(out, error),
        }
        if self.is_batch {
            out.push(',');
        }
        self.bytes += out.len() - before;
        answer.err().map(|error| Failed { class: hole.class, code: error.code })
    }

    /// Bytes of the reply so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it has a result that other replies have, too: then it goes out in pieces.
    pub(crate) fn is_shared(&self) -> bool {
        self.holes.iter().any(|hole| hole.shared.is_some())
    }

    /// The whole reply in pieces, of which at least one is shared. All holes are filled.
    pub(crate) fn take_pieces(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::with_capacity(2 * self.holes.len() + 1);
        let mut own = String::new();
        let mut at = 0;
        for hole in &mut self.holes {
            own += &self.text[at..hole.at];
            own += &hole.filling;
            at = hole.at;
            if let Some(shared) = hole.shared.take() {
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

    /// Replaces the whole reply by an error: to a single call with its id, to a batch as one.
    pub(crate) fn replace(&mut self, error: &RpcError) {
        let start = self.holes.first().map_or(0, |hole| hole.at);
        self.text.truncate(if self.is_batch { 0 } else { start });
        self.holes.clear();
        self.is_batch = false;
        if self.text.is_empty() {
            head(&mut self.text, RawValue::NULL);
        }
        write_error(&mut self.text, error);
        self.bytes = self.text.len();
    }

    /// The whole text, for the first time; empty if nothing is to be answered. All holes are filled.
    pub(crate) fn finish(&mut self) -> &str {
        if self.is_batch {
            self.finish_batch();
        }
        &self.text
    }

    fn finish_batch(&mut self) {
        if !self.holes.is_empty() {
            let mut whole = String::with_capacity(self.bytes + 1);
            let mut at = 0;
            for hole in &self.holes {
                whole += &self.text[at..hole.at];
                whole += &hole.filling;
                at = hole.at;
            }
            whole += &self.text[at..];
            self.text = whole;
        }
        match self.text.pop() {
            Some(',') => self.text.push(']'),
            // Notifications alone: not even an empty array (JSON-RPC 2.0, 6).
            _ => self.text.clear(),
        }
    }

    /// The text that [`finish`](Reply::finish) has shown, or a buffer for another.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// What became of a call's place in the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Result,
    /// An error.
    Error(Failed),
    /// It was a notification.
    Nothing,
    /// It follows.
    Hole,
}

fn head(out: &mut String, id: &RawValue) {
    *out += r#"{"jsonrpc":"2.0","id":"#;
    *out += id.get();
    out.push(',');
}

/// An error, behind the id that it answers to.
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
    fn a_late_subscription_is_named_only_where_its_id_has_room() {
        let id = RawValue::from_string("1".to_owned()).unwrap();
        let answer = RawValue::from_string(r#""0x10""#.to_owned()).unwrap();
        let begun = SubscriptionId::parse("0x10").unwrap();
        for (bytes_max, is_named) in [(1000, true), (95, false)] {
            let mut reply = Reply::new(String::new(), bytes_max);
            reply.begin_batch();
            reply.call(Some(&id), Class::Subscribe, |_, subscriptions| {
                subscriptions.begin.push((0, begun));
                Ok(false)
            });
            reply.call(Some(&id), Class::Info, |out, _| {
                *out += &format!(r#""{}""#, "x".repeat(20));
                Ok(true)
            });
            let failed = reply.fill(0, Ok(Filling::Copied(answer.get())));
            assert_eq!(failed.is_none(), is_named);
            assert_eq!(reply.named().contains(&begun), is_named, "{}", reply.finish());
        }
    }
}
