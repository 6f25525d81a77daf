//! Inflates one compressed message: RFC 7692, 7.2.2.
//!
//! Owns a stream and the inflated bytes, but no compressed bytes. The size is limited while it
//! grows, and text is validated as it appears. The [`Inflater`](super::Inflater) assigns messages
//! and limits their number.

use std::fmt;

use zlib_rs::{Inflate, InflateFlush, Status};

use super::compressed::TAIL;
use super::window::WINDOW_BITS_MAX;
use crate::protocol::error::ProtocolError;
use crate::protocol::frame::Opcode;
use crate::protocol::message::Message;
use crate::protocol::utf8::Utf8;

/// Bytes that are inflated between two checks of the limit and of the text.
const CHUNK_BYTES: usize = 16 * 1024;
/// A larger buffer is freed at the next message.
const SPARE_BYTES: usize = 256 * 1024;
/// Memory of a stream: a window of 2^15 bytes, tables of about 13 KiB, and its state.
const STREAM_BYTES: usize = 48 * 1024;
/// Maximum number of blocks in a message that are marked as final (7.2.3.4). Each restarts the
/// stream with the whole window, for two bytes from the peer. Encoders that write final blocks
/// write one per flush.
const FINAL_BLOCKS_MAX: usize = 1024;
/// The tail that a peer has removed (7.2.1), and an empty final block after it.
const ENDING: [u8; 6] = {
    let [a, b, c, d] = TAIL;
    [a, b, c, d, 0x03, 0x00]
};

/// The limits and the window for inflating a message.
#[derive(Clone, Copy)]
pub(super) struct Bounds<'a> {
    /// Earlier messages, which this message may refer to.
    pub(super) before: &'a [u8],
    pub(super) message_bytes_max: usize,
}

#[derive(Default)]
pub(super) struct Inflation {
    stream: Option<Inflate>,
    /// Zeroed once and filled many times.
    out: Vec<u8>,
    filled: usize,
    /// Bytes of text that are already validated.
    checked: usize,
    /// State of the UTF-8 validation, if the message is text.
    text: Option<Utf8>,
    /// Whether the stream is within DEFLATE data: neither before the first block nor after a final
    /// block.
    is_under_way: bool,
    /// Number of streams that were started for this message.
    starts: usize,
    /// Window bytes that were copied into those streams.
    primed: usize,
}

impl Inflation {
    /// Starts a message; the previous one is dropped.
    pub(super) fn begin_message(&mut self, opcode: Opcode) {
        if self.out.len() > SPARE_BYTES {
            self.out = Vec::new();
        }
        self.filled = 0;
        self.checked = 0;
        self.text = (opcode == Opcode::Text).then(Utf8::default);
        self.is_under_way = false;
        self.starts = 0;
        self.primed = 0;
    }

    /// Inflates the next bytes of the message.
    pub(super) fn push(&mut self, payload: &[u8], bounds: Bounds<'_>) -> Result<(), ProtocolError> {
        self.inflate(payload, bounds).map_err(|error| self.first_fault(error))
    }

    fn inflate(&mut self, payload: &[u8], bounds: Bounds<'_>) -> Result<(), ProtocolError> {
        let mut rest = payload;
        while !rest.is_empty() {
            // A final block does not end the message: the next block starts at the next byte
            // (7.2.1).
            if !self.is_under_way {
                self.begin_stream(bounds.before)?;
            }
            let status = self.feed(&mut rest, bounds.message_bytes_max)?;
            self.is_under_way = status != Status::StreamEnd;
        }
        Ok(())
    }

    /// Validates the text received so far. Whether its last character is complete shows at the
    /// message's end.
    pub(super) fn check_text(&mut self) -> Result<(), ProtocolError> {
        if let Some(text) = &mut self.text {
            text.push(&self.out[self.checked..self.filled])?;
            self.checked = self.filled;
        }
        Ok(())
    }

    /// Ends the message: feeds the tail that the peer has removed, and checks that the data stops
    /// at a block boundary. Only there is the added tail an end.
    pub(super) fn end(&mut self, bounds: Bounds<'_>) -> Result<(), ProtocolError> {
        // The data stopped after a final block, or there was none. RFC 7692, 7.2.3.6 has another
        // encoding for an empty message, but clients that flush twice send no data.
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

    /// Returns the first error in the message, independent of how it was split: text that was
    /// inflated before `error` may be invalid.
    fn first_fault(&mut self, error: ProtocolError) -> ProtocolError {
        match error {
            ProtocolError::InvalidUtf8 => error,
            _ => self.check_text().err().unwrap_or(error),
        }
    }

    /// The inflated bytes so far.
    pub(super) fn payload(&self) -> &[u8] {
        &self.out[..self.filled]
    }

    /// The complete message.
    pub(super) fn message(&self) -> Result<Message<'_>, ProtocolError> {
        if self.text.is_none() {
            return Ok(Message::Binary(self.payload()));
        }
        // The text was validated on arrival and is validated again here: without `unsafe` there is
        // no unchecked `str`.
        match simdutf8::basic::from_utf8(self.payload()) {
            Ok(text) => Ok(Message::Text(text)),
            Err(_) => Err(ProtocolError::InvalidUtf8),
        }
    }

    /// Window bytes that were copied into the message's streams.
    pub(super) fn primed_bytes(&self) -> usize {
        self.primed
    }

    /// Memory held, the stream included.
    pub(super) fn held_bytes(&self) -> usize {
        self.out.capacity() + self.stream.as_ref().map_or(0, |_| STREAM_BYTES)
    }

    /// Starts a stream whose window holds earlier messages and this message's own bytes.
    fn begin_stream(&mut self, before: &[u8]) -> Result<(), ProtocolError> {
        if self.starts > FINAL_BLOCKS_MAX {
            return Err(ProtocolError::InvalidDeflate);
        }
        self.starts += 1;
        let stream = self.stream.get_or_insert_with(|| Inflate::new(false, WINDOW_BITS_MAX));
        stream.reset(false);
        for window in [before, &self.out[..self.filled]] {
            if !window.is_empty() {
                self.primed += window.len().min(1 << WINDOW_BITS_MAX);
                stream.set_dictionary(window).map_err(|_| ProtocolError::InvalidDeflate)?;
            }
        }
        Ok(())
    }

    /// Inflates `rest` until it is used up or the stream ends.
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
            self.count_written(written, message_bytes_max)?;
            let status = outcome.map_err(|_| ProtocolError::InvalidDeflate)?;
            let is_dry = rest.is_empty() && (self.filled < end || written == 0);
            if status == Status::StreamEnd || is_dry {
                return Ok(status);
            }
            // Neither more input nor more room would help.
            if read == 0 && written == 0 {
                return Err(ProtocolError::InvalidDeflate);
            }
        }
    }

    /// Where the next chunk may end: at most one byte above the limit.
    fn room(&mut self, message_bytes_max: usize) -> usize {
        let most = message_bytes_max + 1;
        let end = (self.filled + CHUNK_BYTES).min(most);
        if self.out.len() < end {
            let doubled = (2 * self.filled).max(end).min(most);
            // Exact: a vector's own growth would exceed the limit.
            self.out.reserve_exact(doubled - self.out.len());
            self.out.resize(doubled, 0);
        }
        end
    }

    /// Counts and validates the bytes written. Text of less than a chunk is validated when it is
    /// complete, or before its next part arrives.
    fn count_written(
        &mut self,
        written: usize,
        message_bytes_max: usize,
    ) -> Result<(), ProtocolError> {
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
