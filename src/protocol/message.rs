//! What the two ends say to each other, once frames are taken apart.

use super::deflate::Compressed;
use super::{CloseFrame, Opcode};

/// A whole message. Borrowed: where its bytes lie is the decoder's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// UTF-8 text.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// The payload, whatever its kind.
    pub fn as_bytes(&self) -> &'a [u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// Bytes of payload.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// The opcode of its (first) frame.
    pub fn opcode(&self) -> Opcode {
        match self {
            Message::Text(_) => Opcode::Text,
            Message::Binary(_) => Opcode::Binary,
        }
    }
}

/// A binary message that its sender has masked itself (RFC 6455, 5.3).
///
/// For who sends the same bytes again and again: masked once, they are good under any key, and what the
/// server reads is another message for each. The key must be fresh and unpredictable all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Masked<'a> {
    /// The key.
    pub key: [u8; 4],
    /// The payload, as it goes over the wire.
    pub payload: &'a [u8],
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Message<'a> {
        Message::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Message<'a> {
        Message::Binary(bytes)
    }
}

/// What a [`Decoder`](super::Decoder) found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message.
    Message(Message<'a>),
    /// A compressed message, or the next piece of one, for an [`Inflater`](super::deflate::Inflater).
    Compressed(Compressed<'a>),
    /// Owed: a pong with this payload (5.5.2).
    Ping(&'a [u8]),
    /// An answer to a ping, or an unsolicited sign of life (5.5.3).
    Pong(&'a [u8]),
    /// Owed: a Close, unless one was sent (5.5.1). Nothing that follows is to be decoded.
    Close(Option<CloseFrame<'a>>),
}
