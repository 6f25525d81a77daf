//! Compressed messages to messages: RFC 7692, 7.2.2.
//!
//! One stream and one buffer for all connections: a message is inflated at once when it is whole, so
//! that one that is not costs no more than what came of it. What it grows to is bounded while it
//! grows, and text is checked as it appears, so that neither a bomb nor garbage is inflated to its end.

use std::fmt;

use zlib_rs::{Inflate, InflateFlush, Status};

use super::{TAIL, WINDOW_BITS_MAX, Window};
use crate::protocol::utf8::Utf8;
use crate::protocol::{Message, Opcode, ProtocolError};

/// What is inflated between two looks at the limit and at the text.
const CHUNK_BYTES: usize = 16 * 1024;
/// Memory that is worth keeping for the next message.
const SPARE_BYTES: usize = 256 * 1024;
/// Blocks within a message that say that they are the last (7.2.3.4): each begins a stream anew, with
/// all of the window, for two bytes of the peer's. Whoever writes them does so once a flush.
const FINAL_BLOCKS_MAX: usize = 1024;
/// What a peer has cut off (7.2.1), and behind it an empty block that says that it is the last.
const ENDING: [u8; 6] = {
    let [a, b, c, d] = TAIL;
    [a, b, c, d, 0x03, 0x00]
};

/// Bytes that a message of up to `message_bytes_max` bytes may take in compressed form. Nobody's
/// DEFLATE makes more of what it cannot compress (zlib's `deflateBound`, at its least memory).
pub(in crate::protocol) fn compressed_bytes_max(message_bytes_max: usize) -> usize {
    message_bytes_max
        .saturating_add(message_bytes_max / 8)
        .saturating_add(message_bytes_max / 64)
        .saturating_add(64)
}

/// A whole message, still compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compressed<'a> {
    pub(in crate::protocol) opcode: Opcode,
    pub(in crate::protocol) payload: &'a [u8],
}

impl<'a> Compressed<'a> {
    /// What came over the wire.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Inflates the messages of any number of connections, one at a time.
#[derive(Default)]
pub struct Inflater {
    stream: Option<Inflate>,
    /// Initialised once and filled many times.
    out: Vec<u8>,
}

impl Inflater {
    /// Inflates a message of at most `message_bytes_max` bytes. `window` holds what this peer's
    /// messages may refer to, if context takeover was agreed on, and takes this message in.
    ///
    /// # Errors
    /// The data is not DEFLATE, or ends within a block; the text is not UTF-8; the message is too big.
    pub fn inflate(
        &mut self,
        message: Compressed<'_>,
        window: Option<&mut Window>,
        message_bytes_max: usize,
    ) -> Result<Message<'_>, ProtocolError> {
        if self.out.len() > SPARE_BYTES {
            self.out = Vec::new();
        }
        let stream = self.stream.get_or_insert_with(|| Inflate::new(false, WINDOW_BITS_MAX));
        let inflation = Inflation {
            stream,
            out: &mut self.out,
            filled: 0,
            checked: 0,
            message_bytes_max,
            before: window.as_deref().map_or(&[], Window::as_bytes),
            text: (message.opcode == Opcode::Text).then(Utf8::default),
        };
        let filled = inflation.message(message.payload)?;
        let payload = &self.out[..filled];
        if let Some(window) = window {
            window.push(payload);
        }
        // What came in several chunks was checked as it came, and is once more here: a `str` cannot be
        // had unseen without `unsafe`.
        match message.opcode {
            Opcode::Text => match simdutf8::basic::from_utf8(payload) {
                Ok(text) => Ok(Message::Text(text)),
                Err(_) => Err(ProtocolError::InvalidUtf8),
            },
            _ => Ok(Message::Binary(payload)),
        }
    }

    /// Memory held beyond this struct, but for the stream's own.
    pub fn held_bytes(&self) -> usize {
        self.out.capacity()
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("held_bytes", &self.held_bytes()).finish_non_exhaustive()
    }
}

