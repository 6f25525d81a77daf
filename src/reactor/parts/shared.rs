//! Buffers shared by several outboxes: encoded frames, and pieces of HTTP bodies.
//!
//! A buffer counts once, from the first outbox that refers to it until the last one drops its
//! reference, whoever else holds it. Outboxes make no call to uncount: [`Shared`] counts by its own
//! lifetime.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use crate::protocol::Piece;
use crate::reactor::api::budget::SHARE_BYTES_MIN;

/// A counted buffer.
pub(crate) struct Shared {
    bytes: Bytes,
    buffers: Rc<Buffers>,
}

/// A reference to the bytes, of the type that their creator uses.
#[derive(Clone)]
pub(crate) enum Bytes {
    Frame(Rc<[u8]>),
    Piece(Arc<[u8]>),
    BoxedPiece(Arc<Box<[u8]>>),
}

/// The sum of the buffers that the outboxes of one loop refer to. Clones share the count.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedSum(Rc<Buffers>);

#[derive(Default)]
struct Buffers {
    held: Cell<usize>,
    /// By the address of the bytes, which is unique while the buffer lives.
    by_address: RefCell<HashMap<usize, Weak<Shared>>>,
}

impl SharedSum {
    /// Bytes of all buffers that an outbox refers to.
    #[inline(always)]
    pub(crate) fn held(&self) -> usize {
        self.0.held.get()
    }

    /// Counts a buffer while the result or a clone of it lives. A buffer that counts already is not
    /// counted twice.
    pub(crate) fn hold(&self, bytes: Bytes) -> Rc<Shared> {
        let mut by_address = self.0.by_address.borrow_mut();
        let known = by_address.entry(bytes.address()).or_default();
        known.upgrade().unwrap_or_else(|| {
            self.0.held.set(self.0.held.get() + bytes.len());
            let shared = Rc::new(Shared { bytes, buffers: Rc::clone(&self.0) });
            *known = Rc::downgrade(&shared);
            shared
        })
    }
}

impl Bytes {
    /// A reference to a shared piece. `None` if it is not shared, or so small that a copy of it
    /// costs less.
    pub(crate) fn of_piece(piece: &Piece) -> Option<Bytes> {
        match piece {
            _ if piece.len() < SHARE_BYTES_MIN => None,
            Piece::Own(_) => None,
            Piece::Shared(bytes) => Some(Bytes::Piece(Arc::clone(bytes))),
            Piece::SharedBox(bytes) => Some(Bytes::BoxedPiece(Arc::clone(bytes))),
        }
    }

    fn address(&self) -> usize {
        self.as_ptr().addr()
    }
}

impl Deref for Bytes {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Frame(bytes) => bytes,
            Bytes::Piece(bytes) => bytes,
            Bytes::BoxedPiece(bytes) => bytes,
        }
    }
}

impl Deref for Shared {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let Buffers { held, by_address } = &*self.buffers;
        debug_assert!(held.get() >= self.len(), "more shared bytes released than counted");
        held.set(held.get().saturating_sub(self.len()));
        by_address.borrow_mut().remove(&self.bytes.address());
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({} bytes)", self.len())
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.held.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_counts_once_while_an_outbox_holds_it() {
        let sum = SharedSum::default();
        let (frame, piece): (Rc<[u8]>, Arc<[u8]>) = ([1; 600].into(), [2; 1000].into());
        let first = sum.hold(Bytes::Frame(Rc::clone(&frame)));
        let second = sum.hold(Bytes::Frame(Rc::clone(&frame)));
        assert!(Rc::ptr_eq(&first, &second));
        assert_eq!(sum.held(), 600);
        let third = sum.hold(Bytes::Piece(Arc::clone(&piece)));
        assert_eq!((sum.held(), sum.clone().held()), (1600, 1600));
        drop(first);
        assert_eq!((sum.held(), &second[..2]), (1600, &[1, 1][..]));
        drop((second, third));
        assert_eq!((sum.held(), sum.0.by_address.borrow().len()), (0, 0));
        // The creator may queue it again.
        let again = sum.hold(Bytes::Frame(frame));
        assert_eq!(sum.held(), 600);
        drop(again);
        assert_eq!(sum.held(), 0);
    }

    #[test]
    fn large_shared_pieces_are_held_where_they_are() {
        let sum = SharedSum::default();
        let bytes = vec![1; SHARE_BYTES_MIN].into_boxed_slice();
        let address = bytes.as_ptr();
        let boxed: Piece = Arc::new(bytes).into();
        let [one, other] = [&boxed, &boxed.clone()].map(|piece| {
            let bytes = Bytes::of_piece(piece).unwrap();
            assert_eq!(bytes.as_ptr(), address);
            sum.hold(bytes)
        });
        assert!(Rc::ptr_eq(&one, &other));
        assert_eq!((sum.held(), one.as_ptr()), (SHARE_BYTES_MIN, address));
        let slice: Piece = Arc::<[u8]>::from(vec![1; SHARE_BYTES_MIN]).into();
        assert_eq!(Bytes::of_piece(&slice).unwrap().as_ptr(), slice.as_ptr());
        let small = vec![1; SHARE_BYTES_MIN - 1].into_boxed_slice();
        for copied in [Piece::from(Arc::new(small)), vec![1; SHARE_BYTES_MIN].into()] {
            assert!(Bytes::of_piece(&copied).is_none(), "{copied:?}");
        }
    }

    #[test]
    fn each_loop_has_its_own_count() {
        let (one, other) = (SharedSum::default(), SharedSum::default());
        let frame: Rc<[u8]> = [1; 600].into();
        let held = one.hold(Bytes::Frame(Rc::clone(&frame)));
        let also = other.hold(Bytes::Frame(frame));
        assert_eq!((one.held(), other.held()), (600, 600));
        drop(held);
        assert_eq!((one.held(), other.held()), (0, 600));
        drop(also);
        assert_eq!(other.held(), 0);
    }

    #[test]
    #[cfg_attr(
        debug_assertions,
        should_panic(expected = "more shared bytes released than counted")
    )]
    fn releasing_more_than_is_counted_never_wraps() {
        let sum = SharedSum::default();
        let shared = sum.hold(Bytes::Frame([1; 600].into()));
        sum.0.held.set(599);
        drop(shared);
        assert_eq!(sum.held(), 0);
    }
}
