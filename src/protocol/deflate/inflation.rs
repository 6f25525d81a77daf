//! One compressed message on its way to what it says: RFC 7692, 7.2.2.
//!
//! Owns a stream, what it has made of the message so far, and no bytes of the compressed form. What
//! it grows to is bounded while it grows, and text is checked as it appears. Whose message it is, and
//! how many there may be, is for the [`Inflater`](super::Inflater).

use std::fmt;

use zlib_rs::{Inflate, InflateFlush, Status};

use super::{TAIL, WINDOW_BITS_MAX};
use crate::protocol::utf8::Utf8;
use crate::protocol::{Message, Opcode, ProtocolError};

/// What is inflated between two looks at the limit and at the text.
const CHUNK_BYTES: usize = 16 * 1024;
/// Memory that is worth keeping for the next message.
const SPARE_BYTES: usize = 256 * 1024;
/// What a stream takes: a window of 2^15 bytes, tables of some 13 KiB, and its state.
const STREAM_BYTES: usize = 48 * 1024;
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

/// What a message is inflated within.
#[derive(Clone, Copy)]
pub(super) struct Bounds<'a> {
    /// What was said before this message, and may be referred to.
    pub(super) before: &'a [u8],
    pub(super) message_bytes_max: usize,
}

#[derive(Default)]
pub(super) struct Inflation {
    stream: Option<Inflate>,
    /// Initialised once and filled many times.
    out: Vec<u8>,
    filled: usize,
    /// Up to where the text was checked.
    checked: usize,
    /// The state of the check, if the message is text.
    text: Option<Utf8>,
    /// Whether the stream is within the message's data: neither before it nor behind a last block.
    is_under_way: bool,
    /// Times that a stream was begun for this message.
    begun: usize,
    /// Bytes that those streams were given to refer to.
    primed: usize,
}

impl Inflation {
    /// Begins a message; what is left of the last one is forgotten.
    pub(super) fn begin_message(&mut self, opcode: Opcode) {
        if self.out.len() > SPARE_BYTES {
            self.out = Vec::new();
        }
        self.filled = 0;
        self.checked = 0;
        self.text = (opcode == Opcode::Text).then(Utf8::default);
        self.is_under_way = false;
        self.begun = 0;
        self.primed = 0;
    }

    /// Inflates the next bytes of the message.
    pub(super) fn push(&mut self, payload: &[u8], bounds: Bounds<'_>) -> Result<(), ProtocolError> {
        self.inflate(payload, bounds).map_err(|error| self.first_fault(error))
    }

    fn inflate(&mut self, payload: &[u8], bounds: Bounds<'_>) -> Result<(), ProtocolError> {
        let mut rest = payload;
        while !rest.is_empty() {
            // A block that says it is the last ends no message: the next follows at the next byte (7.2.1).
            if !self.is_under_way {
                self.begin_stream(bounds.before)?;
            }
            let status = self.feed(&mut rest, bounds.message_bytes_max)?;
            self.is_under_way = status != Status::StreamEnd;
        }
        Ok(())
    }

    /// Checks the text as far as it has come; that it ends between two characters shows at its end.
    pub(super) fn check_text(&mut self) -> Result<(), ProtocolError> {
        if let Some(text) = &mut self.text {
            text.push(&self.out[self.checked..self.filled])?;
            self.checked = self.filled;
        }
        Ok(())
    }

    /// Ends the message: feeds what the peer has cut off, and sees that the data stops where a block may
    /// begin. There, and only there, an end that we add is one.
    pub(super) fn end(&mut self, bounds: Bounds<'_>) -> Result<(), ProtocolError> {
        // Behind a last block; or nothing has come. Nobody should send that for an empty message
        // (7.2.3.6), but who flushes twice does.
        if !self.is_under_way {
            return Ok(());
        }
        let filled = self.filled;
        let mut ending = &ENDING[..];
        match self.feed(&mut ending, bounds.message_bytes_max) {
            Ok(Status::StreamEnd) if ending.is_empty() && self.filled == filled => Ok(()),
            _ => {
                self.filled = filled;
                Err(self.first_fault(ProtocolError::InvalidDeflate))
            }
        }
    }

