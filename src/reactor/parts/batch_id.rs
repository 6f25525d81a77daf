//! The id of a batch: a byte for each topic and connection, and for none.

use std::num::NonZeroU8;

/// Names one batch, counted from 1: a connection has a byte for it, and for none. So there are at most
/// 255, which bounds what they hold: see `BATCH_BYTES_MAX` and `STRAYS_KEPT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchId(pub(crate) NonZeroU8);

const _: () = assert!(size_of::<Option<BatchId>>() == 1);

impl BatchId {
    pub(crate) fn index(self) -> usize {
        usize::from(self.0.get()) - 1
    }
}
