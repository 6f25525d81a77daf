//! The scan of a REQ: stored events in the order of section 5.2, in slices.
//!
//! A slice uses a fresh snapshot. The scan returns events up to the newest serial of its first slice, and skips
//! what was removed meanwhile. Between slices it keeps what it has read ahead; [`Scan::park`] frees that.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::cursor::Entry;
use super::error::StoreError;
use super::key::{read_integer, serial_key};
use super::merge::{Hit, Merge, Next};
use super::meter::{Budget, ENTRY_STEPS, Meter, RECORD_STEPS, SEEK_STEPS};
use super::plan::describe;
use super::quota::{Completeness, Quotas};
use super::record::Record;
use super::shared::{Snapshot, Store, Vanishing, is_vanishing};
use super::tables::Table;
use super::visibility::Visibility;
use crate::services::nostr::compared::Compared;
use crate::services::nostr::filter::Filter;

/// Limits of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScanLimits {
    /// Events of a filter without `limit`.
    pub limit_default: usize,
    /// Events of a filter.
    pub limit_max: usize,
    /// Events of a request.
    pub req_events_max: usize,
    /// Steps of a request.
    pub scan_steps_max: usize,
    /// Time of a request's slices.
    pub scan_time_max: Duration,
    /// Matches in which a filter with `search` searches.
    pub search_events_max: usize,
}

impl Default for ScanLimits {
    fn default() -> ScanLimits {
        ScanLimits {
            limit_default: 500,
            limit_max: 1_000,
            req_events_max: 5_000,
            scan_steps_max: 2_000_000,
            scan_time_max: Duration::from_secs(10),
            search_events_max: 0,
        }
    }
}

/// A scan failed.
#[derive(Debug)]
pub enum ScanError {
    /// It took more steps or time than the limits allow.
    TooLong,
    /// The store cannot be read.
    Store(StoreError),
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScanError::TooLong => f.write_str("the query takes too long"),
            ScanError::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ScanError {}

impl From<StoreError> for ScanError {
    fn from(error: StoreError) -> ScanError {
        ScanError::Store(error)
    }
}

impl From<fjall::Error> for ScanError {
    fn from(error: fjall::Error) -> ScanError {
        ScanError::Store(error.into())
    }
}

/// How a slice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// Its budget is used up.
    OutOfBudget,
    /// The sink wants no more; it has taken the last event that it was given.
    Full,
    /// The scan is complete.
    End(End),
}

/// The end of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The newest serial of the first slice: later events are live.
    pub last: u64,
    /// Whether more events match.
    pub completeness: Completeness,
}

/// A scan.
pub struct Scan {
    filters: Arc<[Filter]>,
    visibility: Visibility,
    limits: ScanLimits,
    walk: Walk,
    quotas: Quotas,
    /// The newest serial of the first slice.
    last: Option<u64>,
    steps: usize,
    time: Duration,
}

/// The order in which a scan goes through the store.
enum Walk {
    /// Newest first, to be planned by the first slice: a plan may have thousands of cursors, and the scan
    /// is made on the loop.
    Unplanned,
    /// Newest first.
    Merged(Box<Merge>),
    /// From this serial on: the catch-up scan of section 5.3.
    Serial(u64),
}

/// What a slice has for all its events.
struct Moment<'a> {
    snapshot: &'a Snapshot<'a>,
    vanishing: &'a Vanishing,
    now: u64,
    last: u64,
}

impl Scan {
    /// The stored events of a request.
    pub fn new(filters: Arc<[Filter]>, limits: ScanLimits, visibility: Visibility) -> Scan {
        let quotas = Quotas::new(&filters, &limits_of(&limits));
        Scan::with(filters, limits, visibility, Walk::Unplanned, quotas)
    }

    fn plan(&mut self) {
        let mut merge = Merge::new(&self.filters, &self.visibility);
        for filter in self.quotas.empty() {
            merge.close(filter);
        }
        self.walk = Walk::Merged(Box::new(merge));
    }

    /// All matching events with a later serial, in the order of their serials (section 5.3). The limits on
    /// steps, time and events do not apply.
    pub fn since_serial(filters: Arc<[Filter]>, after: u64, visibility: Visibility) -> Scan {
        let limits = ScanLimits::default();
        let quotas = Quotas::new(&[], &limits_of(&limits));
        Scan::with(filters, limits, visibility, Walk::Serial(after + 1), quotas)
    }

    fn with(
        filters: Arc<[Filter]>,
        limits: ScanLimits,
        visibility: Visibility,
        walk: Walk,
        quotas: Quotas,
    ) -> Scan {
        let (steps, time) = (0, Duration::ZERO);
        Scan { filters, visibility, limits, walk, quotas, last: None, steps, time }
    }

