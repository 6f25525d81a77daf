//! The text of a reply, while its parts come together.
//!
//! What is answered at once is written straight to its place, with the id as it came and the result
//! where the backend appends it; what follows later leaves a hole behind its id. A reply never exceeds
//! its limit: what would is an error instead.

use serde_json::value::RawValue;

use super::RpcError;
use super::backend::Outcome;
use super::counts::{Class, Failed};

/// The reply to one message.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// Of a batch each reply ends in a comma, the last one's becomes the bracket.
    text: String,
    is_batch: bool,
    holes: Vec<Hole>,
    bytes_max: usize,
    /// Bytes in `text` and in the holes.
    bytes: usize,
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
    /// Of a batch; that of a single call goes straight to the end of the text.
    filling: String,
}

impl Reply {
    /// Nothing yet, on a buffer of the caller's.
    pub(super) fn new(mut text: String, bytes_max: usize) -> Reply {
        text.clear();
        Reply { text, is_batch: false, holes: Vec::new(), bytes_max, bytes: 0 }
    }

    /// What follows are the replies of a batch.
    pub(super) fn begin_batch(&mut self) {
        self.is_batch = true;
        self.text.push('[');
        self.bytes = self.text.len();
    }

    /// How many holes there are, open or not. The next one has this number.
    pub(super) fn holes(&self) -> usize {
        self.holes.len()
    }

    /// Whether there is such a hole, and nothing in it.
    pub(super) fn is_open(&self, hole: usize) -> bool {
        self.holes.get(hole).is_some_and(|hole| hole.is_open)
    }

    /// The first hole with nothing in it.
    pub(super) fn first_open(&self) -> Option<usize> {
        self.holes.iter().position(|hole| hole.is_open)
    }

    /// Writes the reply to a call of this class, whose result `write` appends. What it appended is forgotten if it fails, or if
    /// there is no id to answer to; `Ok(false)` leaves a hole.
    ///
    /// Answers with what was answered instead of a result, if anything was.
    pub(super) fn call(
        &mut self,
        id: Option<&RawValue>,
        class: Class,
        write: impl FnOnce(&mut String) -> Result<bool, RpcError>,
    ) -> Written {
        let start = self.text.len();
        head(&mut self.text, id.unwrap_or(RawValue::NULL));
        let behind_id = self.text.len();
        self.text += r#""result":"#;
        let outcome = write(&mut self.text);
        let is_full = self.text.len() + self.closing_bytes() > self.bytes_max;
        match (outcome, id) {
            (Ok(true), Some(_)) if !is_full => {
                self.text.push('}');
                self.end_item();
                Written::Result
            }
            (Ok(true), None) => {
                self.text.truncate(start);
                Written::Nothing
            }
            (Ok(true), Some(id)) => {
                self.text.truncate(start);
                self.error(Some(id), &RpcError::too_large());
                Written::Error(Failed { class, code: RpcError::TOO_LARGE })
            }
            (Ok(false), id) => {
                let is_silent = id.is_none();
                let at = if is_silent { start } else { behind_id };
                self.text.truncate(at);
                self.bytes = at;
                let filling = String::new();
                self.holes.push(Hole { at, class, is_silent, is_open: true, filling });
                Written::Hole
            }
            (Err(error), Some(id)) => {
                self.text.truncate(start);
                self.error(Some(id), &error);
                Written::Error(Failed { class, code: error.code })
            }
            (Err(_), None) => {
                self.text.truncate(start);
                Written::Nothing
            }
        }
    }

    /// Writes an error; to something without a valid id as if that were null.
    pub(super) fn error(&mut self, id: Option<&RawValue>, error: &RpcError) {
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
    pub(super) fn fill(&mut self, hole: usize, outcome: &Outcome) -> Option<Failed> {
        const BEFORE: &str = r#""result":"#;
        let room = self.bytes_max.saturating_sub(self.bytes + BEFORE.len() + self.closing_bytes());
        let hole = self.holes.get_mut(hole).filter(|hole| hole.is_open)?;
        hole.is_open = false;
        if hole.is_silent {
            return None;
        }
        let refusal = RpcError::too_large();
        let outcome = match outcome {
            Ok(result) if result.get().len() > room => Err(&refusal),
            outcome => outcome.as_ref(),
        };
        let out = if self.is_batch { &mut hole.filling } else { &mut self.text };
        let before = out.len();
        match outcome {
            Ok(result) => {
                *out += BEFORE;
                *out += result.get();
                out.push('}');
            }
            Err(error) => write_error(out, error),
        }
        if self.is_batch {
            out.push(',');
        }
        self.bytes += out.len() - before;
        outcome.err().map(|error| Failed { class: hole.class, code: error.code })
    }

    /// The whole text; empty if nothing is to be answered. All holes are filled.
    pub(super) fn finish(mut self) -> String {
        if !self.is_batch {
            return self.text;
        }
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
        self.text
    }
}

/// What became of a call's place in the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
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
