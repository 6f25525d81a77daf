//! What both sides of a synchronisation can do.

use std::fmt;

use crate::services::nostr::event::EventId;

/// Ids of one request for events, and events in one batch that is stored or sent.
pub const BATCH_EVENTS: usize = 500;
/// Events of the local side that are compared, 40 bytes each.
pub const ITEMS_MAX: usize = 10_000_000;
/// Why a synchronisation ended early. Events that were copied before stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncError(String);

impl SyncError {
    pub(super) fn new(text: impl Into<String>) -> SyncError {
        SyncError(text.into())
    }
}

impl fmt::Display for SyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SyncError {}

/// An event as JSON, and its id.
pub(super) type Fetched = (EventId, String);

/// A side that has events.
pub(super) trait Side {
    /// Time and id of all events that match the filter.
    fn items(&mut self, filter: &str) -> Result<Vec<(u64, EventId)>, SyncError>;
    /// These events, as far as it still has them; at most [`BATCH_EVENTS`].
    fn fetch(&mut self, ids: &[EventId]) -> Result<Vec<Fetched>, SyncError>;
    /// Stores events; returns how many were accepted.
    fn put(&mut self, events: Vec<Fetched>) -> Result<usize, SyncError>;
}
