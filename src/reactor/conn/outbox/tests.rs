//! The outbox without a socket: output has the order of input, in whole frames, and is counted
//! exactly.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::sync::Arc;
use std::time::Duration;

use super::pressure::Pressure;
use super::spares::SpareQueues;
use super::*;
use crate::protocol::{CloseCode, Piece};
use crate::reactor::api::budget::{
    CHUNK_BYTES, SHARE_BYTES_MIN, SPARE_BYTES, SPARE_CHUNK_BYTES, SPARE_CHUNKS, SPARE_OUTBOXES,
    WRITE_BYTES, WRITE_SLICES,
};
use crate::reactor::parts::shared::{Bytes, SharedSum};

mod cuts;
mod model;
mod pool;

/// A socket that accepts `room` bytes and then blocks, and stores them.
#[derive(Default)]
struct Wire {
    room: usize,
    got: Vec<u8>,
    /// Slices of the last write.
    slices: usize,
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.slices = slices.len();
        let before = self.got.len();
        for slice in slices {
            let taken = slice.len().min(self.room);
            self.got.extend_from_slice(&slice[..taken]);
            self.room -= taken;
        }
        Ok(self.got.len() - before)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An outbox with its socket, at a time that the test sets.
#[derive(Default)]
struct Rig {
    outbox: Outbox,
    spares: SpareQueues,
    sum: SharedSum,
    wire: Wire,
    now: Time,
}

impl Rig {
    fn message(&mut self, payload: &[u8]) {
        self.outbox.push_message(&mut self.spares, Message::Binary(payload), None);
    }

    fn shared(&mut self, payload: &[u8]) -> SharedFrame {
        let frame = SharedFrame::message(Message::Binary(payload));
        if frame.as_bytes().len() < SHARE_BYTES_MIN {
            self.outbox.push_frames(&mut self.spares, frame.as_bytes());
        } else {
            let shared = self.sum.hold(Bytes::Frame(Rc::clone(frame.bytes())));
            self.outbox.push_shared(&mut self.spares, shared);
        }
        frame
    }

    /// Queues a message of which all but the first and the last byte are shared; returns its frame.
    fn pieces(&mut self, payload: &[u8]) -> Vec<u8> {
        let (first, rest) = payload.split_at(payload.len().min(1));
        let (shared, last) = rest.split_at(rest.len().saturating_sub(1));
        let pieces = [
            Piece::from(first.to_vec()),
            Piece::from(Arc::<[u8]>::from(shared)),
            last.to_vec().into(),
        ];
        self.outbox.push_pieces(&mut self.spares, &self.sum, Opcode::Binary, &pieces);
        frame(payload)
    }

    /// Queues a text message of which all but the first byte are shared; returns its frame.
    fn joined(&mut self, payload: &[u8]) -> Vec<u8> {
        let (head, tail) = payload.split_at(payload.len().min(1));
        let (outbox, spares) = (&mut self.outbox, &mut self.spares);
        if tail.len() < SHARE_BYTES_MIN {
            outbox.push_parts(spares, false, &[head, tail], None);
        } else {
            let shared = self.sum.hold(Bytes::Piece(tail.into()));
            outbox.push_joined(spares, false, &[&[], head], shared);
        }
        let mut frame = Vec::new();
        Encoder::server(&mut frame).frame(true, Opcode::Text, payload);
        frame
    }

    fn ping(&mut self, payload: &[u8]) {
        self.outbox.push_ping(&mut self.spares, payload, None);
    }

    fn pong(&mut self, payload: &[u8]) {
        self.outbox.push_pong(&mut self.spares, payload, None);
    }

    fn close(&mut self) {
        let close = CloseFrame::new(CloseCode::TRY_AGAIN_LATER, "slow");
        self.outbox.push_close(&mut self.spares, Some(close), None);
    }

    /// Flushes once into a socket with this much room.
    fn flush(&mut self, room: usize) -> (usize, Flushed) {
        self.wire.room = room;
        self.outbox.flush(&mut self.wire, &mut self.spares, self.now).unwrap()
    }

