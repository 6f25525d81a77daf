//! Where a message that did not arrive whole in one read is put together.
//!
//! Owns the bytes of an unfinished message and the frame in flight, and the pool of spares that
//! lets an idle connection own none of this. Grows as bytes arrive, never by what a header
//! announces, and never zeroes the same memory twice. Of a compressed message it keeps the place in
//! it, and no bytes. Knows no limits: those are the decoder's.

use super::frame::CONTROL_BYTES_MAX;
use super::utf8::{InvalidUtf8, Utf8};
use super::{FrameHeader, Opcode, mask};

/// Bytes of the frame in flight from which on reads go straight into the buffer: below it a copy
/// is cheaper than another system call would be.
const DIRECT_BYTES_MIN: usize = 4 * 1024;
/// The least room that is made for reads straight into the buffer, when what was made is used up.
const DIRECT_ROOM_MIN: usize = 16 * 1024;

/// A frame whose payload is still arriving.
#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    opcode: Opcode,
    pub(super) fin: bool,
    compressed: bool,
    mask: Option<[u8; 4]>,
    received: usize,
    remaining: usize,
}

impl InFlight {
    /// `payload_len` was checked against a limit in `usize`, so it fits.
    pub(super) fn new(header: &FrameHeader, payload_len: usize) -> InFlight {
        InFlight {
            opcode: header.opcode,
            fin: header.fin,
            compressed: header.compressed,
            mask: header.mask,
            received: 0,
            remaining: payload_len,
        }
    }

    pub(super) fn is_control(&self) -> bool {
        self.opcode.is_control()
    }

    pub(super) fn opcode(&self) -> Opcode {
        self.opcode
    }

    pub(super) fn is_whole(&self) -> bool {
        self.remaining == 0
    }

    /// Unmasks the next piece in place and counts it.
    fn advance(&mut self, piece: &mut [u8]) {
        if let Some(key) = self.mask {
            mask::apply(key, self.received, piece);
        }
        self.received += piece.len();
        self.remaining -= piece.len();
    }
}

/// An unfinished message, the frame in flight, or both: a control frame may arrive in pieces
/// between two fragments.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// Text or Binary, from the first fragment on until the last is complete.
    pub(super) message: Option<Opcode>,
    /// Whether it is compressed: then its bytes are handed on as they come, and only counted here.
    pub(super) compressed: bool,
    handed_on: usize,
    pub(super) frame: Option<InFlight>,
    utf8: Utf8,
    data: Buffer,
    control: Vec<u8>,
    /// A spare that was not needed since spares were last looked at.
    is_stale: bool,
}

impl Assembly {
    /// Nothing is unfinished: what is left was handed out by the last step.
    pub(super) fn is_idle(&self) -> bool {
        self.message.is_none() && self.frame.is_none()
    }

    /// Begins a frame; a text or binary frame begins a message.
    pub(super) fn begin(&mut self, frame: InFlight) {
        if matches!(frame.opcode, Opcode::Text | Opcode::Binary) {
            self.message = Some(frame.opcode);
            self.compressed = frame.compressed;
            self.handed_on = 0;
        }
        self.frame = Some(frame);
    }

    /// Whether the frame in flight is one of a compressed message, whose bytes are not kept.
    pub(super) fn hands_on(&self) -> bool {
        self.compressed && self.frame.as_ref().is_some_and(|frame| !frame.is_control())
    }

    /// Bytes of the message so far.
    pub(super) fn message_bytes(&self) -> usize {
        if self.compressed { self.handed_on } else { self.data.len }
    }

    /// Takes what `input` holds of the frame in flight; returns how much that was.
    pub(super) fn push(&mut self, input: &mut [u8]) -> Result<usize, InvalidUtf8> {
        let Some(frame) = &mut self.frame else {
            return Ok(0);
        };
        let taken = frame.remaining.min(input.len());
        let piece = &mut input[..taken];
        frame.advance(piece);
        if frame.is_control() {
            self.control.extend_from_slice(piece);
        } else if self.compressed {
            self.handed_on += taken;
        } else {
            if self.message == Some(Opcode::Text) {
                self.utf8.push(piece)?;
            }
            self.data.append(piece);
        }
        Ok(taken)
    }

    /// Room for the next bytes of a large frame in flight, so that a read needs no copy.
    pub(super) fn room(&mut self) -> Option<&mut [u8]> {
        let frame = self.frame.as_ref()?;
        let worth_it = frame.remaining >= DIRECT_BYTES_MIN && frame.received >= DIRECT_BYTES_MIN;
        if frame.is_control() || self.compressed || !worth_it {
            return None;
        }
        let ahead = frame.received.max(DIRECT_ROOM_MIN).min(frame.remaining);
        Some(self.data.room(DIRECT_BYTES_MIN, ahead, frame.remaining))
    }

