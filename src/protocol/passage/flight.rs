//! A frame of which only a part has arrived: the bytes held, and how the rest will be forwarded.
//!
//! Held bytes start with room for a header, so that they and a new header are one piece of memory.
//! The buffer grows as bytes arrive, and never beyond what the frame can still hold.

use super::header::{First, Header};
use crate::protocol::frame::{FIN, write_parts};

/// The first allocation for held bytes: a partial header, or most control frames.
const HELD_BYTES_MIN: usize = 64;

/// Bytes that go before a range of the input: the held part of a frame, or a fragment's header.
#[derive(Debug, PartialEq, Eq)]
pub struct Start {
    bytes: Vec<u8>,
    /// Bytes at the front that are not part of it.
    skip: usize,
    is_fragment: bool,
}

impl Start {
    /// The bytes to forward.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.skip..]
    }

    /// Whether it begins a fragment that weir made of a longer frame.
    pub fn is_fragment(&self) -> bool {
        self.is_fragment
    }
}

/// How the rest of a frame is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The header is incomplete.
    Header,
    /// Nothing is forwarded before the frame is complete.
    Whole,
    /// Too long to be held; nothing was forwarded yet.
    Long,
    /// Fragments were forwarded.
    Split,
    /// The frame is forwarded as it arrives.
    Open,
    /// The frame is discarded.
    Dropped,
}

#[derive(Debug)]
pub(super) struct Flight {
    pub(super) stage: Stage,
    /// The first byte of the next header.
    pub(super) first: First,
    /// Length of the frame's header. Fragments, being shorter, have no longer one.
    header_len: u8,
    /// The key of the next fragment.
    pub(super) key: Option<[u8; 4]>,
    /// Payload bytes that have not arrived.
    pub(super) remaining: u64,
    /// Bytes not forwarded: the header, or room for one, then payload. Empty if none are held.
    pub(super) bytes: Vec<u8>,
}

impl Flight {
    /// A frame whose header is incomplete.
    pub(super) fn of_partial_header() -> Flight {
        let bytes = Vec::with_capacity(HELD_BYTES_MIN);
        let (first, stage) = (First(0), Stage::Header);
        Flight { stage, first, header_len: 0, key: None, remaining: 0, bytes }
    }

    /// Starts the payload. `bytes` holds the whole header and nothing more.
    pub(super) fn begin(&mut self, header: &Header, stage: Stage) {
        self.stage = stage;
        self.first = header.first;
        self.header_len = header.len as u8;
        self.key = header.key;
        self.remaining = header.payload_len;
    }

    /// Discards the frame, what is held of it and the rest.
    pub(super) fn drop_rest(&mut self) {
        self.stage = Stage::Dropped;
        self.bytes = Vec::new();
    }

    /// The number of payload bytes held.
    pub(super) fn held(&self) -> usize {
        self.bytes.len().saturating_sub(self.header_len.into())
    }

    /// Holds a part of the payload; `remaining` no longer counts it. The buffer doubles, but to no
    /// more than the frame needs, and to no more than `held_bytes_max` of payload.
    pub(super) fn hold(&mut self, part: &[u8], held_bytes_max: usize) {
        if part.is_empty() {
            return;
        }
        let room = usize::from(self.header_len);
        let len = self.bytes.len().max(room) + part.len();
        if len > self.bytes.capacity() {
            let remaining = usize::try_from(self.remaining).unwrap_or(usize::MAX);
            let most = room.saturating_add(held_bytes_max).min(len.saturating_add(remaining));
            let wanted = (2 * self.bytes.capacity()).min(most).max(len);
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        if self.bytes.is_empty() {
            self.bytes.resize(room, 0);
        }
        self.bytes.extend_from_slice(part);
    }

    /// The payload held.
    pub(super) fn payload(&self) -> &[u8] {
        self.bytes.get(self.header_len.into()..).unwrap_or_default()
    }

    /// Takes the held bytes as they arrived, if there are any.
    pub(super) fn take_any(&mut self) -> Option<Start> {
        let bytes = std::mem::take(&mut self.bytes);
        (!bytes.is_empty()).then_some(Start { bytes, skip: 0, is_fragment: false })
    }

    /// Takes the held bytes as the start of a fragment that ends with `further` bytes of the input.
    ///
    /// RFC 6455, 5.4: the first fragment has the opcode, the others are continuations, the last has
    /// FIN if the frame has it. RFC 7692, 6.1: only the first has RSV1. 5.3: the key of a fragment
    /// that starts at byte k of the payload is the frame's, rotated by k mod 4.
    pub(super) fn take_fragment(&mut self, further: usize, is_last: bool) -> Start {
        let room = usize::from(self.header_len);
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.is_empty() {
            bytes.resize(room, 0);
        }
        let len = bytes.len() - room + further;
        let First(first) = self.first;
        let first = if is_last { first } else { first & !FIN };
        let mut header = Vec::with_capacity(room);
        write_parts(first, len as u64, self.key, &mut header);
        let skip = room - header.len();
        bytes[skip..room].copy_from_slice(&header);
        self.stage = Stage::Split;
        // The rest is a continuation, with FIN if this frame has it.
        self.first.0 &= FIN;
        if let Some(key) = &mut self.key {
            key.rotate_left(len % 4);
        }
        Start { bytes, skip, is_fragment: true }
    }
}
