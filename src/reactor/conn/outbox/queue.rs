//! The chunks of one outbox that is not empty, and how many of their bytes the kernel has accepted.
//!
//! It keeps frames whole: it inserts and cuts only at the start of a frame. It also counts its own
//! allocation, because each message needs that number. Next: `sealed.rs` for TLS records.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice, Write};
use std::iter::successors;
use std::rc::Rc;

use super::pressure::Pressure;
use super::sealed::Sealed;
use crate::protocol::frame::{HEADER_BYTES_MAX, frame_len, is_close, is_message};
use crate::reactor::api::budget::{CHUNK_BYTES, SPARE_CHUNK_BYTES, WRITE_BYTES, WRITE_SLICES};
use crate::reactor::api::time::Time;
use crate::reactor::parts::shared::Shared;

pub(super) enum Chunk {
    /// An HTTP head, or bytes of a pipe. Never walked as frames, and never dropped.
    Raw(Vec<u8>),
    /// Whole frames, one after the other.
    Frames(Vec<u8>),
    /// One whole frame.
    Shared(Rc<Shared>),
    /// A piece of an HTTP response body. Contains no frames and is never dropped.
    Body(Rc<Shared>),
    /// The start of a frame that the following chunks continue.
    Start(Vec<u8>),
    /// A part of the frame that an earlier chunk starts.
    Rest(Vec<u8>),
    /// A part of the frame that an earlier chunk starts, shared with other outboxes.
    SharedRest(Rc<Shared>),
    /// The latest pong for a peer that does not read. A later pong replaces it.
    Pong(Vec<u8>),
}

/// Omits the bytes: a head that is forwarded has credentials.
impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes().len())
    }
}

impl Chunk {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Raw(bytes) | Chunk::Frames(bytes) | Chunk::Pong(bytes) => bytes,
            Chunk::Start(bytes) | Chunk::Rest(bytes) => bytes,
            Chunk::Shared(shared) | Chunk::Body(shared) | Chunk::SharedRest(shared) => shared,
        }
    }

    /// Bytes allocated for this outbox alone.
    fn own_bytes(&self) -> usize {
        match self {
            Chunk::Raw(bytes) | Chunk::Frames(bytes) | Chunk::Pong(bytes) => bytes.capacity(),
            Chunk::Start(bytes) | Chunk::Rest(bytes) => bytes.capacity(),
            Chunk::Shared(_) | Chunk::Body(_) | Chunk::SharedRest(_) => 0,
        }
    }

    /// Bytes that other outboxes may share.
    fn shared_bytes(&self) -> usize {
        match self {
            Chunk::Shared(shared) | Chunk::Body(shared) | Chunk::SharedRest(shared) => shared.len(),
            _ => 0,
        }
    }

    /// Whether its first byte belongs to a frame that an earlier chunk starts.
    fn continues(&self) -> bool {
        matches!(self, Chunk::Rest(_) | Chunk::SharedRest(_))
    }

    /// The end of the frame that contains byte `at`; `at` itself if a frame starts there.
    fn boundary(&self, at: usize) -> usize {
        match self {
            Chunk::Raw(_) | Chunk::Body(_) | Chunk::Rest(_) | Chunk::SharedRest(_) => {
                self.bytes().len()
            }
            Chunk::Frames(bytes) => {
                let mut end = 0;
                while end < at {
                    end += frame_len(&bytes[end..]);
                }
                end
            }
            Chunk::Shared(_) | Chunk::Pong(_) | Chunk::Start(_) if at > 0 => self.bytes().len(),
            Chunk::Shared(_) | Chunk::Pong(_) | Chunk::Start(_) => 0,
        }
    }

    /// The frames from byte `from` on, which must be the start of a frame: the position of each,
    /// and all bytes from there.
    fn frames(&self, from: usize) -> impl Iterator<Item = (usize, &[u8])> {
        let bytes = match self {
            Chunk::Raw(_) | Chunk::Body(_) | Chunk::Rest(_) | Chunk::SharedRest(_) => &[],
            Chunk::Frames(_) | Chunk::Shared(_) | Chunk::Pong(_) | Chunk::Start(_) => self.bytes(),
        };
        let rest = move |at: usize| bytes.get(at..).filter(|rest| !rest.is_empty());
        let frame = move |at| rest(at).map(|rest| (at, rest));
        successors(frame(from), move |&(at, rest)| frame(at + frame_len(rest)))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Sent before `tail`.
    pub(super) chunks: VecDeque<Chunk>,
    /// Whole frames, sent after all chunks. Small frames gather here; often it is the whole queue.
    pub(super) tail: Vec<u8>,
    /// The memory of a sent chunk, kept for the next tail.
    pub(super) spare: Vec<u8>,
    /// TLS records, sent before all else.
    pub(super) sealed: Sealed,
    /// Bytes of the first chunk, or of the tail without chunks, that the kernel has accepted.
    pub(super) written: usize,
    /// Bytes queued that the kernel has not accepted yet.
    pub(super) bytes: usize,
    /// Bytes allocated for this queue, without the struct itself. Stored, because each message
    /// needs it.
    ///
    /// Invariant: `allocated` and `shared` are equal to [`Queue::measure`].
    pub(super) allocated: usize,
    /// The value of `allocated` that the ledger has charged.
    pub(super) charged: usize,
    /// Bytes of chunks that other outboxes may share.
    pub(super) shared: usize,
    /// Since when the kernel accepts nothing.
    pub(super) blocked_since: Option<Time>,
    /// Since when more bytes than the soft limit are queued.
    pub(super) above_soft_since: Option<Time>,
    pub(super) pressure: Pressure,
    /// Set on spares by `trim`: not used since.
    pub(super) is_stale: bool,
}

