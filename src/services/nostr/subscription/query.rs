//! What the relay gets for a request and for the end of a scan.

use std::sync::{Arc, Weak};

use crate::services::nostr::event::Event;
use crate::services::nostr::filter::Filter;
use crate::services::nostr::live::LiveKey;
use crate::services::nostr::message::SubscriptionId;

/// Identifies a scan for a subscription. Numbers are not reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct QueryId {
    pub(super) key: LiveKey,
    pub(super) number: u64,
}

/// Whether a scan is still wanted: for the thread that scans. The subscription may end or be replaced
/// at any time.
#[derive(Debug, Clone)]
pub(crate) struct Lease(pub(super) Weak<()>);

impl Lease {
    /// Whether the subscription still waits for this scan.
    pub(crate) fn is_valid(&self) -> bool {
        self.0.strong_count() > 0
    }
}

/// A scan to be started.
#[derive(Debug)]
pub(crate) struct Query {
    /// For the pages and the end of the scan.
    pub id: QueryId,
    /// For the thread that scans.
    pub lease: Lease,
}

/// What follows from a request.
#[derive(Debug)]
pub(crate) enum Opened {
    /// A scan for stored events.
    Scan(Query),
    /// None, since each filter has `limit` 0: EOSE is sent at once.
    Live,
}

/// What follows from the end of a scan.
#[derive(Debug)]
pub(crate) struct Ended<C> {
    /// The connection of the subscription.
    pub conn: C,
    /// Its id.
    pub id: SubscriptionId,
    /// Whether EOSE is sent before `events`: not after a catch-up scan.
    pub eose: bool,
    /// The events announced during the scan, to be sent now. The relay checks for each that it has not
    /// expired meanwhile and that the connection may see it.
    pub events: Vec<Arc<Event>>,
    /// A further scan, for events that the ring has lost. Its pages follow `events`.
    pub catch_up: Option<CatchUp>,
}

/// A scan by serial. Its end is reported like that of the first scan.
#[derive(Debug)]
pub(crate) struct CatchUp {
    /// The scan.
    pub query: Query,
    /// The filters of the subscription.
    pub filters: Arc<[Filter]>,
    /// It returns events with greater serials than this one.
    pub after: u64,
}
