//! The way out of a secure connection: plaintext waits as frames and is sealed when it is flushed.
//!
//! What is sealed can be neither reordered nor taken back, so as little as possible is: one batch of
//! [`SEAL_BYTES`], and only when the kernel has taken the one before. What it does not take of a batch
//! waits in front of everything else, and counts like everything else.

use std::io::{self, ErrorKind, Write};

use super::queue::{Chunk, Queue};
use super::{Flushed, Outbox, SpareQueues};
use crate::reactor::api::budget::{SEAL_BYTES, WRITE_BYTES};
use crate::reactor::api::time::Time;

/// Records that the kernel has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    bytes: Vec<u8>,
    written: usize,
}

impl Sealed {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    fn keep(&mut self, records: &[u8]) {
        self.bytes.extend_from_slice(records);
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Forgets what the kernel has taken, and the memory with the last of it: a peer that reads needs
    /// none.
    fn advance(&mut self, taken: usize) {
        self.written += taken;
        if self.written == self.bytes.len() {
            *self = Sealed::default();
        }
    }
}

/// What one flush did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// Bytes that the kernel took.
    pub(crate) bytes: usize,
    pub(crate) flushed: Flushed,
}

/// Memory that a flush works in.
pub(crate) struct Workspace<'a> {
    /// Where pieces of plaintext are put together.
    pub(crate) gathered: &'a mut Vec<u8>,
    /// Where records are made: room for [`SEAL_BYTES`] and their overhead.
    pub(crate) records: &'a mut [u8],
}

impl Outbox {
    /// Queues records behind those that are sealed already and before all that is not.
    pub(crate) fn push_sealed(&mut self, spares: &mut SpareQueues, records: &[u8]) {
        self.queue(spares).keep_sealed(records);
    }

    /// Drops everything that is not sealed; returns how many messages that were, as [`Outbox::cut`] does.
    pub(crate) fn cut_to_sealed(&mut self, spares: &mut SpareQueues) -> u64 {
        let Some(queue) = &mut self.0 else {
            return 0;
        };
        let dropped = queue.cut();
        queue.chunks.clear();
        queue.written = 0;
        queue.bytes = queue.sealed.len();
        queue.remeasure();
        self.recycle_if_empty(spares);
        dropped
    }

    /// As [`flush`](Outbox::flush), through `seal`, which writes records of the plaintext it is given
    /// and returns their length. Writes once for each batch.
    ///
    /// # Errors
    /// The connection is broken, or nothing can be sealed.
    pub(crate) fn flush_sealed(
        &mut self,
        socket: &mut impl Write,
        mut seal: impl FnMut(&[u8], &mut [u8]) -> io::Result<usize>,
        workspace: Workspace<'_>,
        spares: &mut SpareQueues,
        now: Time,
    ) -> io::Result<Written> {
        let Some(queue) = &mut self.0 else {
            return Ok(Written { bytes: 0, flushed: Flushed::Empty });
        };
        let Workspace { gathered, records } = workspace;
        let mut bytes = write(socket, queue.sealed.rest())?;
        queue.advance_sealed(bytes);
        while queue.sealed.len() == 0 && queue.bytes > 0 && bytes < WRITE_BYTES {
            let plain = queue.front(SEAL_BYTES, gathered);
            let plain_len = plain.len();
            let len = seal(plain, records)?;
            queue.advance(plain_len);
            let taken = write(socket, &records[..len])?;
            bytes += taken;
            queue.keep_sealed(&records[taken..len]);
        }
        if queue.sealed.len() > 0 {
            // Progress begins the wait anew, as in the clear.
            if bytes > 0 || queue.blocked_since.is_none() {
                queue.blocked_since = Some(now);
            }
            return Ok(Written { bytes, flushed: Flushed::Blocked });
        }
        queue.blocked_since = None;
        if queue.bytes > 0 {
            return Ok(Written { bytes, flushed: Flushed::Budget });
        }
        self.recycle_if_empty(spares);
        Ok(Written { bytes, flushed: Flushed::Empty })
    }
}

impl Queue {
    /// Keeps records that the kernel did not take.
    fn keep_sealed(&mut self, records: &[u8]) {
        let before = self.sealed.capacity();
        self.sealed.keep(records);
        self.allocated += self.sealed.capacity() - before;
        self.bytes += records.len();
    }

