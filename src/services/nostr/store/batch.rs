//! A batch: what one transaction will change, over a snapshot of what is stored.
//!
//! A transaction does not read its own writes, so lookups go through overlays of what the batch did before.
//! A key enters a transaction once: keys with a serial are unique, and the overlays hold the last value of
//! all others.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::error::StoreError;
use super::index::{for_each_entry, live_bytes, newest_key_of, newest_key_of_event, recipients};
use super::key::{
    IdValue, NewestValue, deleted_address_key, deleted_key, read_integer, serial_key, time_value,
};
use super::progress::{DeletionProgress, Progress};
use super::record::{Record, encode, flags_of};
use super::shared::{Snapshot, Totals};
use super::tables::{Table, Transaction};

use crate::services::nostr::event::{
    Event, EventId, Fields, Head, KIND_DELETION, KIND_GIFT_WRAP, KIND_VANISH, PublicKey,
};
use crate::services::nostr::tags::Address;

/// Where an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the store, under this serial.
    Stored(u64),
    /// Added by this batch, in this slot.
    Added(usize),
}

/// The newest version of a replaceable or addressable event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Newest {
    pub(super) place: Place,
    pub(super) created_at: u64,
    pub(super) id: EventId,
}

/// The events of a batch that are stored, by slot, with their serials; `None`: removed by a later one.
pub(super) type Stored = Vec<Option<(u64, Arc<Event>)>>;

/// What a written batch has changed.
pub(super) struct Written {
    pub(super) totals: Totals,
    pub(super) stored: Stored,
    /// The deletion request that is carried out from now on, if that changes.
    pub(super) deletion: Option<Option<DeletionProgress>>,
}

/// What a batch changes about the deletion request that is carried out in steps.
#[derive(Clone, Copy, Debug)]
enum DeletionChange {
    /// The request in this slot is to be carried out.
    Starts(usize),
    /// The steps have come so far; `None`: to the end.
    Comes(Option<DeletionProgress>),
}

