//! How many events a request may still get: an event counts against each filter that matches it.

use super::merge::Hit;
use super::record::Record;
use super::search;
use crate::services::nostr::compared::Compared;
use crate::services::nostr::filter::Filter;

/// Entries that a filter looks at after our own limit, to find out whether more events match.
const PROBE_ENTRIES: u32 = 64;

/// Limits on events.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) limit_default: usize,
    pub(super) limit_max: usize,
    pub(super) events_max: usize,
    pub(super) search_events_max: usize,
}

/// Whether more events match than were sent (NIP-67).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// No: all matching events were sent.
    Finished,
    /// Yes: a limit of the relay ended the scan.
    More,
    /// Not known: the client's limit is reached, or the relay's, and no other match was found nearby.
    Limited,
}

/// State of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quota {
    Open {
        left: usize,
        /// The limit is the relay's.
        is_ours: bool,
        /// Matches, apart from `search`, that may still be searched.
        searchable: usize,
    },
    /// Our limit is reached; so many entries are still looked at.
    Probing(u32),
    Closed,
}

/// The quotas of a request.
#[derive(Debug)]
pub(super) struct Quotas {
    filters: Vec<Quota>,
    /// Events that may still be sent.
    left: usize,
    sent: usize,
    more: bool,
    /// A filter was closed before its cursors ran out.
    is_limited: bool,
}

/// The result of an offered event.
pub(super) struct Offer {
    pub(super) is_sent: bool,
    /// Filters that want no more events.
    pub(super) closed: Vec<usize>,
}

impl Quotas {
    pub(super) fn new(filters: &[Filter], limits: &Limits) -> Quotas {
        let quota = |filter: &Filter| {
            let asked = filter.limit().unwrap_or(limits.limit_default);
            // The parser lowers a larger limit to `limit_max`.
            let is_ours = filter.limit().is_none_or(|limit| limit >= limits.limit_max);
            match asked.min(limits.limit_max) {
                0 => Quota::Closed,
                left => Quota::Open { left, is_ours, searchable: limits.search_events_max },
            }
        };
        let filters: Vec<Quota> = filters.iter().map(quota).collect();
        let is_limited = filters.contains(&Quota::Closed);
        Quotas { filters, left: limits.events_max, sent: 0, more: false, is_limited }
    }

    /// Filters that want no stored events at all.
    pub(super) fn empty(&self) -> Vec<usize> {
        let is_closed = |filter: &usize| self.filters[*filter] == Quota::Closed;
        (0..self.filters.len()).filter(is_closed).collect()
    }

    pub(super) fn sent(&self) -> usize {
        self.sent
    }

    pub(super) fn completeness(&self) -> Completeness {
        match (self.more, self.is_limited) {
            (true, _) => Completeness::More,
            (false, true) => Completeness::Limited,
            (false, false) => Completeness::Finished,
        }
    }

    /// Counts an entry that was not offered. Returns filters that stop probing.
    pub(super) fn passed(&mut self, candidates: &[Hit]) -> Vec<usize> {
        candidates.iter().map(|hit| hit.filter).filter(|filter| self.probe(*filter)).collect()
    }

    /// Counts an entry against a probing filter. Returns whether it closes.
    fn probe(&mut self, filter: usize) -> bool {
        let Quota::Probing(left) = &mut self.filters[filter] else {
            return false;
        };
        *left = left.saturating_sub(1);
        let is_closed = *left == 0;
        if is_closed {
            self.close(filter);
        }
        is_closed
    }

    fn close(&mut self, filter: usize) {
        self.filters[filter] = Quota::Closed;
        self.is_limited = true;
    }

    /// Offers an event to its candidates.
    pub(super) fn offer(
        &mut self,
        candidates: &[Hit],
        filters: &[Filter],
        record: &Record,
    ) -> Offer {
        let mut offer = Offer { is_sent: false, closed: Vec::new() };
        let compared = Compared::new(record);
        for hit in candidates {
            let filter = &filters[hit.filter];
            let matches = hit.is_decisive || compared.matches(filter);
            match self.filters[hit.filter] {
                Quota::Closed => {}
                Quota::Probing(_) => {
                    let matches = matches && filter.search().is_none();
                    self.more |= matches;
                    if matches {
                        self.close(hit.filter);
                        offer.closed.push(hit.filter);
                    } else if self.probe(hit.filter) {
                        offer.closed.push(hit.filter);
                    }
                }
                Quota::Open { .. } if matches => {
                    let (is_sent, is_closed) = self.take(hit.filter, filter, record);
                    offer.is_sent |= is_sent;
                    if is_closed {
                        offer.closed.push(hit.filter);
                    }
                }
                Quota::Open { .. } => {}
            }
        }
        if offer.is_sent {
            self.sent += 1;
            self.left -= 1;
            if self.left == 0 {
                self.probe_all();
            }
        }
        offer
    }

    /// Counts a match. Returns whether the filter sends it, and whether it closes.
    fn take(&mut self, index: usize, filter: &Filter, record: &Record) -> (bool, bool) {
        let Quota::Open { left, is_ours, searchable } = &mut self.filters[index] else {
            return (false, false);
        };
        let mut is_sent = true;
        let mut is_searched = false;
        if let Some(query) = filter.search() {
            if *searchable == 0 {
                self.close(index);
                return (false, true);
            }
            *searchable -= 1;
            is_searched = *searchable == 0;
            is_sent = search::matches(query, record);
        }
        if is_sent {
            *left -= 1;
        }
        match (*left, *is_ours) {
            (0, true) if !is_searched => {
                self.filters[index] = Quota::Probing(PROBE_ENTRIES);
                (is_sent, false)
            }
            (0, _) => {
                self.close(index);
                (is_sent, true)
            }
            _ if is_searched => {
                self.close(index);
                (is_sent, true)
            }
            _ => (is_sent, false),
        }
    }

    /// The request has all the events that it may get.
    fn probe_all(&mut self) {
        for quota in &mut self.filters {
            if matches!(quota, Quota::Open { .. }) {
                *quota = Quota::Probing(PROBE_ENTRIES);
            }
        }
    }
}
