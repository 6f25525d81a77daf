//! COUNT (NIP-45): events that match at least one of the filters, in slices.

use std::sync::Arc;
use std::time::Duration;

use super::cursor::Entry;
use super::error::StoreError;
use super::hyperloglog::{HyperLogLog, REGISTERS};
use super::key::FLAG_EXPIRES;
use super::merge::{Hit, Merge, Next};
use super::meter::{Budget, Meter, RECORD_STEPS};
use super::plan::describe;
use super::scan::candidates;
use super::search;
use super::shared::{Snapshot, Store, Vanishing, is_vanishing};
use super::visibility::Visibility;
use crate::services::nostr::compared::Compared;
use crate::services::nostr::event::Fields as _;
use crate::services::nostr::filter::Filter;

/// Limits of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CountLimits {
    /// Steps after which the count is approximate.
    pub count_max: usize,
    /// Time of the slices after which the count is approximate.
    pub scan_time_max: Duration,
    /// Matches up to which there is a HyperLogLog.
    pub hyperloglog_max: u64,
}

impl Default for CountLimits {
    fn default() -> CountLimits {
        CountLimits {
            count_max: 1_000_000,
            scan_time_max: Duration::from_secs(10),
            hyperloglog_max: 50_000,
        }
    }
}

/// The result of a count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Matching events.
    pub count: u64,
    /// The count stopped early, or events are being removed: there may be more or fewer.
    pub is_approximate: bool,
    /// Registers, for the filters of NIP-45.
    pub hyperloglog: Option<Box<[u8; REGISTERS]>>,
}

/// A count. `limit` has no effect on it.
pub struct Count {
    filters: Arc<[Filter]>,
    visibility: Visibility,
    limits: CountLimits,
    /// Made by the first slice: a plan may have thousands of cursors.
    merge: Option<Merge>,
    hyperloglog: Option<HyperLogLog>,
    count: u64,
    is_approximate: bool,
    last: Option<u64>,
    steps: usize,
    time: Duration,
}

impl Count {
    /// Counts what the connection may see.
    pub fn new(filters: Arc<[Filter]>, limits: CountLimits, visibility: Visibility) -> Count {
        let hyperloglog = match &filters[..] {
            [filter] => HyperLogLog::of(filter),
            _ => None,
        };
        Count {
            filters,
            visibility,
            limits,
            merge: None,
            hyperloglog,
            count: 0,
            is_approximate: false,
            last: None,
            steps: 0,
            time: Duration::ZERO,
        }
    }

    /// Steps used so far.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Time of all slices so far.
    pub fn time(&self) -> Duration {
        self.time
    }

    /// How it searches, without any value of its filters.
    pub fn plan_text(&self) -> String {
        describe(&self.filters, &self.visibility)
    }

    /// Runs one slice. `None`: the count goes on. `now` is the Unix time in seconds.
    pub fn slice(
        &mut self,
        store: &Store,
        budget: Budget,
        now: u64,
    ) -> Result<Option<Counted>, StoreError> {
        let mut meter = Meter::new(budget);
        let snapshot = store.snapshot()?;
        let vanishing = store.vanishing();
        self.is_approximate |= !vanishing.is_empty();
        let last = match self.last {
            Some(last) => last,
            None => snapshot.last_serial()?,
        };
        self.last = Some(last);
        let mut merge = match self.merge.take() {
            Some(merge) => merge,
            None => Merge::new(&self.filters, &self.visibility),
        };
        let mut is_complete = false;
        while !is_complete && !meter.is_empty() {
            match merge.next(&snapshot, &mut meter)? {
                Next::OutOfBudget => break,
                Next::End => is_complete = true,
                Next::Event(entry, _) if entry.order.serial() > last => {}
                Next::Event(entry, _) => {
                    let candidates = candidates(merge.hits(), &entry, &self.filters);
                    self.look_at(&entry, &candidates, &snapshot, &vanishing, now, &mut meter)?;
                }
            }
        }
        self.merge = Some(merge);
        self.steps += meter.used();
        self.time += meter.elapsed();
        if is_complete {
            return Ok(Some(self.result()));
        }
        if self.steps >= self.limits.count_max || self.time >= self.limits.scan_time_max {
            self.is_approximate = true;
            return Ok(Some(self.result()));
        }
        Ok(None)
    }

    fn look_at(
        &mut self,
        entry: &Entry,
        candidates: &[Hit],
        snapshot: &Snapshot<'_>,
        vanishing: &Vanishing,
        now: u64,
        meter: &mut Meter,
    ) -> Result<(), StoreError> {
        if candidates.is_empty() {
            return Ok(());
        }
        let needs_record = entry.flags & FLAG_EXPIRES != 0
            || self.visibility.is_restricted(entry.kind)
            || self.hyperloglog.is_some()
            || !candidates.iter().any(|hit| hit.is_decisive);
        if !needs_record {
            self.count += 1;
            return Ok(());
        }
        meter.spend(RECORD_STEPS);
        let Some(record) = snapshot.record(entry.order.serial())? else {
            return Ok(());
        };
        let compared = Compared::new(&record);
        let matches = |hit: &Hit| {
            let filter = &self.filters[hit.filter];
            hit.is_decisive
                || (compared.matches(filter)
                    && filter.search().is_none_or(|query| search::matches(query, &record)))
        };
        let is_counted = !record.is_expired(now)
            && self.visibility.allows(&record)
            && !is_vanishing(&record, vanishing)
            && candidates.iter().any(matches);
        if is_counted {
            self.count += 1;
            if self.count > self.limits.hyperloglog_max {
                self.hyperloglog = None;
            }
            if let Some(hyperloglog) = &mut self.hyperloglog {
                hyperloglog.add(record.pubkey());
            }
        }
        Ok(())
    }

    fn result(&mut self) -> Counted {
        Counted {
            count: self.count,
            is_approximate: self.is_approximate,
            // A part of the events would say that there are few authors.
            hyperloglog: self
                .hyperloglog
                .take()
                .filter(|_| !self.is_approximate)
                .map(HyperLogLog::into_registers),
        }
    }
}
