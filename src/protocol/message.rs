//! Messages and events: what a decoder returns and an encoder takes.

use super::close::CloseFrame;
use super::deflate::compressed::Compressed;
use super::frame::Opcode;

/// A whole message, borrowed from the decoder or its input, or from the sender. Text is valid UTF-8
/// (RFC 6455, 5.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// UTF-8 text.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// The payload of either kind.
    pub fn as_bytes(&self) -> &'a [u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// Length of the payload in bytes.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// The opcode of the message's first frame.
    pub fn opcode(&self) -> Opcode {
        match self {
            Message::Text(_) => Opcode::Text,
            Message::Binary(_) => Opcode::Binary,
        }
    }
}

/// A binary message that its sender has already masked (RFC 6455, 5.3).
///
/// For clients that send the same bytes repeatedly: they mask once and send the bytes under varying
/// keys, and the server reads a different message under each key. The key must still be fresh and
/// unpredictable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Masked<'a> {
    /// The masking key.
    pub key: [u8; 4],
    /// The payload as it goes over the wire.
    pub payload: &'a [u8],
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Message<'a> {
        Message::Text(text)
    }
}

impl<'a> From<&'a String> for Message<'a> {
    fn from(text: &'a String) -> Message<'a> {
        Message::Text(text)
    }
}

impl<'a> From<&'a Vec<u8>> for Message<'a> {
    fn from(bytes: &'a Vec<u8>) -> Message<'a> {
        Message::Binary(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Message<'a> {
    fn from(bytes: &'a [u8; N]) -> Message<'a> {
        Message::Binary(bytes)
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Message<'a> {
        Message::Binary(bytes)
    }
}

/// An event that a [`Decoder`](super::Decoder) found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message.
    Message(Message<'a>),
    /// A compressed message, or the next part of one, for an
    /// [`Inflater`](super::deflate::Inflater).
    Compressed(Compressed<'a>),
    /// A ping. It must be answered by a pong with this payload (5.5.2).
    Ping(&'a [u8]),
    /// A pong: the answer to a ping, or an unsolicited heartbeat (5.5.3).
    Pong(&'a [u8]),
    /// A Close. It must be answered by a Close, unless one was sent (5.5.1). Decode nothing after
    /// it.
    Close(Option<CloseFrame<'a>>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<'a>(from: impl Into<Message<'a>>) -> Message<'a> {
        from.into()
    }

    #[test]
    fn strings_become_text_and_bytes_become_binary() {
        assert_eq!(message("abc"), Message::Text("abc"));
        assert_eq!(message(&String::from("abc")), Message::Text("abc"));
        assert_eq!(message(&b"abc"[..]), Message::Binary(b"abc"));
        assert_eq!(message(&vec![97, 98, 99]), Message::Binary(b"abc"));
        assert_eq!(message(b"abc"), Message::Binary(b"abc"));
    }
}
