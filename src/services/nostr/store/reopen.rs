//! Opening the database again after a failed write: fjall refuses all writes until then.

use std::fs::{self, File};
use std::io::Write as _;
use std::sync::Arc;

use super::error::StoreError;
use super::key::{read_integer, serial_key};
use super::record::Record;
use super::tables::{Growth, Table};
use super::vanish;
use super::writer::Writer;
use crate::services::nostr::event::Event;

/// A file that is written and removed to check whether the disk has room. That is cheaper than opening a
/// database that finds no room.
const PROBE: &str = "probe";
/// Room for a large batch, and for what opening writes.
const PROBE_BYTES: usize = 8 * 1024 * 1024;

impl Writer {
    /// Makes the store writable again after a failed commit or sweep. Waits until no reader has a snapshot.
    /// After an error the store can be read as before, unless opening itself failed.
    ///
    /// Returns events of the failed batch that are stored nevertheless, with their serials: the database
    /// may find them in its journal. They have not been acknowledged or sent.
    pub fn reopen(&mut self) -> Result<Vec<(u64, Arc<Event>)>, StoreError> {
        self.probe()?;
        self.store.reopen()?;
        self.growth = Growth::default();
        let store = self.store.clone();
        let snapshot = store.snapshot()?;
        let mut totals = snapshot.totals()?;
        self.deletion = snapshot.deletion()?;
        self.store.set_vanishing(vanish::load(&snapshot)?);
        let mut found = Vec::new();
        for entry in snapshot.range(Table::Event, &serial_key(self.reported + 1), &[0xff; 6]) {
            let (key, value) = entry.into_inner()?;
            let serial = read_integer(&key);
            found.push((serial, Arc::new(Record::decode(serial, value)?.to_event())));
        }
        // Serials are given only once. An error above leaves the totals, so that the next attempt finds the
        // events again.
        totals.last = totals.last.max(self.totals.last);
        self.totals = totals;
        self.reported = totals.last;
        Ok(found)
    }

    fn probe(&self) -> Result<(), StoreError> {
        let path = self.store.directory().join(PROBE);
        let written = File::create(&path).and_then(|mut file| {
            let zeros = [0; 64 * 1024];
            for _ in 0..PROBE_BYTES / zeros.len() {
                file.write_all(&zeros)?;
            }
            file.sync_all()
        });
        let removed = fs::remove_file(&path);
        written.and(removed).map_err(StoreError::Directory)
    }
}
