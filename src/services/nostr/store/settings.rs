//! Settings of the store.

use std::io;
use std::ops::RangeInclusive;
use std::path::Path;

use crate::services::nostr::event::PublicKey;

/// Free bytes of the file system that holds a path.
pub type DiskFree = fn(&Path) -> io::Result<u64>;

/// When a commit is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// Before it returns: fdatasync for each commit.
    #[default]
    Commit,
    /// At the next [`Writer::sync`](super::Writer::sync): a power loss takes what came after it.
    Interval,
}

/// Events that are removed at an age.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionRule {
    /// Kinds; empty: all.
    pub kinds: Vec<RangeInclusive<u16>>,
    /// Authors; empty: all.
    pub authors: Vec<PublicKey>,
    /// Seconds since created_at.
    pub age: u64,
}

/// Settings of a store.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct StoreSettings {
    /// When a commit is on disk.
    pub sync: Sync,
    /// Rules of retention; an event goes if any of them names it.
    pub retention: Vec<RetentionRule>,
    /// Live bytes above which the oldest regular events are removed.
    pub store_max: Option<u64>,
    /// Free bytes of the disk below which events are refused; 0: off.
    pub disk_free_min: u64,
    /// Reads the free bytes. `None`: `disk_free_min` has no effect.
    pub disk_free: Option<DiskFree>,
}
