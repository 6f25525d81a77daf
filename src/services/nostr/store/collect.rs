//! Time and id of all events of a filter, for negentropy (NIP-77), in slices.

use std::time::Duration;

use super::error::StoreError;
use super::key::FLAG_EXPIRES;
use super::merge::{Merge, Next};
use super::meter::{Budget, ENTRY_STEPS, Meter, RECORD_STEPS};
use super::scan::candidates;
use super::shared::{Store, is_vanishing};
use super::visibility::Visibility;
use crate::services::nostr::event::{EventId, Fields as _};
use crate::services::nostr::filter::Filter;

/// Limits of a collection. Steps that find an event, and their time, are limited by `items_max` alone: a
/// session over 1,000,000 events may take longer than a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CollectLimits {
    /// Events.
    pub items_max: usize,
    /// Steps that find no event.
    pub scan_steps_max: usize,
    /// Time of these steps.
    pub scan_time_max: Duration,
}

impl CollectLimits {
    /// At most so many events, without limits on steps and time.
    pub fn items(items_max: usize) -> CollectLimits {
        CollectLimits { items_max, scan_steps_max: usize::MAX, scan_time_max: Duration::MAX }
    }
}

/// What a slice of a collection returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collected {
    /// It goes on.
    OutOfBudget,
    /// All events, newest first.
    Items(Vec<(u64, EventId)>),
    /// More than the limit match.
    TooMany,
    /// It took more steps or time than the limits allow.
    TooLong,
}

/// A collection. `limit` has no effect on it.
pub struct Collect {
    filter: [Filter; 1],
    visibility: Visibility,
    /// Made by the first slice: a plan may have thousands of cursors.
    merge: Option<Merge>,
    limits: CollectLimits,
    items: Vec<(u64, EventId)>,
    last: Option<u64>,
    /// Steps that found no event.
    steps: usize,
    /// Their time.
    time: Duration,
}

impl Collect {
    /// Collects what the connection may see.
    pub fn new(filter: Filter, limits: CollectLimits, visibility: Visibility) -> Collect {
        Collect {
            filter: [filter],
            visibility,
            merge: None,
            limits,
            items: Vec::new(),
            last: None,
            steps: 0,
            time: Duration::ZERO,
        }
    }

    /// Runs one slice. `now` is the Unix time in seconds.
    pub fn slice(
        &mut self,
        store: &Store,
        budget: Budget,
        now: u64,
    ) -> Result<Collected, StoreError> {
        let mut meter = Meter::new(budget);
        let mut found = 0;
        let collected = self.run(store, now, &mut meter, &mut found)?;
        let used = meter.used().max(1);
        let unmatched = used - found.min(used);
        self.steps += unmatched;
        self.time += meter.elapsed().mul_f64(unmatched as f64 / used as f64);
        let CollectLimits { scan_steps_max, scan_time_max, .. } = self.limits;
        let is_too_long = self.steps >= scan_steps_max || self.time >= scan_time_max;
        match collected {
            Collected::OutOfBudget if is_too_long => Ok(Collected::TooLong),
            collected => Ok(collected),
        }
    }

    /// Collects until the budget is used up; adds to `found` the steps that found an event.
    fn run(
        &mut self,
        store: &Store,
        now: u64,
        meter: &mut Meter,
        found: &mut usize,
    ) -> Result<Collected, StoreError> {
        let snapshot = store.snapshot()?;
        let vanishing = store.vanishing();
        let last = match self.last {
            Some(last) => last,
            None => snapshot.last_serial()?,
        };
        self.last = Some(last);
        let merge = self.merge.get_or_insert_with(|| Merge::new(&self.filter, &self.visibility));
        while !meter.is_empty() {
            let (entry, id) = match merge.next(&snapshot, meter)? {
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
            let (id, steps) = match id.filter(|_| is_plain) {
                Some(id) => (id, ENTRY_STEPS),
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
                    (*record.id(), ENTRY_STEPS + RECORD_STEPS)
                }
            };
            if self.items.len() == self.limits.items_max {
                return Ok(Collected::TooMany);
            }
            self.items.push((entry.order.created_at(), id));
            *found += steps;
        }
        Ok(Collected::OutOfBudget)
    }

    /// Memory of the collection.
    pub fn bytes(&self) -> usize {
        self.merge.as_ref().map_or(0, Merge::bytes)
            + self.items.capacity() * size_of::<(u64, EventId)>()
    }
}
