//! The store: blocks on disk, in a directory that only one process uses at a time.
//!
//! When [`Store::append`] has returned, its blocks are on disk, whatever happens to the process or
//! the machine afterwards. If it is interrupted, none of them is. Blocks that leave the chain are
//! removed in the same transaction that writes their replacements.
//!
//! After a disk error redb refuses all further work, reads included. So the database is closed and
//! opened again: at once for reads, and by [`Store::recover`] for writes. The directory stays
//! locked meanwhile.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::{Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::record::Record;
use crate::services::rpc::wire::hex::Word;

/// Blocks by number, as JSON.
const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");
/// Numbers of blocks by hash.
const HASHES: TableDefinition<'_, [u8; 32], u64> = TableDefinition::new("hashes");
/// Block and index of transactions by hash.
const TRANSACTIONS: TableDefinition<'_, [u8; 32], (u64, u32)> =
    TableDefinition::new("transactions");
/// The chain id.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const CHAIN_ID: &str = "chain_id";
/// The file name of the database in the data directory.
const FILE: &str = "chain.redb";
/// The name of a file that is written and removed to check whether the disk has room. That is
/// cheaper than the repair of a database that found no room.
const PROBE: &str = "probe";
/// The size of that file: room for many blocks.
const PROBE_BYTES: usize = 1024 * 1024;

/// The store cannot be opened, read or written.
#[derive(Debug)]
pub enum StoreError {
    /// Another process uses the directory.
    Locked,
    /// The directory holds another chain, with this id.
    OtherChain(u64),
    /// The directory or its lock file cannot be used.
    Directory(io::Error),
    /// The database failed.
    Database(redb::Error),
    /// A stored block is not valid JSON.
    Corrupt(serde_json::Error),
    /// The last block is not the one that was written last.
    OtherBlocks,
    /// The database failed before, and has to be opened again.
    Failed,
    /// The database is closed after a disk error, and will be opened again.
    Closed,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Locked => f.write_str("another process is using this data directory"),
            StoreError::OtherChain(id) => write!(f, "this data directory holds chain {id:#x}"),
            StoreError::Directory(error) => error.fmt(f),
            StoreError::Database(error) => error.fmt(f),
            StoreError::Corrupt(error) => write!(f, "a stored block is malformed: {error}"),
            StoreError::OtherBlocks => f.write_str("its last block is not the one written last"),
            StoreError::Failed => f.write_str("it failed before"),
            StoreError::Closed => f.write_str("it is being opened again"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StoreError::Directory(error) => Some(error),
            StoreError::Database(error) => Some(error),
            StoreError::Corrupt(error) => Some(error),
            StoreError::Locked
            | StoreError::OtherChain(_)
            | StoreError::OtherBlocks
            | StoreError::Failed
            | StoreError::Closed => None,
        }
    }
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> StoreError {
        match error.into() {
            redb::Error::PreviousIo => StoreError::Failed,
            error => StoreError::Database(error),
        }
    }
}

/// The blocks of one chain.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    chain_id: u64,
    /// `None` while it cannot be opened again.
    database: RwLock<Option<Database>>,
    /// Locked while the store exists; the kernel unlocks it when the process ends.
    _lock: File,
}

