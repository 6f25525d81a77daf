//! The id of a batch, in one byte. [`batch`](crate::reactor::conn::batch) owns the batches.

use std::num::NonZeroU8;

/// Identifies one batch, counted from 1, so that an `Option` takes one byte of a connection. There
/// are at most 255 batches, which bounds their memory: see `BATCH_BYTES_MAX` and
/// `INDIVIDUALS_KEPT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchId(pub(crate) NonZeroU8);

const _: () = assert!(size_of::<Option<BatchId>>() == 1);

impl BatchId {
    pub(crate) fn index(self) -> usize {
        usize::from(self.0.get()) - 1
    }
}
