//! Room on the disk: below `disk_free_min` events are refused, and removals go on down to a quarter of it.

use std::path::Path;

use super::settings::{DiskFree, StoreSettings};

/// What may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// All events.
    Everything,
    /// Deletion requests, requests to vanish, and removals.
    Removals,
    /// Nothing.
    Nothing,
}

impl Allowed {
    pub(super) fn allows(self, is_removal: bool) -> bool {
        match self {
            Allowed::Everything => true,
            Allowed::Removals => is_removal,
            Allowed::Nothing => false,
        }
    }
}

/// Reads the free bytes at most once a second.
#[derive(Debug)]
pub(super) struct Room {
    disk_free: Option<DiskFree>,
    min_bytes: u64,
    checked: Option<(u64, Allowed)>,
}

impl Room {
    pub(super) fn new(settings: &StoreSettings) -> Room {
        let min_bytes = settings.disk_free_min;
        let disk_free = settings.disk_free.filter(|_| min_bytes > 0);
        Room { disk_free, min_bytes, checked: None }
    }

    pub(super) fn check(&mut self, directory: &Path, now: u64) -> Allowed {
        let Some(disk_free) = self.disk_free else {
            return Allowed::Everything;
        };
        if let Some((at, allowed)) = self.checked
            && at == now
        {
            return allowed;
        }
        // A disk whose room is unknown is written to: a failed write is handled, too.
        let free = disk_free(directory).unwrap_or(u64::MAX);
        let allowed = if free >= self.min_bytes {
            Allowed::Everything
        } else if free >= self.min_bytes / 4 {
            Allowed::Removals
        } else {
            Allowed::Nothing
        };
        self.checked = Some((now, allowed));
        allowed
    }
}