impl Queue {
    /// The tail, with room for a frame with a payload of this length.
    #[inline(always)]
    pub(super) fn tail(&mut self, payload_len: usize) -> &mut Vec<u8> {
        if !self.has_room(payload_len) {
            self.make_room(payload_len);
        }
        &mut self.tail
    }

    /// Whether a frame with a payload of this length fits into allocated memory.
    #[inline(always)]
    pub(super) fn has_room(&self, payload_len: usize) -> bool {
        self.tail.capacity() - self.tail.len() >= payload_len + HEADER_BYTES_MAX
    }

    /// Doubles the tail, up to the size of a chunk, or starts the next chunk.
    #[inline(never)]
    fn make_room(&mut self, payload_len: usize) {
        let more = payload_len + HEADER_BYTES_MAX;
        if self.tail.len() + more > CHUNK_BYTES {
            self.seal();
        }
        let doubled = (2 * self.tail.capacity()).min(CHUNK_BYTES);
        let wanted = doubled.max(self.tail.len() + more);
        let before = self.tail.capacity();
        self.tail.reserve_exact(wanted - self.tail.len());
        self.allocated += self.tail.capacity() - before;
    }

    /// Appends bytes to the last chunk if they fit there, else as a new chunk. Chunks double up to
    /// their usual size, so that many small writes to a peer that does not read need few of them.
    #[cfg(feature = "proxy")]
    pub(super) fn push_raw(&mut self, bytes: &[u8]) {
        self.seal();
        let mut capacity = 0;
        if let Some(Chunk::Raw(last)) = self.chunks.back_mut() {
            if last.capacity() - last.len() >= bytes.len() {
                return last.extend_from_slice(bytes);
            }
            capacity = (2 * last.capacity()).min(CHUNK_BYTES);
        }
        let mut chunk = Vec::with_capacity(capacity.max(bytes.len()));
        chunk.extend_from_slice(bytes);
        self.push(Chunk::Raw(chunk));
    }

    /// Turns the tail into a chunk, so that other chunks can follow it.
    pub(super) fn seal(&mut self) {
        if !self.tail.is_empty() {
            let next = std::mem::take(&mut self.spare);
            let tail = std::mem::replace(&mut self.tail, next);
            // `push` counts the chunk; until now it was counted as the tail.
            self.allocated -= tail.capacity();
            self.push(Chunk::Frames(tail));
        }
    }

    /// Appends a chunk.
    pub(super) fn push(&mut self, chunk: Chunk) {
        self.insert(self.chunks.len(), chunk);
    }

    fn insert(&mut self, at: usize, chunk: Chunk) {
        let before = self.chunks.capacity();
        self.allocated += chunk.own_bytes();
        self.shared += chunk.shared_bytes();
        self.chunks.insert(at, chunk);
        self.allocated += (self.chunks.capacity() - before) * size_of::<Chunk>();
    }

    /// Bytes allocated for this queue, including the struct itself.
    #[inline(always)]
    pub(super) fn held_bytes(&self) -> usize {
        size_of::<Queue>() + self.allocated
    }

    /// Computes `allocated` and `shared` from the chunks.
    pub(super) fn measure(&self) -> (usize, usize) {
        let chunks = self.chunks.iter();
        let (own, shared) = chunks.fold((0, 0), |(own, shared), chunk| {
            (own + chunk.own_bytes(), shared + chunk.shared_bytes())
        });
        let table = self.chunks.capacity() * size_of::<Chunk>();
        let others = self.tail.capacity() + self.spare.capacity() + self.sealed.capacity();
        (own + table + others, shared)
    }

    /// Recomputes the counts, after changes that are too many to follow.
    pub(super) fn remeasure(&mut self) {
        (self.allocated, self.shared) = self.measure();
    }