impl Store {
    /// Opens the store in `directory`, or creates it.
    pub(super) fn open(directory: &Path, chain_id: u64) -> Result<Store, StoreError> {
        fs::create_dir_all(directory).map_err(StoreError::Directory)?;
        let lock = File::create(directory.join("LOCK")).map_err(StoreError::Directory)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::Locked,
            TryLockError::Error(error) => StoreError::Directory(error),
        })?;
        // A killed process may have left it.
        let _ = fs::remove_file(directory.join(PROBE));
        let file = directory.join(FILE);
        if !file.try_exists().map_err(StoreError::Directory)? {
            create(directory, &file, chain_id)?;
        }
        let database = Database::open(file)?;
        prepare(&database, chain_id)?;
        let directory = directory.to_owned();
        Ok(Store { directory, chain_id, database: RwLock::new(Some(database)), _lock: lock })
    }

    /// Makes the database writable again after [`Store::append`] has failed. If that fails, too, it
    /// is still readable if the disk allows that.
    pub(super) fn recover(&self) -> Result<(), StoreError> {
        if self.slot().is_none() {
            self.reopen()?;
        }
        self.check_room()?;
        let prepared = prepare(self.slot().as_ref().ok_or(StoreError::Closed)?, self.chain_id);
        prepared.inspect_err(|_| self.reopen_for_reads())
    }

    /// Closes the database and opens it again. Snapshots that are in use can prevent that.
    fn reopen(&self) -> Result<(), StoreError> {
        drop(self.slot_mut().take());
        let database = Database::open(self.directory.join(FILE))?;
        *self.slot_mut() = Some(database);
        Ok(())
    }

    fn reopen_for_reads(&self) {
        if let Err(error) = self.reopen() {
            log::debug!("the store cannot be read: {error}");
        }
    }

    fn check_room(&self) -> Result<(), StoreError> {
        let path = self.directory.join(PROBE);
        let write =
            |mut file: File| file.write_all(&[0; PROBE_BYTES]).and_then(|()| file.sync_all());
        let written = File::create(&path).and_then(write);
        let removed = fs::remove_file(&path);
        written.and(removed).map_err(StoreError::Directory)
    }

    fn slot(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot_mut(&self) -> RwLockWriteGuard<'_, Option<Database>> {
        self.database.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes these blocks, in the order of their numbers, the end of the chain. Stored blocks with
    /// the number of the first one or a higher number are removed. All or nothing.
    pub(super) fn append(&self, blocks: &[Record]) -> Result<(), StoreError> {
        // After a failure the database refuses reads, too.
        self.write(blocks).inspect_err(|_| self.reopen_for_reads())
    }

    fn write(&self, blocks: &[Record]) -> Result<(), StoreError> {
        let Some(first) = blocks.first() else {
            return Ok(());
        };
        let slot = self.slot();
        let transaction = slot.as_ref().ok_or(StoreError::Closed)?.begin_write()?;
        {
            let mut table = transaction.open_table(BLOCKS)?;
            let mut hashes = transaction.open_table(HASHES)?;
            let mut transactions = transaction.open_table(TRANSACTIONS)?;
            let stale: Vec<Record> = table
                .range(first.number..)?
                .map(|entry| read(entry?.1.value()))
                .collect::<Result<_, _>>()?;
            for block in stale {
                table.remove(block.number)?;
                hashes.remove(block.hash.0)?;
                for stored in &block.transactions {
                    transactions.remove(stored.hash.0)?;
                }
            }
            for block in blocks {
                let json = serde_json::to_vec(block).map_err(StoreError::Corrupt)?;
                table.insert(block.number, &*json)?;
                hashes.insert(block.hash.0, block.number)?;
                for (index, stored) in block.transactions.iter().enumerate() {
                    transactions.insert(stored.hash.0, (block.number, index as u32))?;
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// A snapshot for reads.
    pub(super) fn read(&self) -> Result<Snapshot, StoreError> {
        Ok(Snapshot(self.slot().as_ref().ok_or(StoreError::Closed)?.begin_read()?))
    }
}

/// The blocks at one moment, whatever is written meanwhile.
pub(super) struct Snapshot(ReadTransaction);

impl Snapshot {
    /// The numbers of the first and the last block; `None` in an empty store.
    pub(super) fn numbers(&self) -> Result<Option<RangeInclusive<u64>>, StoreError> {
        let table = self.0.open_table(BLOCKS)?;
        let (first, last) = (table.first()?, table.last()?);
        Ok(first.zip(last).map(|((first, _), (last, _))| first.value()..=last.value()))
    }

    /// The last block.
    pub(super) fn last(&self) -> Result<Option<Record>, StoreError> {
        let table = self.0.open_table(BLOCKS)?;
        let last = table.last()?;
        last.map(|(_, json)| read(json.value())).transpose()
    }

    /// A block by its number.
    pub(super) fn block(&self, number: u64) -> Result<Option<Record>, StoreError> {
        let table = self.0.open_table(BLOCKS)?;
        table.get(number)?.map(|json| read(json.value())).transpose()
    }

    /// A block by its hash.
    pub(super) fn block_by_hash(&self, hash: Word) -> Result<Option<Record>, StoreError> {
        let number = self.0.open_table(HASHES)?.get(hash.0)?.map(|number| number.value());
        number.map_or(Ok(None), |number| self.block(number))
    }

    /// The block of a transaction, and its index there.
    pub(super) fn transaction(&self, hash: Word) -> Result<Option<(Record, usize)>, StoreError> {
        let place = self.0.open_table(TRANSACTIONS)?.get(hash.0)?.map(|place| place.value());
        let Some((number, index)) = place else {
            return Ok(None);
        };
        Ok(self.block(number)?.map(|block| (block, index as usize)))
    }

    /// Passes blocks to `visit`, in the order of their numbers, until it returns false.
    pub(super) fn scan(
        &self,
        numbers: RangeInclusive<u64>,
        mut visit: impl FnMut(Record) -> bool,
    ) -> Result<(), StoreError> {
        let table = self.0.open_table(BLOCKS)?;
        for entry in table.range(numbers)? {
            if !visit(read(entry?.1.value())?) {
                break;
            }
        }
        Ok(())
    }
}

/// Creates an empty store, under another name first: if the process is killed meanwhile, the next
/// one creates it again.
fn create(directory: &Path, file: &Path, chain_id: u64) -> Result<(), StoreError> {
    let unfinished = directory.join("chain.redb.new");
    let removed = fs::remove_file(&unfinished);
    removed.or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(StoreError::Directory(error)),
    })?;
    let database = Database::create(&unfinished)?;
    prepare(&database, chain_id)?;
    drop(database);
    let renamed = fs::rename(&unfinished, file);
    // The file name has to survive a power failure, too.
    renamed.and_then(|()| File::open(directory)?.sync_all()).map_err(StoreError::Directory)
}

/// Writes to the database: creates missing tables, and checks the chain id.
fn prepare(database: &Database, chain_id: u64) -> Result<(), StoreError> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        let stored = meta.get(CHAIN_ID)?.map(|id| id.value());
        if let Some(id) = stored.filter(|&id| id != chain_id) {
            return Err(StoreError::OtherChain(id));
        }
        meta.insert(CHAIN_ID, chain_id)?;
        transaction.open_table(BLOCKS)?;
        transaction.open_table(HASHES)?;
        transaction.open_table(TRANSACTIONS)?;
    }
    transaction.commit()?;
    Ok(())
}

fn read(json: &[u8]) -> Result<Record, StoreError> {
    serde_json::from_slice(json).map_err(StoreError::Corrupt)
}
