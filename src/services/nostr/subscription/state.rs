//! The state of one subscription.

use std::sync::Arc;

use crate::services::nostr::message::SubscriptionId;

#[derive(Debug)]
pub(super) struct Subscription<C> {
    pub(super) conn: C,
    pub(super) id: SubscriptionId,
    pub(super) id_hash: u64,
    pub(super) phase: Phase,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// A scan runs or waits. Announced events are noted.
    Scanning(Box<Scanning>),
    /// Announced events are sent, except those of commits up to `floor`, which the scan returned.
    Live { floor: u64 },
    /// Its connection has ended. It stays in the live index until its values are removed.
    Ended,
}

#[derive(Debug)]
pub(super) struct Scanning {
    pub(super) number: u64,
    /// Dropped with the scan: the scanning thread holds the other end.
    pub(super) _lease: Arc<()>,
    /// Whether this is the catch-up scan.
    pub(super) is_catch_up: bool,
    /// The number in the ring of the next event when the scan was requested.
    pub(super) since: u64,
    /// The number of the first announced event that matched since then.
    pub(super) missed: Option<u64>,
    /// How many ephemeral events matched since then.
    pub(super) ephemeral: u64,
}

impl<C> Subscription<C> {
    /// Its scan, unless it is live.
    pub(super) fn scanning(&self) -> Option<&Scanning> {
        match &self.phase {
            Phase::Scanning(scanning) => Some(scanning),
            Phase::Live { .. } | Phase::Ended => None,
        }
    }
}