    /// A message is refused for the first fault in it, in whatever pieces it came: what was inflated
    /// before this one may be no text.
    fn first_fault(&mut self, error: ProtocolError) -> ProtocolError {
        match error {
            ProtocolError::InvalidUtf8 => error,
            _ => self.check_text().err().unwrap_or(error),
        }
    }

    /// What the message has come to.
    pub(super) fn payload(&self) -> &[u8] {
        &self.out[..self.filled]
    }

    /// The message that was ended.
    pub(super) fn message(&self) -> Result<Message<'_>, ProtocolError> {
        if self.text.is_none() {
            return Ok(Message::Binary(self.payload()));
        }
        // What was checked as it came is once more here: a `str` cannot be had unseen without `unsafe`.
        match simdutf8::basic::from_utf8(self.payload()) {
            Ok(text) => Ok(Message::Text(text)),
            Err(_) => Err(ProtocolError::InvalidUtf8),
        }
    }

    /// Bytes that the message's streams were given to refer to.
    pub(super) fn primed_bytes(&self) -> usize {
        self.primed
    }

    /// Memory held, the stream's included.
    pub(super) fn held_bytes(&self) -> usize {
        self.out.capacity() + self.stream.as_ref().map_or(0, |_| STREAM_BYTES)
    }

    /// Begins a stream behind what was said before, this message's own part included.
    fn begin_stream(&mut self, before: &[u8]) -> Result<(), ProtocolError> {
        if self.begun > FINAL_BLOCKS_MAX {
            return Err(ProtocolError::InvalidDeflate);
        }
        self.begun += 1;
        let stream = self.stream.get_or_insert_with(|| Inflate::new(false, WINDOW_BITS_MAX));
        stream.reset(false);
        for said in [before, &self.out[..self.filled]] {
            if !said.is_empty() {
                self.primed += said.len().min(1 << WINDOW_BITS_MAX);
                stream.set_dictionary(said).map_err(|_| ProtocolError::InvalidDeflate)?;
            }
        }
        Ok(())
    }

    /// Inflates `rest` until it is used up or the stream has ended.
    fn feed(
        &mut self,
        rest: &mut &[u8],
        message_bytes_max: usize,
    ) -> Result<Status, ProtocolError> {
        loop {
            let end = self.room(message_bytes_max);
            let Some(stream) = &mut self.stream else {
                return Err(ProtocolError::InvalidDeflate);
            };
            let before = (stream.total_in(), stream.total_out());
            let room = &mut self.out[self.filled..end];
            let outcome = stream.decompress(rest, room, InflateFlush::SyncFlush);
            let read = (stream.total_in() - before.0) as usize;
            let written = (stream.total_out() - before.1) as usize;
            *rest = &rest[read..];
            self.took(written, message_bytes_max)?;
            let status = outcome.map_err(|_| ProtocolError::InvalidDeflate)?;
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

    /// Where the next chunk may end: at one byte more than is allowed, at the most.
    fn room(&mut self, message_bytes_max: usize) -> usize {
        let most = message_bytes_max + 1;
        let end = (self.filled + CHUNK_BYTES).min(most);
        if self.out.len() < end {
            let doubled = (2 * self.filled).max(end).min(most);
            // Exactly: a vector's own growth would go past the limit.
            self.out.reserve_exact(doubled - self.out.len());
            self.out.resize(doubled, 0);
        }
        end
    }

    /// Counts and checks what was written. A text of less than a chunk is checked when it is whole, or
    /// its next piece is awaited.
    fn took(&mut self, written: usize, message_bytes_max: usize) -> Result<(), ProtocolError> {
        self.filled += written;
        if self.filled > message_bytes_max {
            self.filled = message_bytes_max;
            return Err(ProtocolError::MessageTooBig);
        }
        if self.filled - self.checked >= CHUNK_BYTES {
            self.check_text()?;
        }
        Ok(())
    }
}

impl fmt::Debug for Inflation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflation").field("held_bytes", &self.held_bytes()).finish_non_exhaustive()
    }
}
