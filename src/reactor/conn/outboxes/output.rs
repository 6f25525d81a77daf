//! Read-only access to a connection's outbox.
//!
//! Only [`Outboxes`](super::Outboxes) changes an outbox, so that batch and ledger stay correct.

use std::ops::Deref;

use crate::reactor::conn::outbox::Outbox;

/// The outbox of one connection. Anything may read it; only
/// [`Outboxes::change`](super::Outboxes::change) changes it.
#[derive(Debug)]
pub(crate) struct Output(pub(super) Outbox);

impl Output {
    pub(crate) fn empty() -> Output {
        Output(Outbox::default())
    }
}

impl Deref for Output {
    type Target = Outbox;

    #[inline(always)]
    fn deref(&self) -> &Outbox {
        &self.0
    }
}
