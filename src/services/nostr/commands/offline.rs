//! [`OfflineStore`]: the store of a relay that does not run, and the commands on it but the import.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use crate::services::nostr::filter::Filter;
use crate::services::nostr::settings::RelaySettings;
use crate::services::nostr::signature::KeyCache;
use crate::services::nostr::store::{
    self, Budget, CheckReport, Delete, DiskFree, Export, OpenError, Record, Stat, Store,
    StoreError, StoreSettings, Swept, Sync, Writer,
};
use crate::services::nostr::ticket::unix_seconds;

/// Bytes of events that are written at once.
const EXPORT_BUFFER_BYTES: usize = 64 * 1024;

/// The store of a relay that does not run.
pub struct OfflineStore {
    pub(super) settings: RelaySettings,
    pub(super) store: Store,
    pub(super) writer: Writer,
}

/// The numbers of `weir relay stat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStat {
    /// Events and bytes.
    pub stat: Stat,
    /// Events by kind.
    pub kinds: BTreeMap<u16, u64>,
}

impl OfflineStore {
    /// Opens the store of the relay with these settings.
    ///
    /// # Errors
    /// There is no store; a running relay uses it; a newer version has written it; it cannot be read or
    /// written.
    pub fn open(
        settings: RelaySettings,
        disk_free: Option<DiskFree>,
    ) -> Result<OfflineStore, OpenError> {
        let (store, writer) = store::open_existing(&settings.data_dir, settings.store(disk_free))?;
        Ok(OfflineStore { settings, store, writer })
    }

    /// Opens or creates the store of the relay with these settings, for an import: its events are on disk
    /// when it ends.
    ///
    /// # Errors
    /// As [`OfflineStore::open`], except that there may be no store.
    pub fn open_or_create(
        settings: RelaySettings,
        disk_free: Option<DiskFree>,
    ) -> Result<OfflineStore, OpenError> {
        let of_store = StoreSettings { sync: Sync::Interval, ..settings.store(disk_free) };
        let (store, writer) = store::open(&settings.data_dir, of_store)?;
        Ok(OfflineStore { settings, store, writer })
    }

    /// Writes the matching events that the relay serves, one JSON object per line, oldest first unless
    /// `newest_first`: the first ones in this order if the filter has a `limit`. Returns their number.
    ///
    /// # Errors
    /// The store cannot be read, or `out` cannot be written.
    pub fn export(
        &self,
        filter: Filter,
        newest_first: bool,
        out: &mut dyn Write,
    ) -> Result<u64, ExportError> {
        let limit = filter.limit().map_or(u64::MAX, |limit| limit as u64);
        let mut export = Export::new(filter, newest_first);
        let mut out = BufWriter::with_capacity(EXPORT_BUFFER_BYTES, out);
        let (mut line, mut count, mut written) = (Vec::new(), 0, Ok(()));
        let mut more = true;
        while more && count < limit && written.is_ok() {
            let mut write = |record: &Record| {
                line.clear();
                record.write_json(&mut line);
                line.push(b'\n');
                written = out.write_all(&line);
                count += 1;
                match written.is_ok() && count < limit {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            };
            more = export.slice(&self.store, Budget::default(), unix_seconds(), &mut write)?;
        }
        written.and_then(|()| out.flush()).map_err(ExportError::Output)?;
        Ok(count)
    }

    /// Removes all events that match. They may come again: no deletion request is left behind. `limit`
    /// has no effect. Returns the number of removed events.
    ///
    /// # Errors
    /// The store cannot be read or written. Events that were removed before stay removed.
    pub fn delete(&mut self, filter: Filter) -> Result<u64, StoreError> {
        let writer = &mut self.writer;
        sum(Delete::new(filter), |delete| writer.delete(delete))
    }

    /// How many events [`OfflineStore::delete`] would remove.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn count_deletion(&self, filter: Filter) -> Result<u64, StoreError> {
        sum(Delete::new(filter), |delete| delete.count(&self.store))
    }

    /// Compares every record with every index, both ways; with `verify`, also each id and signature with
    /// the event.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn check(&self, verify: bool) -> Result<CheckReport, StoreError> {
        let mut keys = KeyCache::default();
        store::check(&self.store, &mut |record| {
            if !verify {
                return None;
            }
            let event = record.to_event();
            if !event.has_valid_id() {
                return Some("the id is not the hash of the event".to_owned());
            }
            (!keys.verifies(&event)).then(|| "the signature is wrong".to_owned())
        })
    }

    /// Numbers about the store. Reads the index of kinds.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn stat(&self) -> Result<StoreStat, StoreError> {
        Ok(StoreStat { stat: self.store.stat()?, kinds: self.store.events_by_kind()? })
    }
}

/// Runs all steps of a deletion; returns the number of its events.
fn sum(
    mut delete: Delete,
    mut step: impl FnMut(&mut Delete) -> Result<Swept, StoreError>,
) -> Result<u64, StoreError> {
    let mut removed = 0;
    loop {
        let swept = step(&mut delete)?;
        removed += swept.removed as u64;
        if !swept.more {
            return Ok(removed);
        }
    }
}

impl fmt::Debug for OfflineStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfflineStore").field("data_dir", &self.settings.data_dir).finish()
    }
}

/// Why an export ended early.
#[derive(Debug)]
pub enum ExportError {
    /// The store cannot be read.
    Store(StoreError),
    /// The events cannot be written.
    Output(io::Error),
}

impl From<StoreError> for ExportError {
    fn from(error: StoreError) -> ExportError {
        ExportError::Store(error)
    }
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExportError::Store(error) => write!(f, "the store cannot be read: {error}"),
            ExportError::Output(error) => write!(f, "the events cannot be written: {error}"),
        }
    }
}

impl std::error::Error for ExportError {}