    /// Takes `len` bytes that a read has put into [`Assembly::room`].
    pub(super) fn filled(&mut self, len: usize) -> Result<(), InvalidUtf8> {
        let Some(frame) = &mut self.frame else {
            return Ok(());
        };
        let piece = self.data.fill(len.min(frame.remaining));
        frame.advance(piece);
        if self.message == Some(Opcode::Text) {
            self.utf8.push(piece)?;
        }
        Ok(())
    }

    /// Ends the message: no character may be unfinished.
    pub(super) fn finish(&mut self) -> Result<(), InvalidUtf8> {
        self.message = None;
        self.utf8.finish()
    }

    pub(super) fn data(&self) -> &[u8] {
        self.data.filled()
    }

    pub(super) fn control(&self) -> &[u8] {
        &self.control
    }

    /// The last control frame was handed out; the message that it interrupted goes on.
    pub(super) fn forget_control(&mut self) {
        self.control.clear();
    }

    /// Memory held, bookkeeping included.
    pub(super) fn held_bytes(&self) -> usize {
        size_of::<Assembly>() + self.data.bytes.capacity() + self.control.capacity()
    }

    fn reset(&mut self) {
        self.message = None;
        self.frame = None;
        self.utf8 = Utf8::default();
        self.data.len = 0;
        self.control.clear();
        self.is_stale = false;
    }
}

/// Bytes that are initialised once and filled many times, so that a read into the unfilled part
/// costs no zeroing.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    len: usize,
}

impl Buffer {
    fn filled(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn append(&mut self, piece: &[u8]) {
        let end = self.len + piece.len();
        if end > self.bytes.len() {
            self.bytes.truncate(self.len);
            self.bytes.extend_from_slice(piece);
        } else {
            self.bytes[self.len..end].copy_from_slice(piece);
        }
        self.len = end;
    }

    /// Room to fill, `most` at most; where less than `least` is left of it, `ahead` is made.
    fn room(&mut self, least: usize, ahead: usize, most: usize) -> &mut [u8] {
        if self.bytes.len() < self.len + least {
            // What the vector has doubled to is used up before it doubles again.
            let owned = self.bytes.capacity() - self.len;
            let ahead = if owned < least { ahead } else { ahead.min(owned) };
            self.bytes.resize(self.len + ahead, 0);
        }
        let end = self.bytes.len().min(self.len + most);
        &mut self.bytes[self.len..end]
    }

    fn fill(&mut self, len: usize) -> &mut [u8] {
        let start = self.len;
        self.len = (start + len).min(self.bytes.len());
        &mut self.bytes[start..self.len]
    }
}

/// The buffers that no connection needs just now, one pool a loop.
///
/// Bounded in count and in bytes: at most [`Spares::COUNT_MAX`] buffers of at most
/// [`Spares::BYTES_MAX`] each are kept, what is beyond goes back to the allocator.
#[derive(Debug, Default)]
pub struct Spares {
    // Boxed, because a decoder holds its assembly boxed: lending one moves eight bytes.
    #[allow(clippy::vec_box)]
    kept: Vec<Box<Assembly>>,
}

impl Spares {
    /// Buffers kept for the next message in pieces.
    pub const COUNT_MAX: usize = 32;
    /// Bytes of one buffer that is still worth keeping.
    pub const BYTES_MAX: usize = 256 * 1024;

    pub(super) fn lend(&mut self) -> Box<Assembly> {
        self.kept.pop().unwrap_or_default()
    }

    pub(super) fn give_back(&mut self, mut assembly: Box<Assembly>) {
        if self.kept.len() < Spares::COUNT_MAX
            && assembly.data.bytes.capacity() <= Spares::BYTES_MAX
        {
            assembly.reset();
            self.kept.push(assembly);
        }
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Frees the buffers that were not needed since the last call; returns how many.
    pub fn trim(&mut self) -> usize {
        let before = self.kept.len();
        self.kept.retain_mut(|assembly| !std::mem::replace(&mut assembly.is_stale, true));
        before - self.kept.len()
    }
}

const _: () = assert!(CONTROL_BYTES_MAX < DIRECT_BYTES_MIN);
const _: () = assert!(DIRECT_BYTES_MIN <= DIRECT_ROOM_MIN);