    /// Runs one slice. `sink` takes each event; `Break` ends the slice after it. `now` is the Unix time in
    /// seconds.
    pub fn slice(
        &mut self,
        store: &Store,
        budget: Budget,
        now: u64,
        sink: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<Slice, ScanError> {
        let mut meter = Meter::new(budget);
        let snapshot = store.snapshot()?;
        let vanishing = store.vanishing();
        let last = match self.last {
            Some(last) => last,
            None => snapshot.last_serial()?,
        };
        self.last = Some(last);
        let moment = Moment { snapshot: &snapshot, vanishing: &vanishing, now, last };
        if matches!(self.walk, Walk::Unplanned) {
            self.plan();
        }
        let slice = match self.walk {
            Walk::Unplanned | Walk::Merged(_) => self.slice_of_merge(&moment, &mut meter, sink)?,
            Walk::Serial(from) => self.slice_of_serials(from, &moment, &mut meter, sink)?,
        };
        self.steps += meter.used();
        self.time += meter.elapsed();
        if slice == Slice::OutOfBudget && matches!(self.walk, Walk::Merged(_)) {
            let is_too_long =
                self.steps >= self.limits.scan_steps_max || self.time >= self.limits.scan_time_max;
            if is_too_long {
                return Err(ScanError::TooLong);
            }
        }
        Ok(slice)
    }

    fn slice_of_merge(
        &mut self,
        moment: &Moment<'_>,
        meter: &mut Meter,
        sink: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<Slice, ScanError> {
        let Walk::Merged(merge) = &mut self.walk else {
            return Ok(self.end(moment));
        };
        while !meter.is_empty() {
            match merge.next(moment.snapshot, meter)? {
                Next::OutOfBudget => return Ok(Slice::OutOfBudget),
                Next::End => return Ok(self.end(moment)),
                Next::Event(entry, _) => {
                    let candidates = candidates(merge.hits(), &entry, &self.filters);
                    let Some(record) = read(&entry, &candidates, &self.visibility, moment, meter)?
                    else {
                        for filter in self.quotas.passed(&candidates) {
                            merge.close(filter);
                        }
                        continue;
                    };
                    let offer = self.quotas.offer(&candidates, &self.filters, &record);
                    for filter in offer.closed {
                        merge.close(filter);
                    }
                    if offer.is_sent && sink(&record).is_break() {
                        return Ok(Slice::Full);
                    }
                }
            }
        }
        Ok(Slice::OutOfBudget)
    }

    fn slice_of_serials(
        &mut self,
        from: u64,
        moment: &Moment<'_>,
        meter: &mut Meter,
        sink: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<Slice, ScanError> {
        meter.spend(SEEK_STEPS);
        if from > moment.last {
            return Ok(self.end(moment));
        }
        let (start, end) = (serial_key(from), serial_key(moment.last));
        for entry in moment.snapshot.range(Table::Event, &start, &end) {
            let (key, value) = entry.into_inner()?;
            let serial = read_integer(&key);
            // A slice reads one record at least.
            if serial > from && meter.is_empty() {
                self.walk = Walk::Serial(serial);
                return Ok(Slice::OutOfBudget);
            }
            meter.spend(RECORD_STEPS);
            let record = Record::decode(serial, value)?;
            let compared = Compared::new(&record);
            let matches = self.filters.iter().any(|filter| compared.matches(filter));
            if matches && is_visible(&record, &self.visibility, moment) && sink(&record).is_break()
            {
                self.walk = Walk::Serial(serial + 1);
                return Ok(Slice::Full);
            }
        }
        Ok(self.end(moment))
    }

    fn end(&self, moment: &Moment<'_>) -> Slice {
        Slice::End(End { last: moment.last, completeness: self.quotas.completeness() })
    }

    /// Frees what was read ahead, for a scan that waits for its connection.
    pub fn park(&mut self) {
        if let Walk::Merged(merge) = &mut self.walk {
            merge.park();
        }
    }

    /// Memory of the scan, without its filters.
    pub fn bytes(&self) -> usize {
        match &self.walk {
            Walk::Merged(merge) => size_of::<Scan>() + merge.bytes(),
            Walk::Unplanned | Walk::Serial(_) => size_of::<Scan>(),
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
        match self.walk {
            Walk::Serial(_) => "by serial".to_owned(),
            Walk::Unplanned | Walk::Merged(_) => describe(&self.filters, &self.visibility),
        }
    }

    /// Events sent so far.
    pub fn events(&self) -> usize {
        self.quotas.sent()
    }
}

fn limits_of(limits: &ScanLimits) -> super::quota::Limits {
    super::quota::Limits {
        limit_default: limits.limit_default,
        limit_max: limits.limit_max,
        events_max: limits.req_events_max,
        search_events_max: limits.search_events_max,
    }
}

/// Filters that may match the event, as far as the entry says.
pub(super) fn candidates(hits: &[Hit], entry: &Entry, filters: &[Filter]) -> Vec<Hit> {
    let may_match = |hit: &&Hit| {
        let kinds = filters[hit.filter].kinds();
        kinds.is_none_or(|kinds| kinds.binary_search(&entry.kind).is_ok())
    };
    hits.iter().filter(may_match).copied().collect()
}

/// Reads the event of an entry if it may be sent.
fn read(
    entry: &Entry,
    candidates: &[Hit],
    visibility: &Visibility,
    moment: &Moment<'_>,
    meter: &mut Meter,
) -> Result<Option<Record>, ScanError> {
    meter.spend(ENTRY_STEPS);
    let serial = entry.order.serial();
    if candidates.is_empty() || serial > moment.last {
        return Ok(None);
    }
    meter.spend(RECORD_STEPS);
    let record = moment.snapshot.record(serial)?;
    Ok(record.filter(|record| is_visible(record, visibility, moment)))
}

fn is_visible(record: &Record, visibility: &Visibility, moment: &Moment<'_>) -> bool {
    !record.is_expired(moment.now)
        && visibility.allows(record)
        && !is_vanishing(record, moment.vanishing)
}
