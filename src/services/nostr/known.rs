//! What the checks of an event know from a store: stored events and vanished authors (row 12). Commands
//! have no lists.

use super::event::{Event, EventId, PublicKey, Signature};
use super::refusal::Refusal;
use super::store::Snapshot;
use super::verify::{Known, Lists};

/// What the store knows. If it cannot be read, the event counts as new: the writer checks again.
pub(super) struct Stored<'a>(pub(super) &'a Snapshot<'a>);

impl Known for Stored<'_> {
    fn signature(&self, id: &EventId) -> Option<Signature> {
        self.0.known(id).ok().flatten()
    }

    fn is_vanished(&self, author: &PublicKey, created_at: u64) -> bool {
        self.0.is_vanished(author, created_at).unwrap_or(false)
    }
}

/// The lists of the relay's configuration do not apply to a command.
pub(super) struct NoLists;

impl Lists for NoLists {
    fn refusal(&self, _: &Event) -> Option<Refusal> {
        None
    }
}
