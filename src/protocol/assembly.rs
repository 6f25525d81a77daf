//! Assembles messages that did not arrive in one read.
//!
//! Owns the bytes of an unfinished message, the frame in flight, and the pool of spare buffers; an
//! idle connection holds none of these. Buffers grow as bytes arrive: the length that a header
//! announces only limits the steps of a large buffer (`growth.rs`). The same memory
//! is never zeroed twice. Of a compressed message only the position is kept: its bytes go straight
//! to the inflater. Limits are the [decoder](super::decoder)'s.

use super::frame::{CONTROL_BYTES_MAX, FrameHeader, Opcode};
use super::growth::{DOUBLING_BYTES_MAX, ROOM_BYTES_MIN, next_capacity};
use super::mask;
use super::utf8::{InvalidUtf8, Utf8};

/// From this many received bytes of the frame in flight on, reads go straight into the buffer.
/// Below it, a copy is cheaper than another system call.
const DIRECT_BYTES_MIN: usize = 4 * 1024;
/// Least room that is made for direct reads when the previous room is used up.
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

    /// The announced bytes of the message: `received` and the rest of this frame. Before the last
    /// frame at least twice the buffer's `capacity`, so that small fragments do not each move it.
    fn announced(&self, received: usize, capacity: usize) -> usize {
        let announced = received + self.remaining;
        if self.fin { announced } else { announced.max(2 * capacity) }
    }

    /// Unmasks the next part of the payload in place and counts it.
    fn advance(&mut self, piece: &mut [u8]) {
        if let Some(key) = self.mask {
            mask::apply(key, self.received, piece);
        }
        self.received += piece.len();
        self.remaining -= piece.len();
    }
}

/// An unfinished message, the frame in flight, or both: a control frame may arrive in parts between
/// two fragments.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// Text or Binary, from the first fragment until the last one is complete.
    pub(super) message: Option<Opcode>,
    /// Whether the message is compressed. Its bytes are then handed on as they arrive, and only
    /// counted here.
    pub(super) compressed: bool,
    handed_on: usize,
    pub(super) frame: Option<InFlight>,
    utf8: Utf8,
    data: Buffer,
    control: Vec<u8>,
    /// True if this spare was not used since the last [`Spares::trim`].
    is_stale: bool,
}

impl Assembly {
    /// Whether nothing is unfinished. The last step has returned any remaining message.
    pub(super) fn is_idle(&self) -> bool {
        self.message.is_none() && self.frame.is_none()
    }

    /// Starts a frame; a text or binary frame starts a message.
    pub(super) fn begin(&mut self, frame: InFlight) {
        if matches!(frame.opcode, Opcode::Text | Opcode::Binary) {
            self.message = Some(frame.opcode);
            self.compressed = frame.compressed;
            self.handed_on = 0;
        }
        self.frame = Some(frame);
    }

    /// Whether the frame in flight belongs to a compressed message, whose bytes are not kept.
    pub(super) fn hands_on(&self) -> bool {
        self.compressed && self.frame.as_ref().is_some_and(|frame| !frame.is_control())
    }

    /// Bytes of the message received so far.
    pub(super) fn message_bytes(&self) -> usize {
        if self.compressed { self.handed_on } else { self.data.len }
    }

    /// Takes the part of `input` that belongs to the frame in flight; returns its length.
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
            self.data.append(piece, frame);
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
        Some(self.data.room(DIRECT_BYTES_MIN, ahead, frame))
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

    /// Ends the message. Fails if its last character is incomplete.
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

    /// Drops the control frame that was just returned; the message that it interrupted continues.
    pub(super) fn forget_control(&mut self) {
        self.control.clear();
    }

    /// Memory held, including the struct itself.
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

/// A buffer that is zeroed once and filled many times, so that a read into its unfilled part costs
/// no zeroing.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    len: usize,
}

impl Buffer {
    fn filled(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Appends the bytes of `piece`, which `frame` has counted.
    fn append(&mut self, piece: &[u8], frame: &InFlight) {
        let end = self.len + piece.len();
        if end > self.bytes.len() {
            self.bytes.truncate(self.len);
            self.grow(end, end, frame);
            self.bytes.extend_from_slice(piece);
        } else {
            self.bytes[self.len..end].copy_from_slice(piece);
        }
        self.len = end;
    }

    /// Room for bytes of `frame`. If less than `least` is left, the buffer is extended by up to
    /// `ahead` bytes.
    fn room(&mut self, least: usize, ahead: usize, frame: &InFlight) -> &mut [u8] {
        if self.bytes.len() < self.len + least {
            self.grow(self.len, self.len + least, frame);
            // Use up the capacity that growth has made before the vector grows again.
            let owned = self.bytes.capacity() - self.len;
            let ahead = if owned < least { ahead } else { ahead.min(owned) };
            self.bytes.resize(self.len + ahead, 0);
        }
        let end = self.bytes.len().min(self.len + frame.remaining);
        &mut self.bytes[self.len..end]
    }

    /// Reserves at least `least` bytes for a large buffer, and more if `frame` announces more.
    /// `received` bytes of the message have arrived.
    fn grow(&mut self, received: usize, least: usize, frame: &InFlight) {
        let capacity = self.bytes.capacity();
        if least > capacity && least > DOUBLING_BYTES_MAX {
            let announced = frame.announced(received, capacity);
            let capacity = next_capacity(received, announced).max(least);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
    }

    fn fill(&mut self, len: usize) -> &mut [u8] {
        let start = self.len;
        self.len = (start + len).min(self.bytes.len());
        &mut self.bytes[start..self.len]
    }
}

/// Spare assembly buffers, one pool per loop.
///
/// Bounded in count and in bytes: at most [`Spares::COUNT_MAX`] buffers of at most
/// [`Spares::BYTES_MAX`] each are kept; the rest is freed.
#[derive(Debug, Default)]
pub struct Spares {
    // Boxed, because a decoder holds its assembly boxed: lending one moves eight bytes.
    #[allow(clippy::vec_box)]
    kept: Vec<Box<Assembly>>,
}

impl Spares {
    /// Maximum number of buffers kept.
    pub const COUNT_MAX: usize = 32;
    /// Maximum size of a buffer that is kept.
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

    /// Whether the pool is empty.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Frees the buffers that were not used since the last call; returns their number.
    pub fn trim(&mut self) -> usize {
        let before = self.kept.len();
        self.kept.retain_mut(|assembly| !std::mem::replace(&mut assembly.is_stale, true));
        before - self.kept.len()
    }
}

const _: () = assert!(CONTROL_BYTES_MAX < DIRECT_BYTES_MIN);
const _: () = assert!(DIRECT_BYTES_MIN <= DIRECT_ROOM_MIN);
const _: () = assert!(DIRECT_BYTES_MIN <= ROOM_BYTES_MIN);