    /// Forgets the records that the kernel has taken.
    fn advance_sealed(&mut self, taken: usize) {
        self.allocated -= self.sealed.capacity();
        self.sealed.advance(taken);
        self.allocated += self.sealed.capacity();
        self.bytes -= taken;
    }

    /// What is queued and not sealed, in its order.
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut skip = self.written;
        let all = self.chunks.iter().map(Chunk::bytes).chain([&self.tail[..]]);
        all.map(move |bytes| &bytes[std::mem::take(&mut skip)..])
    }

    /// The next bytes of plaintext, at most so many, put together if they lie in pieces: a record is to
    /// be full whatever the frames in it are.
    fn front<'a>(&'a self, most: usize, gathered: &'a mut Vec<u8>) -> &'a [u8] {
        let mut pieces = self.pieces();
        let first = pieces.next().unwrap_or_default();
        if first.len() >= most || first.len() + self.sealed.len() == self.bytes {
            return &first[..first.len().min(most)];
        }
        gathered.clear();
        for piece in [first].into_iter().chain(pieces) {
            let room = most - gathered.len();
            gathered.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        gathered
    }
}

/// Writes once; what the kernel does not take for now is no error.
fn write(socket: &mut impl Write, records: &[u8]) -> io::Result<usize> {
    if records.is_empty() {
        return Ok(0);
    }
    match socket.write(records) {
        Ok(0) => Err(ErrorKind::WriteZero.into()),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(0)
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{CloseCode, CloseFrame, Message};

    /// A kernel that takes so many bytes.
    struct Kernel {
        room: usize,
        taken: Vec<u8>,
    }

    impl Write for Kernel {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.room);
            if len == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.room -= len;
            self.taken.extend_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A peer that has reset the connection, once the kernel has taken so many bytes.
    struct Reset(Kernel);

    impl Write for Reset {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes).map_err(|_| ErrorKind::ConnectionReset.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Records that show what is in them: the length, then the plaintext.
    fn seal(plain: &[u8], records: &mut [u8]) -> io::Result<usize> {
        records[..4].copy_from_slice(&(plain.len() as u32).to_be_bytes());
        records[4..][..plain.len()].copy_from_slice(plain);
        Ok(4 + plain.len())
    }

    /// The plaintext of such records, and how long each was.
    fn open(mut records: &[u8]) -> (Vec<u8>, Vec<usize>) {
        let (mut plain, mut lens) = (Vec::new(), Vec::new());
        while let Some((len, rest)) = records.split_first_chunk() {
            let len = u32::from_be_bytes(*len) as usize;
            plain.extend_from_slice(&rest[..len]);
            lens.push(len);
            records = &rest[len..];
        }
        (plain, lens)
    }

    fn flush(outbox: &mut Outbox, kernel: &mut Kernel, spares: &mut SpareQueues) -> Written {
        let mut records = vec![0; SEAL_BYTES + 100];
        let workspace = Workspace { gathered: &mut Vec::new(), records: &mut records };
        outbox.flush_sealed(kernel, seal, workspace, spares, Time::ZERO).unwrap()
    }

    #[test]
    fn frames_of_all_chunks_fill_each_batch() {
        let (mut outbox, mut spares) = (Outbox::default(), SpareQueues::default());
        outbox.push_head(&mut spares, vec![1; 100]);
        for _ in 0..100 {
            outbox.push_message(&mut spares, Message::Binary(&[2; 1996]), None);
        }
        outbox.push_head(&mut spares, vec![3; 10]);
        let total = outbox.bytes();
        let mut kernel = Kernel { room: usize::MAX, taken: Vec::new() };
        let written = flush(&mut outbox, &mut kernel, &mut spares);
        let (plain, lens) = open(&kernel.taken);
        assert_eq!((plain.len(), &plain[..3]), (total, &[1; 3][..]));
        assert!(plain.ends_with(&[3; 10]));
        let rest = total - 3 * SEAL_BYTES;
        assert_eq!(lens, [SEAL_BYTES, SEAL_BYTES, SEAL_BYTES, rest]);
        assert_eq!(written, Written { bytes: total + 4 * 4, flushed: Flushed::Empty });
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_is_sealed_goes_first_and_only_one_batch_waits() {
        let (mut outbox, mut spares) = (Outbox::default(), SpareQueues::default());
        for _ in 0..1000 {
            outbox.push_message(&mut spares, Message::Binary(&[2; 996]), None);
        }
        let mut kernel = Kernel { room: 30_000, taken: Vec::new() };
        let written = flush(&mut outbox, &mut kernel, &mut spares);
        assert_eq!(written, Written { bytes: 30_000, flushed: Flushed::Blocked });
        assert_eq!(outbox.bytes(), 1_000_000 + 4 - 30_000);
        assert!(outbox.blocked_since().is_some());

        // What is not sealed can be dropped, and a pong or an alert finds its place.
        outbox.push_pong(&mut spares, b"pong", None);
        outbox.push_sealed(&mut spares, &[0, 0, 0, 5, b'a', b'l', b'e', b'r', b't']);
        let dropped = outbox.cut(&mut spares);
        let close = CloseFrame::new(CloseCode::TRY_AGAIN_LATER, "");
        outbox.push_close(&mut spares, Some(close), None);
        // The frame in which the batch ended is finished, the others are gone.
        let begun = SEAL_BYTES.div_ceil(1000);
        assert_eq!(dropped, 1000 - begun as u64);

        kernel.room = usize::MAX;
        assert_eq!(flush(&mut outbox, &mut kernel, &mut spares).flushed, Flushed::Empty);
        let (plain, lens) = open(&kernel.taken);
        assert_eq!(lens[..2], [SEAL_BYTES, 5]);
        assert_eq!(plain.len(), begun * 1000 + 5 + 4);
        assert_eq!(plain[SEAL_BYTES..][..5], *b"alert");
        assert_eq!(plain[plain.len() - 4..], [0x88, 2, 0x03, 0xF5]);
    }

    #[test]
    fn a_failed_write_counts_exactly_what_it_took_off_the_queue() {
        let total = 4 * SEAL_BYTES;
        for room in [0, 1, SEAL_BYTES, SEAL_BYTES + 4, 2 * SEAL_BYTES] {
            let (mut outbox, mut spares) = (Outbox::default(), SpareQueues::default());
            for _ in 0..total / 1024 {
                outbox.push_message(&mut spares, Message::Binary(&[2; 1020]), None);
            }
            let mut records = vec![0; SEAL_BYTES + 100];
            let workspace = Workspace { gathered: &mut Vec::new(), records: &mut records };
            let mut socket = Reset(Kernel { room, taken: Vec::new() });
            let kernel = &mut socket;
            let mut flush =
                |workspace| outbox.flush_sealed(kernel, seal, workspace, &mut spares, Time::ZERO);
            // What the kernel takes in part is kept, and fails with the next flush.
            let written = flush(workspace);
            let sealed = match &written {
                Ok(written) => written.bytes.div_ceil(SEAL_BYTES + 4),
                Err(_) => 1 + room / (SEAL_BYTES + 4),
            };
            let kept = written.map_or(0, |written| sealed * (SEAL_BYTES + 4) - written.bytes);
            assert_eq!(outbox.bytes(), total - sealed * SEAL_BYTES + kept, "room for {room}");
            assert!(outbox.is_measured());
            outbox.clear(&mut spares);
            assert_eq!(outbox.held_bytes(), 0);
        }
    }

    #[test]
    fn nothing_but_what_is_sealed_survives_a_failure() {
        let (mut outbox, mut spares) = (Outbox::default(), SpareQueues::default());
        outbox.push_message(&mut spares, Message::Text("lost"), None);
        outbox.push_sealed(&mut spares, b"alert");
        let dropped = outbox.cut_to_sealed(&mut spares);
        assert_eq!(dropped, 1);
        assert_eq!(outbox.bytes(), 5);
        let mut kernel = Kernel { room: 3, taken: Vec::new() };
        assert_eq!(flush(&mut outbox, &mut kernel, &mut spares).flushed, Flushed::Blocked);
        assert_eq!((outbox.bytes(), outbox.clear(&mut spares)), (2, 0));
        assert!(outbox.is_empty());
    }
}
