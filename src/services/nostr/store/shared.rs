//! The open store: shared by its readers and its only writer.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use fjall::{Readable as _, Slice};

use super::error::{OpenError, StoreError};
use super::key::{IdValue, read_integer, serial_key};
use super::progress::DeletionProgress;
use super::record::Record;
use super::tables::{Table, Tables, Transaction};
use crate::services::nostr::event::{EventId, Fields as _, PublicKey, Signature};

/// Version of the tables' layout.
const SCHEMA: u32 = 1;
const SCHEMA_KEY: &[u8] = b"schema";
const TOTALS_KEY: &[u8] = b"totals";
/// The database's folder in the directory of the store.
const DATABASE: &str = "events";
/// Locked while the store is open. fjall has a lock as well, but releases it when it is opened again.
const LOCK: &str = "LOCK";

/// Authors whose events are being removed, and the time up to which (NIP-62).
pub type Vanishing = HashMap<PublicKey, u64>;

/// Numbers that each commit updates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The newest serial.
    pub last: u64,
    /// Bytes of records and index entries, before compression.
    pub live_bytes: u64,
    /// Stored events.
    pub events: u64,
}

impl Totals {
    fn read(value: &[u8]) -> Result<Totals, StoreError> {
        let value: &[u8; 24] = value.try_into().map_err(|_| StoreError::Corrupt("totals"))?;
        let number = |at: usize| read_integer(&value[at..at + 8]);
        Ok(Totals { last: number(0), live_bytes: number(8), events: number(16) })
    }

    pub(super) fn write(&self, transaction: &mut Transaction<'_>) {
        let numbers = [self.last, self.live_bytes, self.events].map(u64::to_be_bytes);
        transaction.insert(Table::Meta, TOTALS_KEY, &numbers.concat());
    }
}

/// A store of events, for any number of readers. Clones share it.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    directory: PathBuf,
    /// `None` while it cannot be opened again.
    tables: RwLock<Option<Tables>>,
    vanishing: RwLock<Arc<Vanishing>>,
    /// Locked while the store exists; the kernel unlocks it when the process ends.
    _lock: File,
}

impl Store {
    /// Opens the store in `directory`, or creates it.
    pub(super) fn open(directory: &Path) -> Result<Store, OpenError> {
        let unusable = |error| OpenError::Directory(directory.to_owned(), error);
        fs::create_dir_all(directory).map_err(unusable)?;
        let lock = File::create(directory.join(LOCK)).map_err(unusable)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::Locked(directory.to_owned()),
            TryLockError::Error(error) => unusable(error),
        })?;
        let failed = |error: StoreError| OpenError::Database(directory.to_owned(), error);
        let tables = Tables::open(&directory.join(DATABASE)).map_err(|error| match error {
            fjall::Error::Locked => OpenError::Locked(directory.to_owned()),
            fjall::Error::Io(error) => unusable(error),
            error => failed(error.into()),
        })?;
        let schema = read_schema(&tables).map_err(failed)?;
        if schema > SCHEMA {
            return Err(OpenError::NewerSchema(directory.to_owned(), schema));
        }
        Ok(Store(Arc::new(Shared {
            directory: directory.to_owned(),
            tables: RwLock::new(Some(tables)),
            vanishing: RwLock::default(),
            _lock: lock,
        })))
    }

    /// Whether there is a store in `directory`.
    pub(crate) fn exists(directory: &Path) -> bool {
        directory.join(DATABASE).is_dir()
    }

    /// The directory of the store.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// The store as it is now. Keep it for one slice of work: it prevents opening the database again. A thread
    /// must not take a second one meanwhile, since the writer may be waiting between them.
    pub fn snapshot(&self) -> Result<Snapshot<'_>, StoreError> {
        let tables = self.0.tables.read().unwrap_or_else(PoisonError::into_inner);
        let snapshot = tables.as_ref().ok_or(StoreError::Closed)?.snapshot();
        Ok(Snapshot { snapshot, tables })
    }

    /// Authors whose events are being removed: scans and live delivery skip what [`Vanishing`] names.
    pub fn vanishing(&self) -> Arc<Vanishing> {
        Arc::clone(&self.0.vanishing.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_vanishing(&self, vanishing: Vanishing) {
        *self.0.vanishing.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(vanishing);
    }

    fn tables_mut(&self) -> RwLockWriteGuard<'_, Option<Tables>> {
        self.0.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the database and opens it again, when no reader has a snapshot.
    pub(super) fn reopen(&self) -> Result<(), StoreError> {
        let mut tables = self.tables_mut();
        drop(tables.take());
        *tables = Some(Tables::open(&self.0.directory.join(DATABASE))?);
        Ok(())
    }
}

/// Reads the schema, and writes it to a new store.
fn read_schema(tables: &Tables) -> Result<u32, StoreError> {
    match tables.snapshot().get(tables.of(Table::Meta), SCHEMA_KEY)? {
        Some(value) => Ok(read_integer(&value) as u32),
        None => {
            let mut transaction = Transaction::new(tables, true);
            transaction.insert(Table::Meta, SCHEMA_KEY, &SCHEMA.to_be_bytes());
            transaction.commit()?;
            Ok(SCHEMA)
        }
    }
}

/// The store at one moment.
pub struct Snapshot<'a> {
    snapshot: fjall::Snapshot,
    /// Invariant: not `None`.
    tables: RwLockReadGuard<'a, Option<Tables>>,
}

