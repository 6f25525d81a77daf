//! Parts of an HTTP body or a message. Several of them can share the bytes of a part.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A part of a message or of an HTTP [`Body`](crate::protocol::handshake::Body), whose bytes other
/// messages or bodies may share.
#[derive(Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of this part alone.
    Own(Cow<'static, [u8]>),
    /// Bytes that any number of parts share. They are queued without a copy, and the loop counts
    /// them once, however many connections they are queued for.
    Shared(Arc<[u8]>),
    /// Like [`Piece::Shared`], for large bytes that have a buffer of their own already: an
    /// `Arc<[u8]>` would be a second copy of them.
    SharedBox(Arc<Box<[u8]>>),
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Piece::Own(bytes) => bytes,
            Piece::Shared(bytes) => bytes,
            Piece::SharedBox(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for Piece {
    fn from(bytes: Vec<u8>) -> Piece {
        Piece::Own(bytes.into())
    }
}

impl From<&'static [u8]> for Piece {
    fn from(bytes: &'static [u8]) -> Piece {
        Piece::Own(bytes.into())
    }
}

impl From<Arc<[u8]>> for Piece {
    fn from(bytes: Arc<[u8]>) -> Piece {
        Piece::Shared(bytes)
    }
}

impl From<Arc<Box<[u8]>>> for Piece {
    fn from(bytes: Arc<Box<[u8]>>) -> Piece {
        Piece::SharedBox(bytes)
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Piece::Own(bytes) => write!(f, "Own({} bytes)", bytes.len()),
            Piece::Shared(_) | Piece::SharedBox(_) => write!(f, "Shared({} bytes)", self.len()),
        }
    }
}
