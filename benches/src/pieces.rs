//! An endless in-memory stream: one message repeated, in the same parts.
//!
//! Each read returns one part, or as much of it as fits, at the cost of a copy, which stands for
//! the kernel's. Written bytes are discarded.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How a message is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Not split.
    Whole,
    /// In the middle.
    InTwo,
    /// At every byte.
    Bytewise,
}

/// An endless in-memory stream.
#[derive(Debug, Clone)]
pub struct Pieces {
    wire: Vec<u8>,
    piece_bytes: usize,
    at: usize,
}

impl Pieces {
    /// A stream that repeats `wire`.
    pub fn new(wire: Vec<u8>, cut: Cut) -> Pieces {
        let piece_bytes = match cut {
            Cut::Whole => wire.len(),
            Cut::InTwo => wire.len().div_ceil(2),
            Cut::Bytewise => 1,
        };
        Pieces { wire, piece_bytes, at: 0 }
    }

    /// The next bytes, at most `room`.
    fn next(&mut self, room: usize) -> &[u8] {
        let begin = self.at;
        let piece_end = (begin / self.piece_bytes + 1) * self.piece_bytes;
        let end = piece_end.min(self.wire.len()).min(begin + room);
        self.at = if end == self.wire.len() { 0 } else { end };
        &self.wire[begin..end]
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let piece = self.next(into.len());
        into[..piece.len()].copy_from_slice(piece);
        Ok(piece.len())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = into.remaining();
        into.put_slice(self.get_mut().next(room));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