impl Snapshot<'_> {
    pub(super) fn tables(&self) -> &Tables {
        self.tables.as_ref().expect("a snapshot is only made of an open database")
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Slice>, StoreError> {
        Ok(self.snapshot.get(self.tables().of(table), key)?)
    }

    pub(super) fn contains(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.snapshot.contains_key(self.tables().of(table), key)?)
    }

    /// Entries with `start` ≤ key ≤ `end`.
    pub(super) fn range(&self, table: Table, start: &[u8], end: &[u8]) -> fjall::Iter {
        self.snapshot.range(self.tables().of(table), start..=end)
    }

    pub(super) fn prefix(&self, table: Table, prefix: &[u8]) -> fjall::Iter {
        self.snapshot.prefix(self.tables().of(table), prefix)
    }

    /// The numbers that each commit updates.
    pub fn totals(&self) -> Result<Totals, StoreError> {
        self.get(Table::Meta, TOTALS_KEY)?
            .map_or(Ok(Totals::default()), |value| Totals::read(&value))
    }

    /// The deletion request that is not carried out completely.
    pub(super) fn deletion(&self) -> Result<Option<DeletionProgress>, StoreError> {
        let value = self.get(Table::Meta, DeletionProgress::KEY)?;
        value.map(|value| DeletionProgress::read(&value)).transpose()
    }

    /// The newest serial.
    pub fn last_serial(&self) -> Result<u64, StoreError> {
        Ok(self.totals()?.last)
    }

    pub(super) fn record(&self, serial: u64) -> Result<Option<Record>, StoreError> {
        let bytes = self.get(Table::Event, &serial_key(serial))?;
        bytes.map(|bytes| Record::decode(serial, bytes)).transpose()
    }

    pub(super) fn id_value(&self, id: &EventId) -> Result<Option<IdValue>, StoreError> {
        self.get(Table::Id, id)?.map(|value| IdValue::read(&value)).transpose()
    }

    /// The stored event with this id; expired and restricted ones, too.
    pub fn by_id(&self, id: &EventId) -> Result<Option<Record>, StoreError> {
        match self.id_value(id)? {
            Some(value) => self.record(value.serial),
            None => Ok(None),
        }
    }

    /// The signature with which an event was stored; requests to vanish are included.
    pub fn known(&self, id: &EventId) -> Result<Option<Signature>, StoreError> {
        if let Some(record) = self.by_id(id)? {
            return Ok(Some(record.head().sig));
        }
        let request = self.get(Table::VanishRequest, id)?;
        let record = request.map(|bytes| Record::decode(0, bytes)).transpose()?;
        Ok(record.map(|record| record.head().sig))
    }

    /// Up to which time this author has vanished (NIP-62).
    pub fn vanished_until(&self, pubkey: &PublicKey) -> Result<Option<u64>, StoreError> {
        let value = self.get(Table::Vanished, pubkey)?;
        Ok(value.map(|value| read_integer(value.get(..5).unwrap_or_default())))
    }

    /// Whether this author's events of that time are refused (NIP-62).
    pub fn is_vanished(&self, pubkey: &PublicKey, created_at: u64) -> Result<bool, StoreError> {
        Ok(self.vanished_until(pubkey)?.is_some_and(|time| created_at <= time))
    }
}

/// Whether the event is of a vanishing author, or a gift wrap to one.
pub(super) fn is_vanishing(record: &Record, vanishing: &Vanishing) -> bool {
    if vanishing.is_empty() {
        return false;
    }
    let names =
        |pubkey: &PublicKey| vanishing.get(pubkey).is_some_and(|time| record.created_at() <= *time);
    names(record.pubkey())
        || (record.kind() == crate::services::nostr::event::KIND_GIFT_WRAP
            && super::index::recipients(record.tags()).any(|pubkey| names(&pubkey)))
}
