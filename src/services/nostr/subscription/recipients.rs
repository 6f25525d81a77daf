//! The subscriptions that get an announced event.

use super::state::Subscription;
use crate::services::nostr::live::{LiveIndex, LiveKey};
use crate::services::nostr::message::SubscriptionId;

/// The subscriptions that get an event, grouped by their id: members of a group get equal messages.
#[derive(Debug)]
pub(crate) struct Recipients<'a, C> {
    pub(super) live: &'a LiveIndex<Subscription<C>>,
    pub(super) found: &'a [(u64, LiveKey)],
    pub(super) waiting: usize,
}

impl<'a, C: Copy> Recipients<'a, C> {
    /// How many subscriptions get the event now.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether no subscription gets the event now.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How many subscriptions match, and wait for their scan.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Each subscription id, and the connections that get the event under it.
    pub(crate) fn groups(
        &self,
    ) -> impl Iterator<Item = (&'a SubscriptionId, impl ExactSizeIterator<Item = C>)> {
        let live = self.live;
        let groups = self.found.chunk_by(|(left_hash, left), (right_hash, right)| {
            // Hashes of different ids may be equal.
            left_hash == right_hash && live[*left].id == live[*right].id
        });
        groups.map(move |group| {
            let conns = group.iter().map(move |(_, key)| live[*key].conn);
            (&live[group[0].1].id, conns)
        })
    }
}