    /// Flushes until the outbox is empty; returns all bytes that the socket ever accepted.
    fn drain(&mut self) -> &[u8] {
        while !self.outbox.is_empty() {
            self.flush(usize::MAX);
        }
        &self.wire.got
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::server(&mut out).message(Message::Binary(payload));
    out
}

fn pong(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::server(&mut out).pong(payload);
    out
}

/// Queues all kinds of chunk: a head, small frames, a large one, a shared one, one of pieces, small
/// ones.
fn mixed(rig: &mut Rig) -> Vec<Vec<u8>> {
    let head = b"HTTP/1.1 101\r\n\r\n".to_vec();
    rig.outbox.push_head(&mut rig.spares, head.clone());
    let mut frames = vec![head];
    for payload in [&b"one"[..], b"two", &[3; 300]] {
        rig.message(payload);
        frames.push(frame(payload));
    }
    frames.push(rig.shared(&[4; SHARE_BYTES_MIN]).as_bytes().to_vec());
    frames.push(rig.pieces(&[5; SHARE_BYTES_MIN + 2]));
    for payload in [&b"five"[..], b""] {
        rig.message(payload);
        frames.push(frame(payload));
    }
    frames
}

/// The number of frames that have started when `at` bytes were written, and their length. The first
/// one is an HTTP head: it always counts as started, because no pong overtakes it and no cut drops
/// it.
fn started(frames: &[Vec<u8>], at: usize) -> (usize, usize) {
    let (mut started, mut bytes) = (1, frames[0].len());
    while bytes < at {
        bytes += frames[started].len();
        started += 1;
    }
    (started, bytes)
}

#[test]
fn bytes_leave_in_order_for_any_size_of_write() {
    for step in [1, 2, 3, 7, 64, 1000, 100_000] {
        let mut rig = Rig::default();
        let mut expected = b"HTTP/1.1 101\r\n\r\n".to_vec();
        rig.outbox.push_head(&mut rig.spares, expected.clone());
        for (index, len) in [5, 600, 0, 126, SHARE_BYTES_MIN, 9, 3000].into_iter().enumerate() {
            let payload = vec![index as u8; len];
            rig.shared(&payload);
            rig.message(&payload);
            expected.extend_from_slice(&frame(&payload));
            expected.extend_from_slice(&frame(&payload));
        }
        let mut left = expected.len();
        while left > 0 {
            assert_eq!(rig.outbox.bytes(), left);
            let (taken, flushed) = rig.flush(step);
            assert_eq!(taken, left.min(step));
            left -= taken;
            assert_eq!(flushed, if left == 0 { Flushed::Empty } else { Flushed::Blocked });
        }
        assert!(rig.outbox.is_empty());
        assert!(rig.wire.got == expected);
    }
}

#[test]
fn one_write_stays_within_the_byte_budget() {
    let mut rig = Rig::default();
    let large = vec![1; 3 * WRITE_BYTES / 2];
    rig.message(&large);
    assert_eq!(rig.flush(usize::MAX), (WRITE_BYTES, Flushed::Budget));
    // Likewise after other chunks.
    rig.shared(&large);
    rig.message(b"end");
    assert_eq!(rig.flush(usize::MAX), (WRITE_BYTES, Flushed::Budget));
    assert_eq!(rig.outbox.blocked_since(), None);
    let expected = [frame(&large), frame(&large), frame(b"end")].concat();
    assert!(rig.drain() == expected);
}

#[test]
fn one_write_stays_within_the_slice_budget() {
    let mut rig = Rig::default();
    let frames: Vec<SharedFrame> =
        (0..2 * WRITE_SLICES + 10).map(|i| rig.shared(&vec![i as u8; SHARE_BYTES_MIN])).collect();
    let len = frames[0].as_bytes().len();
    assert_eq!(rig.flush(usize::MAX), (WRITE_SLICES * len, Flushed::Budget));
    assert_eq!(rig.wire.slices, WRITE_SLICES);
    assert_eq!(rig.flush(WRITE_SLICES * len - 1).1, Flushed::Blocked);
    let expected: Vec<u8> = frames.iter().flat_map(SharedFrame::as_bytes).copied().collect();
    assert!(rig.drain() == expected);
}

#[test]
fn large_frames_are_shared_and_small_ones_copied() {
    let mut rig = Rig::default();
    let (copied, shared) = (SHARE_BYTES_MIN - 4 - 1, SHARE_BYTES_MIN - 4);
    let copied = rig.shared(&vec![1; copied]);
    let shared = rig.shared(&vec![2; shared]);
    assert_eq!(shared.as_bytes().len(), SHARE_BYTES_MIN);
    let queue = rig.outbox.0.as_ref().unwrap();
    assert!(matches!(&queue.chunks[0], Chunk::Frames(bytes) if bytes == copied.as_bytes()));
    assert!(matches!(&queue.chunks[1], Chunk::Shared(frame)
        if std::ptr::eq(frame.as_ptr(), shared.as_bytes().as_ptr())));
    let expected = [copied.as_bytes(), shared.as_bytes()].concat();
    assert!(rig.drain() == expected);
}

#[test]
fn small_frames_gather_in_chunks_of_bounded_size() {
    let mut rig = Rig::default();
    for _ in 0..3 * CHUNK_BYTES / 100 {
        rig.message(&[7; 98]);
    }
    let queue = rig.outbox.0.as_ref().unwrap();
    assert_eq!(queue.chunks.len(), 3);
    assert!(queue.chunks.iter().all(|chunk| chunk.bytes().len() <= CHUNK_BYTES));
    assert!(queue.held_bytes() <= 4 * CHUNK_BYTES + 1024);
}

#[test]
fn progress_restarts_the_wait_for_a_blocked_peer() {
    let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
    let mut rig = Rig { now: at(1), ..Rig::default() };
    rig.message(&[1; 100]);
    assert_eq!(rig.flush(10), (10, Flushed::Blocked));
    assert_eq!(rig.outbox.blocked_since(), Some(at(1)));
    rig.now = at(2);
    assert_eq!(rig.flush(0), (0, Flushed::Blocked));
    assert_eq!(rig.outbox.blocked_since(), Some(at(1)));
    rig.now = at(3);
    assert_eq!(rig.flush(1), (1, Flushed::Blocked));
    assert_eq!(rig.outbox.blocked_since(), Some(at(3)));
    rig.flush(usize::MAX);
    assert_eq!(rig.outbox.blocked_since(), None);
}

#[test]
fn a_socket_error_is_returned_but_an_interruption_is_not_an_error() {
    struct Fails(io::ErrorKind);
    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut rig = Rig::default();
    rig.message(b"x");
    let mut flush = |kind| rig.outbox.flush(&mut Fails(kind), &mut rig.spares, Time::ZERO);
    assert_eq!(flush(io::ErrorKind::Interrupted).unwrap(), (0, Flushed::Blocked));
    assert!(flush(io::ErrorKind::BrokenPipe).is_err());
    assert_eq!(rig.drain(), frame(b"x"));
}

/// The frame that [`Rig::close`] queues.
const CLOSE: &[u8] = b"\x88\x06\x03\xf5slow";

#[test]
fn a_pong_for_a_blocked_peer_splits_no_frame_and_replaces_the_last() {
    let total = mixed(&mut Rig::default()).concat().len();
    for at in 0..total {
        let mut rig = Rig::default();
        let frames = mixed(&mut rig);
        if at > 0 {
            rig.flush(at);
        }
        rig.flush(0);
        let (started, _) = started(&frames, at);
        let before = rig.outbox.bytes();
        for payload in ["first", "second", "and so on", "last"] {
            rig.pong(payload.as_bytes());
            // The loop tries to write after each pong; the socket accepts nothing.
            rig.flush(0);
        }
        assert_eq!(rig.outbox.bytes(), before + pong(b"last").len(), "blocked at {at}");
        let expected =
            [frames[..started].concat(), pong(b"last"), frames[started..].concat()].concat();
        assert!(rig.drain() == expected, "blocked at {at}");
    }
}

#[test]
fn a_partly_written_pong_is_completed_before_the_next() {
    let mut rig = Rig::default();
    rig.message(b"one");
    rig.flush(0);
    rig.pong(b"started");
    assert_eq!(rig.flush(3), (3, Flushed::Blocked));
    rig.pong(b"waits");
    rig.pong(b"waits instead");
    let expected = [pong(b"started"), pong(b"waits instead"), frame(b"one")].concat();
    assert_eq!(rig.drain(), expected);
}

#[test]
fn a_pong_for_a_reading_peer_keeps_its_order() {
    let mut rig = Rig::default();
    rig.message(b"one");
    rig.pong(b"a");
    rig.pong(b"b");
    assert_eq!(rig.drain(), [frame(b"one"), pong(b"a"), pong(b"b")].concat());
}

#[test]
fn masked_frames_are_cut_at_the_same_boundaries() {
    let mask = Some([1, 2, 3, 4]);
    let shared = SharedFrame::message(Message::Binary(&[5; 600]));
    let total = 2 * (8 + 600) + 2;
    for at in 1..total {
        let mut rig = Rig::default();
        rig.outbox.push_with_mask(&mut rig.spares, &shared, mask);
        rig.outbox.push_message(&mut rig.spares, Message::Binary(&[5; 600]), mask);
        rig.ping(b"");
        assert_eq!(rig.outbox.bytes(), total);
        rig.flush(at);
        let dropped = rig.outbox.drop_unsent(&mut rig.spares);
        assert_eq!(dropped, u64::from(at <= 608));
        let left = rig.outbox.bytes();
        assert_eq!(
            at + left,
            match at {
                0..=608 => 608,
                609..=1216 => 1216,
                _ => total,
            }
        );
    }
}

#[test]
fn congestion_starts_at_the_soft_limit_and_ends_at_low_water() {
    let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
    let mut rig = Rig::default();
    rig.message(&[1; 98]);
    rig.outbox.mark_above_soft(at(1), Pressure::Congested);
    rig.outbox.mark_above_soft(at(2), Pressure::Congested);
    assert_eq!(rig.outbox.above_soft_since(), Some(at(1)));
    rig.outbox.mark_below_soft(99);
    assert_eq!(rig.outbox.above_soft_since(), Some(at(1)));
    rig.outbox.mark_below_soft(100);
    assert_eq!(rig.outbox.above_soft_since(), None);
    assert_eq!(rig.outbox.pressure(), Pressure::Congested);
    rig.outbox.mark_drained();
    assert_eq!(rig.outbox.pressure(), Pressure::Normal);
}

#[test]
fn a_single_write_needs_an_outbox_without_blocked_or_partial_writes() {
    let mut rig = Rig::default();
    assert_eq!(rig.outbox.single_write(), None);
    rig.message(b"one");
    rig.message(b"two");
    let both = [frame(b"one"), frame(b"two")].concat();
    assert_eq!(rig.outbox.single_write(), Some(&both[..]));
    rig.outbox.mark_above_soft(rig.now, Pressure::Congested);
    assert_eq!(rig.outbox.single_write(), None, "on_drain is due after it");
    rig.outbox.mark_drained();
    rig.drain();

    rig.message(&[1; 3 * WRITE_BYTES / 2]);
    assert_eq!(rig.flush(usize::MAX).1, Flushed::Budget);
    assert_eq!(rig.outbox.single_write(), None, "the frame was written in part");
    rig.drain();

    rig.message(b"one");
    rig.flush(0);
    assert_eq!(rig.outbox.single_write(), None, "the write deadline runs");
    rig.drain();

    rig.shared(&[1; SHARE_BYTES_MIN]);
    rig.message(b"one");
    assert_eq!(rig.outbox.single_write(), None, "there are chunks");
    rig.drain();

    rig.message(&vec![1; WRITE_BYTES]);
    assert_eq!(rig.outbox.single_write(), None, "one write must not carry as much");
    rig.drain();

    rig.message(b"last");
    rig.outbox.finish_single_write(&mut rig.spares);
    assert!(rig.outbox.is_empty());
    rig.message(b"next");
    assert!(rig.drain().ends_with(&frame(b"next")));
    assert!(!rig.drain().ends_with(&[frame(b"last"), frame(b"next")].concat()));
}
