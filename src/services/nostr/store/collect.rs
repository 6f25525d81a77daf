//! Time and id of all events of a filter, for negentropy (NIP-77), in slices.

use super::error::StoreError;
use super::key::FLAG_EXPIRES;
use super::merge::{Merge, Next};
use super::meter::{Budget, Meter, RECORD_STEPS};
use super::scan::candidates;
use super::shared::{Store, is_vanishing};
use super::visibility::Visibility;
use crate::services::nostr::event::{EventId, Fields as _};
use crate::services::nostr::filter::Filter;

/// What a slice of a collection returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collected {
    /// It goes on.
    OutOfBudget,
    /// All events, newest first.
    Items(Vec<(u64, EventId)>),
    /// More than the limit match.
    TooMany,
}

/// A collection. `limit` has no effect on it.
pub struct Collect {
    filter: [Filter; 1],
    visibility: Visibility,
    /// Made by the first slice: a plan may have thousands of cursors.
    merge: Option<Merge>,
    items_max: usize,
    items: Vec<(u64, EventId)>,
    last: Option<u64>,
}

impl Collect {
    /// Collects what the connection may see, at most `items_max` events.
    pub fn new(filter: Filter, items_max: usize, visibility: Visibility) -> Collect {
        let filter = [filter];
        Collect { filter, visibility, merge: None, items_max, items: Vec::new(), last: None }
    }

    /// Runs one slice. `now` is the Unix time in seconds.
    pub fn slice(
        &mut self,
        store: &Store,
        budget: Budget,
        now: u64,
    ) -> Result<Collected, StoreError> {
        let mut meter = Meter::new(budget);
        let snapshot = store.snapshot()?;
        let vanishing = store.vanishing();
        let last = match self.last {
            Some(last) => last,
            None => snapshot.last_serial()?,
        };
        self.last = Some(last);
        let merge = self.merge.get_or_insert_with(|| Merge::new(&self.filter, &self.visibility));
        while !meter.is_empty() {
            let (entry, id) = match merge.next(&snapshot, &mut meter)? {
                Next::OutOfBudget => return Ok(Collected::OutOfBudget),
                Next::End => return Ok(Collected::Items(std::mem::take(&mut self.items))),
                Next::Event(entry, id) => (entry, id),
            };
            let candidates = candidates(merge.hits(), &entry, &self.filter);
            let Some(hit) = candidates.first().filter(|_| entry.order.serial() <= last) else {
                continue;
            };
            let is_plain = hit.is_decisive
                && entry.flags & FLAG_EXPIRES == 0
                && !self.visibility.is_restricted(entry.kind)
                && vanishing.is_empty();
            let id = match id.filter(|_| is_plain) {
                Some(id) => id,
                None => {
                    meter.spend(RECORD_STEPS);
                    let Some(record) = snapshot.record(entry.order.serial())? else {
                        continue;
                    };
                    let is_collected = self.filter[0].matches(&record)
                        && !record.is_expired(now)
                        && self.visibility.allows(&record)
                        && !is_vanishing(&record, &vanishing);
                    if !is_collected {
                        continue;
                    }
                    *record.id()
                }
            };
            if self.items.len() == self.items_max {
                return Ok(Collected::TooMany);
            }
            self.items.push((entry.order.created_at(), id));
        }
        Ok(Collected::OutOfBudget)
    }

    /// Memory of the collection.
    pub fn bytes(&self) -> usize {
        self.merge.as_ref().map_or(0, Merge::bytes)
            + self.items.capacity() * size_of::<(u64, EventId)>()
    }
}