/// The changes of one transaction.
pub(super) struct Batch<'a> {
    snapshot: &'a Snapshot<'a>,
    /// Events that will be stored; `None`: removed again by a later event of the batch.
    added: Vec<Option<Arc<Event>>>,
    /// Stored events that will be removed, by serial. Their records are read again while they are
    /// written: a deletion request may name thousands of large ones.
    removed: BTreeMap<u64, EventId>,
    /// `None`: in the store, and removed by the batch, or in neither.
    ids: HashMap<EventId, Option<Place>>,
    newest: HashMap<Vec<u8>, Option<Newest>>,
    deleted: HashMap<[u8; 64], u64>,
    deleted_addresses: HashMap<[u8; 66], u64>,
    vanished: HashMap<PublicKey, Progress>,
    requests: HashMap<EventId, Arc<Event>>,
    deletion: Option<DeletionChange>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(snapshot: &'a Snapshot<'a>) -> Batch<'a> {
        Batch {
            snapshot,
            added: Vec::new(),
            removed: BTreeMap::new(),
            ids: HashMap::new(),
            newest: HashMap::new(),
            deleted: HashMap::new(),
            deleted_addresses: HashMap::new(),
            vanished: HashMap::new(),
            requests: HashMap::new(),
            deletion: None,
        }
    }

    pub(super) fn snapshot(&self) -> &'a Snapshot<'a> {
        self.snapshot
    }

    /// Whether the batch changes nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.added.iter().all(Option::is_none)
            && self.removed.is_empty()
            && self.deleted.is_empty()
            && self.deleted_addresses.is_empty()
            && self.vanished.is_empty()
            && self.requests.is_empty()
            && self.deletion.is_none()
    }

    /// Number of stored events that the batch removes.
    pub(super) fn removals(&self) -> usize {
        self.removed.len()
    }

    /// Stored events that the batch removes, and tombstones that it leaves.
    pub(super) fn deletions(&self) -> usize {
        self.removed.len() + self.deleted.len() + self.deleted_addresses.len()
    }

    /// Where the event with this id is.
    pub(super) fn find(&self, id: &EventId) -> Result<Option<Place>, StoreError> {
        if let Some(place) = self.ids.get(id) {
            return Ok(*place);
        }
        let value = self.snapshot.id_value(id)?;
        Ok(value.map(|value| Place::Stored(value.serial)))
    }

    /// Whether the event is there, and this author may delete it.
    pub(super) fn is_deletable(
        &self,
        place: Place,
        deleter: &PublicKey,
    ) -> Result<bool, StoreError> {
        Ok(match place {
            Place::Stored(serial) => {
                self.snapshot.record(serial)?.is_some_and(|record| may_delete(deleter, &record))
            }
            Place::Added(slot) => {
                self.added[slot].as_ref().is_some_and(|event| may_delete(deleter, &**event))
            }
        })
    }

    pub(super) fn newest(&self, key: &[u8]) -> Result<Option<Newest>, StoreError> {
        if let Some(newest) = self.newest.get(key) {
            return Ok(*newest);
        }
        let Some(value) = self.snapshot.get(Table::Newest, key)? else {
            return Ok(None);
        };
        let NewestValue { serial, created_at, id, .. } = NewestValue::read(&value)?;
        Ok(Some(Newest { place: Place::Stored(serial), created_at, id }))
    }

    /// Whether a deletion request of this author names the id.
    pub(super) fn is_deleted(&self, id: &EventId, deleter: &PublicKey) -> Result<bool, StoreError> {
        let key = deleted_key(id, deleter);
        Ok(self.deleted.contains_key(&key) || self.snapshot.contains(Table::Deleted, &key)?)
    }

    /// Up to which time versions of this address are deleted.
    pub(super) fn address_deleted_until(
        &self,
        address: &Address,
    ) -> Result<Option<u64>, StoreError> {
        let key = deleted_address_key(address.kind, &address.pubkey, &address.identifier);
        if let Some(time) = self.deleted_addresses.get(&key) {
            return Ok(Some(*time));
        }
        Ok(self.snapshot.get(Table::DeletedAddress, &key)?.map(|value| read_integer(&value)))
    }

    /// Up to which time this author has vanished.
    pub(super) fn vanished_until(&self, pubkey: &PublicKey) -> Result<Option<u64>, StoreError> {
        match self.vanished.get(pubkey) {
            Some(progress) => Ok(Some(progress.until)),
            None => self.snapshot.vanished_until(pubkey),
        }
    }

    /// Whether this request to vanish was recorded before.
    pub(super) fn has_request(&self, id: &EventId) -> Result<bool, StoreError> {
        Ok(self.requests.contains_key(id) || self.snapshot.contains(Table::VanishRequest, id)?)
    }

    /// Adds an event as the newest under its key, if it has one. Returns its slot.
    pub(super) fn add(&mut self, event: Event, newest_key: Option<Vec<u8>>) -> usize {
        let slot = self.added.len();
        let place = Place::Added(slot);
        self.ids.insert(*event.id(), Some(place));
        if let Some(key) = newest_key {
            let (created_at, id) = (event.created_at(), *event.id());
            self.newest.insert(key, Some(Newest { place, created_at, id }));
        }
        self.added.push(Some(Arc::new(event)));
        slot
    }

    /// Removes an event; one that was removed before stays removed.
    pub(super) fn remove(&mut self, place: Place) -> Result<(), StoreError> {
        match place {
            Place::Stored(serial) => {
                if let Some(record) = self.snapshot.record(serial)? {
                    self.remove_record(&record)?;
                }
            }
            Place::Added(slot) => {
                if let Some(event) = self.added[slot].take() {
                    self.ids.insert(*event.id(), None);
                    if let Some(key) = newest_key_of_event(&event) {
                        self.forget_newest(key, place)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes a stored event.
    pub(super) fn remove_record(&mut self, record: &Record) -> Result<(), StoreError> {
        if self.removed.contains_key(&record.serial()) {
            return Ok(());
        }
        self.ids.insert(*record.id(), None);
        if let Some(key) = newest_key_of(record) {
            self.forget_newest(key, Place::Stored(record.serial()))?;
        }
        self.removed.insert(record.serial(), *record.id());
        Ok(())
    }

    fn forget_newest(&mut self, key: Vec<u8>, place: Place) -> Result<(), StoreError> {
        if self.newest(&key)?.is_some_and(|newest| newest.place == place) {
            self.newest.insert(key, None);
        }
        Ok(())
    }

    /// Leaves a tombstone of an id.
    pub(super) fn bury(&mut self, id: &EventId, deleter: &PublicKey, created_at: u64) {
        self.deleted.insert(deleted_key(id, deleter), created_at);
    }

    /// Leaves a tombstone of an address, for versions up to this time.
    pub(super) fn bury_address(&mut self, address: &Address, until: u64) -> Result<(), StoreError> {
        let before = self.address_deleted_until(address)?;
        if before.is_none_or(|before| before < until) {
            let key = deleted_address_key(address.kind, &address.pubkey, &address.identifier);
            self.deleted_addresses.insert(key, until);
        }
        Ok(())
    }

    /// Records that the deletion request in this slot is to be carried out in steps.
    pub(super) fn start_deletion(&mut self, slot: usize) {
        self.deletion = Some(DeletionChange::Starts(slot));
    }

    /// Records how far the deletion request has been carried out; `None`: completely.
    pub(super) fn set_deletion(&mut self, progress: Option<DeletionProgress>) {
        self.deletion = Some(DeletionChange::Comes(progress));
    }

    /// Records how far the removal of an author's events has come.
    pub(super) fn set_progress(&mut self, pubkey: &PublicKey, progress: Progress) {
        self.vanished.insert(*pubkey, progress);
    }

    pub(super) fn add_request(&mut self, event: Event) {
        self.requests.insert(*event.id(), Arc::new(event));
    }

    /// Authors whose removal changes with this batch.
    pub(super) fn vanished(&self) -> impl Iterator<Item = (&PublicKey, &Progress)> {
        self.vanished.iter()
    }

    /// Writes the changes. Returns the new totals, the events that are stored, and the deletion request that
    /// is carried out, if that changes.
    pub(super) fn write(
        self,
        mut totals: Totals,
        transaction: &mut Transaction<'_>,
    ) -> Result<Written, StoreError> {
        let mut stored = Vec::with_capacity(self.added.len());
        for event in self.added {
            stored.push(match event {
                Some(event) => {
                    totals.last += 1;
                    totals.events += 1;
                    totals.live_bytes += insert(transaction, &event, totals.last)?;
                    Some((totals.last, event))
                }
                None => None,
            });
        }
        for (&serial, id) in &self.removed {
            let Some(record) = self.snapshot.record(serial)? else {
                continue;
            };
            totals.events = totals.events.saturating_sub(1);
            totals.live_bytes = totals.live_bytes.saturating_sub(live_bytes(&record));
            transaction.remove(Table::Event, &serial_key(serial));
            for_each_entry(&record, |table, key, _| transaction.remove(table, key));
            // Otherwise the batch stored the event again, which has written the id.
            if self.ids.get(id) == Some(&None) {
                transaction.remove(Table::Id, id);
            }
        }
        for (key, newest) in &self.newest {
            match newest.map(|newest| newest.place) {
                Some(Place::Added(slot)) => {
                    if let Some((serial, event)) = &stored[slot] {
                        transaction.insert(Table::Newest, key, &newest_value(event, *serial));
                    }
                }
                Some(Place::Stored(_)) => {}
                None => transaction.remove(Table::Newest, key),
            }
        }
        for (key, time) in &self.deleted {
            transaction.insert(Table::Deleted, key, &time_value(*time));
        }
        for (key, time) in &self.deleted_addresses {
            transaction.insert(Table::DeletedAddress, key, &time_value(*time));
        }
        for (pubkey, progress) in &self.vanished {
            transaction.insert(Table::Vanished, pubkey, &progress.write());
        }
        for (id, event) in &self.requests {
            transaction.insert(Table::VanishRequest, id, &encode(event));
        }
        let deletion = self.deletion.map(|change| match change {
            DeletionChange::Starts(slot) => {
                let serial = stored[slot].as_ref().map(|(serial, _)| *serial);
                serial.map(|serial| DeletionProgress { serial, position: 0 })
            }
            DeletionChange::Comes(progress) => progress,
        });
        match deletion {
            Some(Some(progress)) => {
                transaction.insert(Table::Meta, DeletionProgress::KEY, &progress.write());
            }
            Some(None) => transaction.remove(Table::Meta, DeletionProgress::KEY),
            None => {}
        }
        totals.write(transaction);
        Ok(Written { totals, stored, deletion })
    }
}

/// A deletion of a deletion request has no effect. The recipient may delete a gift wrap, too, since its
/// author is a random key (NIP-59).
fn may_delete(deleter: &PublicKey, event: &impl Fields) -> bool {
    match event.kind() {
        KIND_DELETION | KIND_VANISH => false,
        KIND_GIFT_WRAP => {
            event.pubkey() == deleter || recipients(event.tags()).any(|key| key == *deleter)
        }
        _ => event.pubkey() == deleter,
    }
}

/// Writes a record and its index entries. Returns their bytes.
fn insert(
    transaction: &mut Transaction<'_>,
    event: &Event,
    serial: u64,
) -> Result<u64, StoreError> {
    let bytes = encode(event);
    transaction.insert(Table::Event, &serial_key(serial), &bytes);
    let record = Record::decode(serial, bytes.into())?;
    for_each_entry(&record, |table, key, value| transaction.insert(table, key, value));
    let Head { kind, created_at, id, .. } = *record.head();
    let value = IdValue { serial, created_at, kind, flags: record.flags() };
    transaction.insert(Table::Id, &id, &value.write());
    Ok(live_bytes(&record))
}

fn newest_value(event: &Event, serial: u64) -> [u8; 44] {
    let flags = flags_of(event.expiration());
    let (created_at, id) = (event.created_at(), *event.id());
    NewestValue { serial, created_at, id, flags }.write()
}