/// One message on its way.
struct Inflation<'a> {
    stream: &'a mut Inflate,
    out: &'a mut Vec<u8>,
    filled: usize,
    /// Up to where the text was checked.
    checked: usize,
    message_bytes_max: usize,
    /// What was said before this message.
    before: &'a [u8],
    /// The state of the check, if the message is text.
    text: Option<Utf8>,
}

impl Inflation<'_> {
    /// Inflates it all; returns how much that is.
    fn message(mut self, payload: &[u8]) -> Result<usize, ProtocolError> {
        // Nobody should send this for an empty message (7.2.3.6), but who flushes twice does.
        if payload.is_empty() {
            return Ok(0);
        }
        self.begin()?;
        let mut rest = payload;
        let mut final_blocks = 0;
        while self.feed(&mut rest)? == Status::StreamEnd {
            // A block that says it is the last ends no message: the next follows at the next byte (7.2.1).
            if rest.is_empty() {
                return Ok(self.filled);
            }
            final_blocks += 1;
            if final_blocks > FINAL_BLOCKS_MAX {
                return Err(ProtocolError::InvalidDeflate);
            }
            self.begin()?;
        }
        self.end()?;
        Ok(self.filled)
    }

    /// Begins a stream behind what was said before, this message's own part included.
    fn begin(&mut self) -> Result<(), ProtocolError> {
        self.stream.reset(false);
        for said in [self.before, &self.out[..self.filled]] {
            if !said.is_empty() {
                self.stream.set_dictionary(said).map_err(|_| ProtocolError::InvalidDeflate)?;
            }
        }
        Ok(())
    }

    /// Inflates `rest` until it is used up or the stream has ended.
    fn feed(&mut self, rest: &mut &[u8]) -> Result<Status, ProtocolError> {
        loop {
            let end = self.room()?;
            let before = (self.stream.total_in(), self.stream.total_out());
            let room = &mut self.out[self.filled..end];
            let status = self
                .stream
                .decompress(rest, room, InflateFlush::SyncFlush)
                .map_err(|_| ProtocolError::InvalidDeflate)?;
            let (read, written) =
                (self.stream.total_in() - before.0, self.stream.total_out() - before.1);
            *rest = &rest[read as usize..];
            self.took(written as usize)?;
            let is_dry = rest.is_empty() && (self.filled < end || written == 0);
            if status == Status::StreamEnd || is_dry {
                return Ok(status);
            }
            // Neither input nor room would help.
            if read == 0 && written == 0 {
                return Err(ProtocolError::InvalidDeflate);
            }
        }
    }

    /// Feeds what the peer has cut off, and sees that the data stops where a block may begin: there,
    /// and only there, an end that we add is one.
    fn end(&mut self) -> Result<(), ProtocolError> {
        let filled = self.filled;
        let mut ending = &ENDING[..];
        match self.feed(&mut ending) {
            Ok(Status::StreamEnd) if ending.is_empty() && self.filled == filled => Ok(()),
            _ => Err(ProtocolError::InvalidDeflate),
        }
    }

    /// Where the next chunk may end: at one byte more than is allowed, at the most.
    fn room(&mut self) -> Result<usize, ProtocolError> {
        let most = self.message_bytes_max + 1;
        let end = (self.filled + CHUNK_BYTES).min(most);
        if self.out.len() < end {
            let doubled = (2 * self.filled).max(end).min(most);
            self.out.resize(doubled, 0);
        }
        Ok(end)
    }

    /// Counts and checks what was written. A text of less than a chunk is checked when it is whole.
    fn took(&mut self, written: usize) -> Result<(), ProtocolError> {
        self.filled += written;
        if self.filled > self.message_bytes_max {
            return Err(ProtocolError::MessageTooBig);
        }
        if let Some(text) = &mut self.text
            && self.filled - self.checked >= CHUNK_BYTES
        {
            text.push(&self.out[self.checked..self.filled])?;
            self.checked = self.filled;
        }
        Ok(())
    }
}
