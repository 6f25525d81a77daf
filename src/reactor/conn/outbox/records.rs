//! Output over TLS: plaintext waits as frames and is encrypted ("sealed") when it is flushed.
//!
//! TLS records can be neither reordered nor dropped, so as little as possible is sealed: one batch
//! of [`SEAL_BYTES`] at a time, after the kernel has accepted the last one. Records that the kernel
//! does not accept wait before all other output, and count for the limits like it.

use std::io::{self, ErrorKind, Write};

use mio::net::TcpStream;

use super::queue::{Chunk, Queue};
use super::spares::SpareQueues;
use super::{Flushed, Outbox};
use crate::reactor::api::budget::{SEAL_BYTES, WRITE_BYTES};
use crate::reactor::api::time::Time;
use crate::reactor::parts::tls::SessionBuffers;
use crate::reactor::parts::tls::session::Session;

/// The result of one flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// Bytes that the kernel accepted.
    pub(crate) bytes: usize,
    pub(crate) flushed: Flushed,
}

/// Buffers that a flush uses.
pub(crate) struct Workspace<'a> {
    /// Plaintext gathered from several chunks.
    pub(crate) gathered: &'a mut Vec<u8>,
    /// Encrypted records: room for [`SEAL_BYTES`] and their overhead.
    pub(crate) records: &'a mut [u8],
}

impl Outbox {
    /// Queues records after those already sealed, and before all plaintext.
    pub(crate) fn push_sealed(&mut self, spares: &mut SpareQueues, records: &[u8]) {
        self.queue(spares).keep_sealed(records);
    }

    /// Drops all plaintext; returns the number of dropped messages, as [`Outbox::drop_unsent`] does.
    pub(crate) fn cut_to_sealed(&mut self, spares: &mut SpareQueues) -> u64 {
        let Some(queue) = &mut self.0 else {
            return 0;
        };
        let dropped = queue.drop_unsent();
        queue.chunks.clear();
        queue.written = 0;
        queue.bytes = queue.sealed.len();
        queue.remeasure();
        self.recycle_if_empty(spares);
        dropped
    }

    /// Like [`flush`](Outbox::flush), with `seal`, which encrypts plaintext into records and
    /// returns their length. Writes once per batch.
    ///
    /// # Errors
    /// The connection is broken, or encryption fails.
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
            // Progress restarts the wait, as without TLS.
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
    /// Stores records that the kernel did not accept.
    fn keep_sealed(&mut self, records: &[u8]) {
        let before = self.sealed.capacity();
        self.sealed.keep(records);
        self.allocated += self.sealed.capacity() - before;
        self.bytes += records.len();
    }

    /// Removes records that the kernel has accepted.
    fn advance_sealed(&mut self, taken: usize) {
        self.allocated -= self.sealed.capacity();
        self.sealed.advance(taken);
        self.allocated += self.sealed.capacity();
        self.bytes -= taken;
    }

    /// The queued plaintext, in order.
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut skip = self.written;
        let all = self.chunks.iter().map(Chunk::bytes).chain([&self.tail[..]]);
        all.map(move |bytes| &bytes[std::mem::take(&mut skip)..])
    }

    /// The next bytes of plaintext, at most `most`. Gathers them if they span several chunks, so
    /// that records are full whatever the size of the frames.
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

/// Writes once. A full send buffer counts as 0 bytes.
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

/// Encrypts queued output and writes it. Returns the number of record bytes that the kernel
/// accepted, and why the flush stopped.
// Not inlined: the plaintext path must not grow.
#[inline(never)]
pub(crate) fn flush_session(
    buffers: &mut SessionBuffers,
    session: &mut Session,
    outbox: &mut Outbox,
    socket: &TcpStream,
    spares: &mut SpareQueues,
    now: Time,
) -> io::Result<(usize, Flushed)> {
    let workspace = Workspace { gathered: &mut buffers.gathered, records: &mut buffers.outgoing };
    let seal =
        |plain: &[u8], records: &mut [u8]| session.seal(plain, records).map_err(io::Error::other);
    let Written { bytes, flushed } =
        outbox.flush_sealed(&mut &*socket, seal, workspace, spares, now)?;
    Ok((bytes, flushed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{CloseCode, CloseFrame, Message};

    /// A socket that accepts `room` bytes.
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

    /// A socket that reports a reset once `room` bytes were accepted.
    struct Reset(Kernel);

    impl Write for Reset {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes).map_err(|_| ErrorKind::ConnectionReset.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Test records: the length, then the plaintext.
    fn seal(plain: &[u8], records: &mut [u8]) -> io::Result<usize> {
        records[..4].copy_from_slice(&(plain.len() as u32).to_be_bytes());
        records[4..][..plain.len()].copy_from_slice(plain);
        Ok(4 + plain.len())
    }

    /// The plaintext of test records, and the length of each.
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
    fn each_batch_is_filled_from_all_chunks() {
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
    fn records_go_first_and_only_one_batch_is_sealed_ahead() {
        let (mut outbox, mut spares) = (Outbox::default(), SpareQueues::default());
        for _ in 0..1000 {
            outbox.push_message(&mut spares, Message::Binary(&[2; 996]), None);
        }
        let mut kernel = Kernel { room: 30_000, taken: Vec::new() };
        let written = flush(&mut outbox, &mut kernel, &mut spares);
        assert_eq!(written, Written { bytes: 30_000, flushed: Flushed::Blocked });
        assert_eq!(outbox.bytes(), 1_000_000 + 4 - 30_000);
        assert!(outbox.blocked_since().is_some());

        // Plaintext can be dropped, and a pong or an alert is inserted at its place.
        outbox.push_pong(&mut spares, b"pong", None);
        outbox.push_sealed(&mut spares, &[0, 0, 0, 5, b'a', b'l', b'e', b'r', b't']);
        let dropped = outbox.drop_unsent(&mut spares);
        let close = CloseFrame::new(CloseCode::TRY_AGAIN_LATER, "");
        outbox.push_close(&mut spares, Some(close), None);
        // The frame at the end of the batch is completed, later ones are dropped.
        let started = SEAL_BYTES.div_ceil(1000);
        assert_eq!(dropped, 1000 - started as u64);

        kernel.room = usize::MAX;
        assert_eq!(flush(&mut outbox, &mut kernel, &mut spares).flushed, Flushed::Empty);
        let (plain, lens) = open(&kernel.taken);
        assert_eq!(lens[..2], [SEAL_BYTES, 5]);
        assert_eq!(plain.len(), started * 1000 + 5 + 4);
        assert_eq!(plain[SEAL_BYTES..][..5], *b"alert");
        assert_eq!(plain[plain.len() - 4..], [0x88, 2, 0x03, 0xF5]);
    }

    #[test]
    fn a_failed_write_removes_exactly_the_bytes_that_it_sealed() {
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
            // A partly accepted batch is kept, and fails with the next flush.
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
    fn only_records_survive_cut_to_sealed() {
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
