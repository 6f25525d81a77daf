//! The tables: one fjall keyspace each, opened with the same settings.
//!
//! fjall's own memtable rotation stalls for good under many small commits (fjall-rs/fjall#323). So it is
//! switched off, and the writer rotates by its own byte counts ([`Growth`]).

use std::path::Path;

use fjall::config::BlockSizePolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

/// A table of the store. Keys are big-endian; `key.rs` builds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// serial: record
    Event,
    /// id: serial, created_at, kind, flags
    Id,
    /// order: id, kind, flags
    Time,
    /// pubkey, order: kind, flags
    Author,
    /// pubkey, kind, order: kind, flags
    AuthorKind,
    /// kind, order: kind, flags
    Kind,
    /// letter, value, order: kind, flags
    Tag,
    /// pubkey, kind, hash of d: serial, created_at, id, flags
    Newest,
    /// expiration, serial: nothing
    Expires,
    /// id, deleter: created_at of the deletion
    Deleted,
    /// kind, pubkey, hash of d: created_at of the deletion
    DeletedAddress,
    /// pubkey: time, progress of the removal
    Vanished,
    /// id: record of the request to vanish
    VanishRequest,
    /// list, entry: reason (management)
    List,
    /// schema, totals
    Meta,
}

impl Table {
    /// All tables, in the order of their declaration.
    pub const ALL: [Table; 15] = [
        Table::Event,
        Table::Id,
        Table::Time,
        Table::Author,
        Table::AuthorKind,
        Table::Kind,
        Table::Tag,
        Table::Newest,
        Table::Expires,
        Table::Deleted,
        Table::DeletedAddress,
        Table::Vanished,
        Table::VanishRequest,
        Table::List,
        Table::Meta,
    ];

    /// The name on disk and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Table::Event => "event",
            Table::Id => "id",
            Table::Time => "time",
            Table::Author => "author",
            Table::AuthorKind => "author_kind",
            Table::Kind => "kind",
            Table::Tag => "tag",
            Table::Newest => "newest",
            Table::Expires => "expires",
            Table::Deleted => "deleted",
            Table::DeletedAddress => "deleted_address",
            Table::Vanished => "vanished",
            Table::VanishRequest => "vanish_request",
            Table::List => "list",
            Table::Meta => "meta",
        }
    }
}

/// Blocks that fit one page of the disk: most reads are of one record.
const BLOCK_BYTES: u32 = 4 * 1024;
/// The cache of blocks, for all tables.
const CACHE_BYTES: u64 = 256 * 1024 * 1024;
/// The default of 512 MiB means 12 s of replay after a crash.
const JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// One thread flushes while another one compacts.
const WORKERS: usize = 2;
/// Open files of the database, at most; part of the descriptor reserve.
pub const CACHED_FILES: usize = 256;
/// A table's memtable is flushed at this size.
const MEMTABLE_BYTES: u64 = 8 * 1024 * 1024;
/// What an entry of a memtable costs beside its key and value.
const ENTRY_OVERHEAD_BYTES: u64 = 64;

/// The open database.
pub(super) struct Tables {
    database: Database,
    /// Invariant: one per table, in the order of `Table::ALL`.
    keyspaces: Vec<Keyspace>,
}

impl Tables {
    pub(super) fn open(path: &Path) -> fjall::Result<Tables> {
        let database = Database::builder(path)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .max_cached_files(Some(CACHED_FILES))
            .worker_threads(WORKERS)
            .open()?;
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(u64::MAX)
                .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
        };
        let keyspaces = Table::ALL
            .iter()
            .map(|table| database.keyspace(table.name(), options))
            .collect::<fjall::Result<_>>()?;
        Ok(Tables { database, keyspaces })
    }

    pub(super) fn of(&self, table: Table) -> &Keyspace {
        &self.keyspaces[table as usize]
    }

    pub(super) fn snapshot(&self) -> fjall::Snapshot {
        self.database.snapshot()
    }

    /// Writes what the operating system buffers of earlier commits to the disk.
    pub(super) fn sync(&self) -> fjall::Result<()> {
        self.database.persist(PersistMode::SyncData)
    }

    /// Memtables that wait to be flushed.
    pub(super) fn outstanding_flushes(&self) -> usize {
        self.database.outstanding_flushes()
    }

    /// Bytes of memtables, flushed or not yet flushed.
    pub(super) fn memtable_bytes(&self) -> u64 {
        self.database.write_buffer_size()
    }

    /// Bytes on disk of one table, without journals.
    pub(super) fn disk_bytes(&self, table: Table) -> u64 {
        self.of(table).disk_space()
    }

    /// Bytes on disk of everything.
    pub(super) fn disk_bytes_of_all(&self) -> fjall::Result<u64> {
        self.database.disk_space()
    }
}

/// One transaction, and what it adds to each memtable.
pub(super) struct Transaction<'a> {
    tables: &'a Tables,
    batch: OwnedWriteBatch,
    added: Growth,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(tables: &'a Tables, synced: bool) -> Transaction<'a> {
        let mode = if synced { PersistMode::SyncData } else { PersistMode::Buffer };
        let batch = tables.database.batch().durability(Some(mode));
        Transaction { tables, batch, added: Growth::default() }
    }

    /// A key may enter a transaction only once: both writes would have the same version.
    pub(super) fn insert(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.added.add(table, key.len() + value.len());
        self.batch.insert(self.tables.of(table), key, value);
    }

    pub(super) fn remove(&mut self, table: Table, key: &[u8]) {
        self.added.add(table, key.len());
        self.batch.remove(self.tables.of(table), key);
    }

    pub(super) fn commit(self) -> fjall::Result<Growth> {
        self.batch.commit()?;
        Ok(self.added)
    }
}

/// Bytes added to each table's memtable since it was last rotated.
#[derive(Clone, Debug, Default)]
pub(super) struct Growth([u64; Table::ALL.len()]);

impl Growth {
    fn add(&mut self, table: Table, bytes: usize) {
        self.0[table as usize] += bytes as u64 + ENTRY_OVERHEAD_BYTES;
    }

    /// Adds the growth of a commit, and rotates the memtables that are full. The commit is on disk already, so
    /// a failure only means that the memtable grows on.
    pub(super) fn rotate(&mut self, committed: &Growth, tables: &Tables) {
        for table in Table::ALL {
            let bytes = &mut self.0[table as usize];
            *bytes += committed.0[table as usize];
            if *bytes < MEMTABLE_BYTES {
                continue;
            }
            match tables.of(table).rotate_memtable() {
                Ok(_) => *bytes = 0,
                Err(error) => {
                    log::warn!("memtable of {} not flushed: {error:?}", table.name());
                }
            }
        }
    }
}
