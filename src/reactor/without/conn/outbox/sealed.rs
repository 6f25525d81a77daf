//! Stands in for `conn/outbox/sealed.rs` without the feature `tls`: no outbox holds records.

/// No records.
#[derive(Debug, Default)]
pub(super) struct Sealed;

impl Sealed {
    pub(super) fn len(&self) -> usize {
        0
    }

    pub(super) fn capacity(&self) -> usize {
        0
    }
}
