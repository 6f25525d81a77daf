//! What the loop and the thread of the log exchange.

use std::sync::atomic::{AtomicBool, AtomicU64};

use super::entry::Entry;

/// What the thread receives.
#[derive(Debug)]
pub(super) enum Mail {
    Entry(Box<Entry>),
    /// [`Shared::reopens`] may be set.
    Wake,
}

/// Counts of the log, and a request to its thread.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Lines written since the start.
    pub(super) written: AtomicU64,
    /// Events lost since the start.
    pub(super) lost: AtomicU64,
    /// The sequence of the last line.
    pub(super) sequence: AtomicU64,
    /// Whether to open the file again before the next line.
    pub(super) reopens: AtomicBool,
}
