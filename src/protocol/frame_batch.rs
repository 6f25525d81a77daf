//! Whole text frames, encoded and compressed on any thread, that a loop sends at once.
//!
//! The work of encoding many messages, such as the results of a query, stays off the loop. A batch
//! is encoded for a server: unmasked. It compresses each message without reference to others, so
//! that it needs to know nothing of what the connection is sent meanwhile.

use std::fmt;

#[cfg(feature = "deflate")]
use super::deflate::Deflater;
use super::encoder::{Encoder, frame_bytes};
use super::frame::Opcode;

/// What a connection has agreed to for compression, and how its loop compresses. From
/// [`Context::deflate_terms`](crate::reactor::Context::deflate_terms); valid while the connection
/// lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateTerms {
    /// The largest window that a message may need, as an exponent of 2.
    #[cfg(feature = "deflate")]
    pub(crate) window_bits: u8,
    /// Smaller messages are not compressed.
    #[cfg(feature = "deflate")]
    pub(crate) bytes_min: usize,
    #[cfg(feature = "deflate")]
    pub(crate) level: u8,
    #[cfg(feature = "deflate")]
    pub(crate) mem_level: u8,
}

/// The streams that compress batches, one for each thread that makes them. It allocates with its
/// first compressed message.
#[derive(Debug, Default)]
pub struct BatchDeflater {
    #[cfg(feature = "deflate")]
    deflater: Option<(u8, u8, Box<Deflater>)>,
}

#[cfg(feature = "deflate")]
impl BatchDeflater {
    fn with_levels(&mut self, level: u8, mem_level: u8) -> &mut Deflater {
        let made = self.deflater.take();
        let made = made.filter(|(of, mem, _)| (*of, *mem) == (level, mem_level));
        let make = || (level, mem_level, Box::new(Deflater::new(level, mem_level)));
        &mut self.deflater.insert(made.unwrap_or_else(make)).2
    }
}

/// Text messages in the form in which they are sent, for
/// [`Context::send_batch`](crate::reactor::Context::send_batch).
///
/// ```
/// use weir::protocol::{BatchDeflater, DeflateTerms, FrameBatch};
///
/// // On any thread; the terms come from the loop.
/// fn page(rows: &[String], terms: Option<DeflateTerms>) -> FrameBatch {
///     let mut deflater = BatchDeflater::default();
///     let mut batch = FrameBatch::new(terms);
///     for row in rows {
///         batch.push(row.as_bytes(), &mut deflater);
///     }
///     batch
/// }
/// assert_eq!(page(&["a".into(), "b".into()], None).messages(), 2);
/// ```
pub struct FrameBatch {
    terms: Option<DeflateTerms>,
    frames: Vec<u8>,
    pub(crate) counts: BatchCounts,
}

/// The counts of a batch, for metrics.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BatchCounts {
    pub(crate) messages: usize,
    /// Bytes of all messages, uncompressed.
    pub(crate) payload_bytes: usize,
    #[cfg(feature = "deflate")]
    pub(crate) deflated: DeflatedCounts,
}

/// The compressed messages of a batch.
#[cfg(feature = "deflate")]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DeflatedCounts {
    pub(crate) messages: usize,
    /// Messages that did not become smaller, and are not compressed.
    pub(crate) not_smaller: usize,
    /// Bytes of the compressed messages before.
    pub(crate) from: usize,
    /// And after.
    pub(crate) to: usize,
}

impl FrameBatch {
    /// An empty batch for connections with these terms; `None`: nothing is compressed.
    pub fn new(terms: Option<DeflateTerms>) -> FrameBatch {
        FrameBatch { terms, frames: Vec::new(), counts: BatchCounts::default() }
    }

    /// Appends a text message, which must be UTF-8 (RFC 6455, 5.6).
    pub fn push(&mut self, text: &[u8], deflater: &mut BatchDeflater) {
        debug_assert!(std::str::from_utf8(text).is_ok(), "a text message is not UTF-8");
        self.counts.messages += 1;
        self.counts.payload_bytes += text.len();
        if !self.push_compressed(text, deflater) {
            self.frames.reserve(frame_bytes(text.len()));
            Encoder::server(&mut self.frames).frame(true, Opcode::Text, text);
        }
    }

    /// The number of messages.
    pub fn messages(&self) -> usize {
        self.counts.messages
    }

    /// Bytes of all frames.
    pub fn bytes(&self) -> usize {
        self.frames.len()
    }

    /// Whether it contains no message.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The frames, one after the other.
    pub(crate) fn into_frames(self) -> Vec<u8> {
        self.frames
    }

    /// The window that a receiver must have, as an exponent of 2; 0 if no message is compressed.
    #[cfg(feature = "deflate")]
    pub(crate) fn window_bits(&self) -> u8 {
        match self.counts.deflated.messages {
            0 => 0,
            _ => self.terms.map_or(0, |terms| terms.window_bits),
        }
    }

    #[cfg(feature = "deflate")]
    fn push_compressed(&mut self, text: &[u8], deflater: &mut BatchDeflater) -> bool {
        let Some(terms) = self.terms.filter(|terms| text.len() >= terms.bytes_min) else {
            return false;
        };
        let deflater = deflater.with_levels(terms.level, terms.mem_level);
        let Some(payload) = deflater.deflate(text, terms.window_bits, &[]) else {
            self.counts.deflated.not_smaller += 1;
            return false;
        };
        self.frames.reserve(frame_bytes(payload.len()));
        Encoder::server(&mut self.frames).compressed(Opcode::Text, payload);
        self.counts.deflated.messages += 1;
        self.counts.deflated.from += text.len();
        self.counts.deflated.to += payload.len();
        true
    }

    #[cfg(not(feature = "deflate"))]
    fn push_compressed(&mut self, _: &[u8], _: &mut BatchDeflater) -> bool {
        debug_assert!(self.terms.is_none(), "terms of a connection without compression");
        false
    }
}

impl fmt::Debug for FrameBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameBatch({} messages, {} bytes)", self.messages(), self.bytes())
    }
}
