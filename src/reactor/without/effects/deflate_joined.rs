//! Stands in for `effects/deflate_joined.rs` without the feature `deflate`: nothing is compressed.

use crate::protocol::{BatchCounts, DeflateTerms, FrameBatch, SharedTail};
use crate::reactor::api::id::ConnId;
use crate::reactor::api::outcome::SendOutcome;
use crate::reactor::conn::connection::Connection;
use crate::reactor::core::Core;

impl Core {
    pub(crate) fn send_joined_deflated(
        &mut self,
        _: ConnId,
        _: &[u8],
        _: &SharedTail,
    ) -> Option<SendOutcome> {
        None
    }

    pub(crate) fn deflate_terms(&self, _: ConnId) -> Option<DeflateTerms> {
        None
    }

    pub(crate) fn can_inflate(_: &Connection, _: &FrameBatch) -> bool {
        true
    }

    pub(crate) fn note_deflated_batch(&mut self, _: ConnId, _: BatchCounts) {}
}