    /// Whether the invariant of `allocated` and `shared` holds.
    pub(super) fn is_measured(&self) -> bool {
        (self.allocated, self.shared) == self.measure()
    }

    /// Frees unused capacity.
    pub(super) fn shrink(&mut self) {
        self.spare = Vec::new();
        self.tail.shrink_to_fit();
        self.remeasure();
    }

    /// Writes once, within the budget; returns the number of bytes offered, and the result.
    pub(super) fn write(&self, socket: &mut impl Write) -> (usize, io::Result<usize>) {
        if self.chunks.is_empty() {
            let rest = &self.tail[self.written..];
            let rest = &rest[..rest.len().min(WRITE_BYTES)];
            return (rest.len(), socket.write(rest));
        }
        let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
        let (mut count, mut offered, mut skip) = (0, 0, self.written);
        let all = self.chunks.iter().map(Chunk::bytes).chain([&self.tail[..]]);
        for (slice, bytes) in slices.iter_mut().zip(all) {
            let rest = &bytes[skip..];
            let rest = &rest[..rest.len().min(WRITE_BYTES - offered)];
            skip = 0;
            *slice = IoSlice::new(rest);
            count += 1;
            offered += rest.len();
            if offered == WRITE_BYTES {
                break;
            }
        }
        (offered, socket.write_vectored(&slices[..count]))
    }

    /// Removes bytes that the kernel has accepted, or that were encrypted for it.
    #[inline]
    pub(super) fn advance(&mut self, taken: usize) {
        self.bytes -= taken;
        self.written += taken;
        while let Some(chunk) = self.chunks.front() {
            let len = chunk.bytes().len();
            if self.written < len {
                return;
            }
            self.written -= len;
            self.pop_chunk();
        }
        if self.written == self.tail.len() {
            self.tail.clear();
            self.written = 0;
        }
    }

    /// Removes the first chunk, and keeps its memory as `spare` if it is larger.
    fn pop_chunk(&mut self) {
        let Some(chunk) = self.chunks.pop_front() else {
            return;
        };
        self.allocated -= chunk.own_bytes();
        self.shared -= chunk.shared_bytes();
        if let Chunk::Frames(mut bytes) = chunk
            && self.spare.capacity() < bytes.capacity()
            && bytes.capacity() <= SPARE_CHUNK_BYTES
        {
            bytes.clear();
            self.allocated += bytes.capacity() - self.spare.capacity();
            self.spare = bytes;
        }
    }

    /// Inserts a pong after the frame that the kernel has partly accepted, or replaces the pong
    /// that waits there.
    pub(super) fn place_pong(&mut self, pong: Vec<u8>) {
        self.bytes += pong.len();
        let at = self.split();
        if let Some(Chunk::Pong(waiting)) = self.chunks.get_mut(at) {
            self.bytes -= waiting.len();
            self.allocated += pong.capacity();
            self.allocated -= waiting.capacity();
            *waiting = pong;
            return;
        }
        self.insert(at, Chunk::Pong(pong));
    }

    /// Splits partly accepted frames from the others; returns the index of the first of the others.
    fn split(&mut self) -> usize {
        self.seal();
        let Some(first) = self.chunks.front_mut() else {
            return 0;
        };
        let boundary = first.boundary(self.written);
        if boundary == 0 {
            return 0;
        }
        if let Chunk::Frames(bytes) = first
            && boundary < bytes.len()
        {
            let rest = bytes.split_off(boundary);
            self.insert(1, Chunk::Frames(rest));
        }
        1 + self.chunks.iter().skip(1).take_while(|chunk| chunk.continues()).count()
    }

    /// Drops all frames that are not partly accepted, except a Close. Returns the number of
    /// messages.
    pub(super) fn drop_unsent(&mut self) -> u64 {
        let mut kept = 0;
        let mut messages = 0;
        let mut skip = self.written;
        // Whether the kernel has accepted a part of the frame that the next chunk may continue.
        let mut is_started = true;
        self.seal();
        self.chunks.retain_mut(|chunk| {
            if chunk.continues() && !is_started {
                return false;
            }
            is_started = skip > 0 || chunk.continues();
            let boundary = chunk.boundary(skip);
            messages += chunk.frames(boundary).filter(|(_, frame)| is_message(frame)).count();
            let close = chunk.frames(boundary).find(|(_, frame)| is_close(frame));
            let close = close.map(|(at, _)| at);
            let mut len = boundary;
            if let Chunk::Frames(bytes) = chunk {
                bytes.drain(boundary..close.unwrap_or(bytes.len()));
                len = bytes.len();
            }
            kept += len - skip;
            skip = 0;
            len > 0
        });
        self.bytes = kept + self.sealed.len();
        self.remeasure();
        messages as u64
    }
}
