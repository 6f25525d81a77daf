//! What the commands on a store need: export, delete, stat. Import is [`Writer::commit`].

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::batch::{Batch, Place};
use super::error::StoreError;
use super::key::{Order, read_index_value};
use super::merge::{Merge, Next};
use super::meter::{Budget, ENTRY_STEPS, Meter, RECORD_STEPS};
use super::record::Record;
use super::shared::{Snapshot, Store, Totals, is_vanishing};
use super::sweep::{SWEEP_STEPS, Swept};
use super::tables::Table;
use super::visibility::Visibility;
use super::writer::Writer;
use crate::services::nostr::filter::Filter;

/// All served events, in slices: restricted ones and deletion requests included.
pub struct Export {
    filter: Filter,
    newest_first: bool,
    /// The next order at which to go on.
    position: Option<Order>,
}

impl Export {
    /// The matching events, oldest first unless `newest_first`. `limit` has no effect.
    pub fn new(filter: Filter, newest_first: bool) -> Export {
        Export { filter, newest_first, position: None }
    }

    /// Runs one slice. Returns whether the export goes on. `now` is the Unix time in seconds.
    pub fn slice(
        &mut self,
        store: &Store,
        budget: Budget,
        now: u64,
        sink: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<bool, StoreError> {
        let mut meter = Meter::new(budget);
        let snapshot = store.snapshot()?;
        let vanishing = store.vanishing();
        let start = Order::first_at(self.filter.until().unwrap_or(u64::MAX));
        let end = Order::last_at(self.filter.since().unwrap_or(0));
        let (start, end) = match (self.position, self.newest_first) {
            (Some(position), true) => (position, end),
            (Some(position), false) => (start, position),
            (None, _) => (start, end),
        };
        if start > end {
            return Ok(false);
        }
        let mut entries = snapshot.range(Table::Time, start.bytes(), end.bytes());
        while let Some(entry) = if self.newest_first { entries.next() } else { entries.next_back() }
        {
            let (key, value) = entry.into_inner()?;
            let order = Order::of_key(&key)?;
            if meter.is_empty() {
                self.position = Some(order);
                return Ok(true);
            }
            meter.spend(ENTRY_STEPS);
            let (kind, _) = read_index_value(&value)?;
            if self.filter.kinds().is_some_and(|kinds| kinds.binary_search(&kind).is_err()) {
                continue;
            }
            meter.spend(RECORD_STEPS);
            let Some(record) = snapshot.record(order.serial())? else {
                continue;
            };
            let is_served = self.filter.matches(&record)
                && !record.is_expired(now)
                && !is_vanishing(&record, &vanishing);
            if is_served && sink(&record).is_break() {
                self.position = Some(self.behind(order));
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn behind(&self, order: Order) -> Order {
        if self.newest_first { order.next() } else { order.previous() }
    }
}

/// A deletion by filter, in steps. `limit` and `search` have no effect.
pub struct Delete {
    filter: [Filter; 1],
    merge: Merge,
}

impl Delete {
    /// All matching events: no tombstones stay.
    pub fn new(filter: Filter) -> Delete {
        let filter = [filter];
        let merge = Merge::new(&filter, &Visibility::all());
        Delete { filter, merge }
    }
}

impl Delete {
    /// Calls `each` with the serials of the next matching events, at most 500. Returns whether there
    /// may be more.
    fn step(
        &mut self,
        snapshot: &Snapshot<'_>,
        each: &mut dyn FnMut(u64) -> Result<(), StoreError>,
    ) -> Result<Swept, StoreError> {
        let mut meter = Meter::new(Budget::default());
        let mut removed = 0;
        while removed < SWEEP_STEPS {
            match self.merge.next(snapshot, &mut meter)? {
                Next::OutOfBudget => break,
                Next::End => return Ok(Swept { removed, more: false }),
                Next::Event(entry, _) => {
                    meter.spend(RECORD_STEPS);
                    let serial = entry.order.serial();
                    let record = snapshot.record(serial)?;
                    if record.is_some_and(|record| self.filter[0].matches(&record)) {
                        each(serial)?;
                        removed += 1;
                    }
                }
            }
        }
        Ok(Swept { removed, more: true })
    }

    /// What [`Writer::delete`] would do next.
    pub fn count(&mut self, store: &Store) -> Result<Swept, StoreError> {
        self.step(&store.snapshot()?, &mut |_| Ok(()))
    }
}

impl Writer {
    /// Removes the next matching events, at most 500.
    pub fn delete(&mut self, delete: &mut Delete) -> Result<Swept, StoreError> {
        let store = self.store.clone();
        let snapshot = store.snapshot()?;
        let mut batch = Batch::new(&snapshot);
        let swept = delete.step(&snapshot, &mut |serial| batch.remove(Place::Stored(serial)))?;
        self.write(batch)?;
        Ok(swept)
    }
}

/// Numbers about a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// What each commit updates.
    pub totals: Totals,
    /// Bytes on disk, by table.
    pub table_bytes: Vec<(Table, u64)>,
    /// Bytes on disk of tables and journals.
    pub disk_bytes: u64,
    /// Bytes of memtables.
    pub memtable_bytes: u64,
}

impl Store {
    /// Cheap numbers: nothing is scanned.
    pub fn stat(&self) -> Result<Stat, StoreError> {
        let snapshot = self.snapshot()?;
        let tables = snapshot.tables();
        Ok(Stat {
            totals: snapshot.totals()?,
            table_bytes: Table::ALL.map(|table| (table, tables.disk_bytes(table))).to_vec(),
            disk_bytes: tables.disk_bytes_of_all()?,
            memtable_bytes: tables.memtable_bytes(),
        })
    }

    /// Bytes on disk by table, in the order of [`Table::ALL`], without journals.
    pub fn table_bytes(&self) -> Result<[u64; Table::ALL.len()], StoreError> {
        let snapshot = self.snapshot()?;
        Ok(Table::ALL.map(|table| snapshot.tables().disk_bytes(table)))
    }

    /// Events by kind. Reads the whole index of kinds.
    pub fn events_by_kind(&self) -> Result<BTreeMap<u16, u64>, StoreError> {
        let snapshot = self.snapshot()?;
        let mut kinds = BTreeMap::new();
        for entry in snapshot.prefix(Table::Kind, &[]) {
            let key = entry.key()?;
            let kind = key.first_chunk().ok_or(StoreError::Corrupt("index key"))?;
            *kinds.entry(u16::from_be_bytes(*kind)).or_default() += 1;
        }
        Ok(kinds)
    }
}
