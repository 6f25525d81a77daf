//! Whether the store can take events: room on the disk, and a database that flushes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::store::{DiskFree, Writer};

/// How long the number of memtables that wait to be flushed may not fall: then the database stalls.
const STALL: Duration = Duration::from_secs(30);

/// Free bytes that a disk must have.
#[derive(Debug, Clone)]
pub(super) struct DiskRoom {
    pub(super) directory: PathBuf,
    pub(super) bytes_min: u64,
    pub(super) disk_free: DiskFree,
}

/// The state of the store as the writer sees it between commits.
#[derive(Debug)]
pub(super) struct Health {
    room: Option<DiskRoom>,
    /// Memtables that waited, and since when there have been as many.
    flushes: (usize, Instant),
    /// What was reported last.
    reported: Result<(), String>,
}

impl Health {
    /// `None`: the room of the disk is not checked.
    pub(super) fn new(room: Option<DiskRoom>, now: Instant) -> Health {
        Health { room, flushes: (0, now), reported: Ok(()) }
    }

    /// The store was opened again: its state has been reported.
    pub(super) fn forget(&mut self) {
        self.reported = Ok(());
    }

    /// The state, if it has changed.
    pub(super) fn changed(&mut self, writer: &Writer, now: Instant) -> Option<Result<(), String>> {
        let state = self.check_room().and_then(|()| self.check_flushes(writer, now));
        if state == self.reported {
            return None;
        }
        self.reported = state;
        Some(self.reported.clone())
    }

    fn check_room(&self) -> Result<(), String> {
        let Some(DiskRoom { directory, bytes_min, disk_free }) = &self.room else {
            return Ok(());
        };
        match disk_free(directory) {
            Ok(free) if free < *bytes_min => {
                Err(format!("the disk has {free} free bytes, less than {bytes_min}"))
            }
            // A disk whose room is unknown is written to: a failed write is reported.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn check_flushes(&mut self, writer: &Writer, now: Instant) -> Result<(), String> {
        let waiting = writer.outstanding_flushes().unwrap_or(0);
        let (before, since) = self.flushes;
        if waiting == 0 || waiting < before {
            self.flushes = (waiting, now);
            return Ok(());
        }
        self.flushes = (waiting, since);
        match now.duration_since(since) > STALL {
            true => Err(format!("the store does not flush {waiting} memtables")),
            false => Ok(()),
        }
    }
}
