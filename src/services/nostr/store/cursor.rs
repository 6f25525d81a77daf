//! A cursor: the entries of one source, newest first, read ahead in growing portions.
//!
//! Seeking costs more than reading on, so a cursor reads ahead, and its entries survive the end of a slice. An entry
//! may then be of an event that is gone: the record says so.

use std::collections::VecDeque;

use super::error::StoreError;
use super::key::{NewestValue, Order, TIME_END, read_index_value};
use super::meter::{ENTRY_STEPS, Meter, RECORD_STEPS, SEEK_STEPS};
use super::plan::{Planned, Source};
use super::shared::Snapshot;
use super::tables::Table;
use crate::services::nostr::event::EventId;

/// Entries that a cursor reads at once: first, second, from then on.
const READ_AHEAD: [usize; 3] = [16, 64, 256];

/// An index entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) order: Order,
    pub(super) kind: u16,
    pub(super) flags: u8,
}

/// A source and a position in it.
#[derive(Debug)]
pub(super) struct Cursor {
    planned: Planned,
    /// Entries from here on are to be read. Behind the buffer's last one.
    from: Order,
    /// The last order that the filter's `since` allows.
    end: Order,
    buffer: VecDeque<Entry>,
    /// Ids of the buffer's entries. Invariant: empty, or as long as the buffer (`time` only).
    ids: VecDeque<EventId>,
    /// Index into `READ_AHEAD`.
    ahead: usize,
    /// Keys of a point source that have been read.
    keys_read: usize,
    is_exhausted: bool,
}

impl Cursor {
    /// With the bounds of `since` and `until`, which are inclusive.
    pub(super) fn new(planned: Planned, since: Option<u64>, until: Option<u64>) -> Cursor {
        Cursor {
            planned,
            from: until.map_or(Order::first_at(u64::MAX), Order::first_at),
            end: since.map_or(Order::END, Order::last_at),
            buffer: VecDeque::new(),
            ids: VecDeque::new(),
            ahead: 0,
            keys_read: 0,
            // No event is that late.
            is_exhausted: since.is_some_and(|since| since >= TIME_END),
        }
    }

    pub(super) fn filter(&self) -> usize {
        self.planned.filter
    }

    pub(super) fn is_decisive(&self) -> bool {
        self.planned.is_decisive
    }

    /// The next entry's order; `None`: the buffer is empty.
    pub(super) fn head(&self) -> Option<Order> {
        self.buffer.front().map(|entry| entry.order)
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.is_exhausted && self.buffer.is_empty()
    }

    /// Takes the next entry, and its id if the index has it.
    pub(super) fn pop(&mut self) -> Option<(Entry, Option<EventId>)> {
        let entry = self.buffer.pop_front()?;
        Some((entry, self.ids.pop_front()))
    }

    /// Reads ahead. Returns whether it is done: the buffer has entries, or the cursor is exhausted. Points
    /// may need several slices.
    pub(super) fn refill(
        &mut self,
        snapshot: &Snapshot<'_>,
        meter: &mut Meter,
    ) -> Result<bool, StoreError> {
        if self.is_exhausted {
            return Ok(true);
        }
        match &self.planned.source {
            Source::Range(..) => self.read_range(snapshot, meter).map(|()| true),
            Source::Ids(_) | Source::Newest(_) => self.read_points(snapshot, meter),
        }
    }

    fn read_range(&mut self, snapshot: &Snapshot<'_>, meter: &mut Meter) -> Result<(), StoreError> {
        let Source::Range(table, prefix) = &self.planned.source else {
            return Ok(());
        };
        let portion = READ_AHEAD[self.ahead];
        self.ahead = (self.ahead + 1).min(READ_AHEAD.len() - 1);
        meter.spend(SEEK_STEPS);
        self.is_exhausted = true;
        if self.from > self.end {
            return Ok(());
        }
        let start = [prefix, &self.from.bytes()[..]].concat();
        let end = [prefix, &self.end.bytes()[..]].concat();
        for entry in snapshot.range(*table, &start, &end) {
            let (key, value) = entry.into_inner()?;
            meter.spend(ENTRY_STEPS);
            let order = Order::of_key(&key)?;
            let (kind, flags) = read_index_value(&value)?;
            self.buffer.push_back(Entry { order, kind, flags });
            if *table == Table::Time {
                let id = value.first_chunk().ok_or(StoreError::Corrupt("index value"))?;
                self.ids.push_back(*id);
            }
            self.from = order.next();
            if self.buffer.len() == portion {
                self.is_exhausted = false;
                break;
            }
        }
        Ok(())
    }

    /// Reads all points: only then they can be sorted.
    fn read_points(
        &mut self,
        snapshot: &Snapshot<'_>,
        meter: &mut Meter,
    ) -> Result<bool, StoreError> {
        let count = match &self.planned.source {
            Source::Range(..) => 0,
            Source::Ids(ids) => ids.len(),
            Source::Newest(keys) => keys.len(),
        };
        while self.keys_read < count {
            if meter.is_empty() {
                return Ok(false);
            }
            meter.spend(RECORD_STEPS);
            if let Some(entry) = read_point(&self.planned.source, self.keys_read, snapshot)?
                && (self.from..=self.end).contains(&entry.order)
            {
                self.buffer.push_back(entry);
            }
            self.keys_read += 1;
        }
        self.buffer.make_contiguous().sort_unstable_by_key(|entry| entry.order);
        self.is_exhausted = true;
        Ok(true)
    }

    /// Frees the entries that were read ahead. They are read again.
    pub(super) fn park(&mut self) {
        if let Some(entry) = self.buffer.front() {
            let is_partial = self.keys_read > 0 && !self.is_exhausted;
            if !is_partial {
                self.from = entry.order;
            }
            self.is_exhausted = false;
        }
        self.keys_read = 0;
        self.ahead = 0;
        self.buffer = VecDeque::new();
        self.ids = VecDeque::new();
    }

    /// Memory of the cursor.
    pub(super) fn bytes(&self) -> usize {
        let source = match &self.planned.source {
            Source::Range(_, prefix) => prefix.capacity(),
            Source::Ids(ids) => ids.capacity() * 32,
            Source::Newest(keys) => keys.iter().map(|key| key.capacity() + 24).sum(),
        };
        size_of::<Cursor>()
            + source
            + self.buffer.capacity() * size_of::<Entry>()
            + self.ids.capacity() * 32
    }
}

fn read_point(
    source: &Source,
    index: usize,
    snapshot: &Snapshot<'_>,
) -> Result<Option<Entry>, StoreError> {
    match source {
        Source::Range(..) => Ok(None),
        Source::Ids(ids) => {
            let id = &ids[index];
            Ok(snapshot.id_value(id)?.map(|value| Entry {
                order: Order::new(value.created_at, id, value.serial),
                kind: value.kind,
                flags: value.flags,
            }))
        }
        Source::Newest(keys) => {
            let key = &keys[index];
            let Some(value) = snapshot.get(Table::Newest, key)? else {
                return Ok(None);
            };
            let NewestValue { serial, created_at, id, flags } = NewestValue::read(&value)?;
            // A replaceable event's key ends with its kind.
            let kind = key.last_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes));
            Ok(Some(Entry { order: Order::new(created_at, &id, serial), kind, flags }))
        }
    }
}
