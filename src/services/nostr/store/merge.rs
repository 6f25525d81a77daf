//! All cursors of a request, merged: each event once, newest first, with the filters whose cursors have it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::cursor::{Cursor, Entry};
use super::error::StoreError;
use super::key::Order;
use super::meter::Meter;
use super::plan::plan;
use super::shared::Snapshot;
use super::visibility::Visibility;
use crate::services::nostr::event::EventId;
use crate::services::nostr::filter::Filter;

/// A filter whose cursor has the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) filter: usize,
    /// The filter is decided by the entry.
    pub(super) is_decisive: bool,
}

/// The next step of a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// An event; [`Merge::hits`] has the filters.
    Event(Entry, Option<EventId>),
    /// The slice has to end.
    OutOfBudget,
    /// All cursors are exhausted or closed.
    End,
}

/// The cursors of a request.
pub(super) struct Merge {
    cursors: Vec<Cursor>,
    /// Invariant: exactly the cursors with a buffered entry whose filter was open when they were pushed.
    heap: BinaryHeap<Reverse<(Order, u32)>>,
    /// Cursors that have to read ahead before the next event is known.
    pending: Vec<u32>,
    /// Filters that want no more events.
    closed: Vec<bool>,
    hits: Vec<Hit>,
}

impl Merge {
    pub(super) fn new(filters: &[Filter], visibility: &Visibility) -> Merge {
        let cursors: Vec<Cursor> = plan(filters, visibility)
            .into_iter()
            .map(|planned| {
                let filter = &filters[planned.filter];
                Cursor::new(planned, filter.since(), filter.until())
            })
            .collect();
        let pending = (0..cursors.len() as u32).rev().collect();
        let closed = vec![false; filters.len()];
        Merge { cursors, heap: BinaryHeap::new(), pending, closed, hits: Vec::new() }
    }

    /// Filters that have the last event, each once.
    pub(super) fn hits(&self) -> &[Hit] {
        &self.hits
    }

    /// Ends the cursors of a filter.
    pub(super) fn close(&mut self, filter: usize) {
        self.closed[filter] = true;
    }

    pub(super) fn next(
        &mut self,
        snapshot: &Snapshot<'_>,
        meter: &mut Meter,
    ) -> Result<Next, StoreError> {
        while let Some(&index) = self.pending.last() {
            let cursor = &mut self.cursors[index as usize];
            if !self.closed[cursor.filter()] {
                if meter.is_empty() || !cursor.refill(snapshot, meter)? {
                    return Ok(Next::OutOfBudget);
                }
                if let Some(order) = cursor.head() {
                    self.heap.push(Reverse((order, index)));
                }
            }
            self.pending.pop();
        }
        self.hits.clear();
        let mut found: Option<(Entry, Option<EventId>)> = None;
        while let Some(&Reverse((order, index))) = self.heap.peek() {
            if found.is_some_and(|(entry, _)| entry.order != order) {
                break;
            }
            self.heap.pop();
            let cursor = &mut self.cursors[index as usize];
            let filter = cursor.filter();
            if self.closed[filter] {
                cursor.park();
                continue;
            }
            let Some((entry, id)) = cursor.pop() else {
                continue;
            };
            if !self.hits.iter().any(|hit| hit.filter == filter) {
                self.hits.push(Hit { filter, is_decisive: cursor.is_decisive() });
            }
            match found.as_mut() {
                Some((_, known)) => *known = known.or(id),
                None => found = Some((entry, id)),
            }
            match cursor.head() {
                Some(order) => self.heap.push(Reverse((order, index))),
                None if cursor.is_exhausted() => {}
                None => self.pending.push(index),
            }
        }
        Ok(found.map_or(Next::End, |(entry, id)| Next::Event(entry, id)))
    }

    /// Frees what was read ahead: what remains is one position per cursor.
    pub(super) fn park(&mut self) {
        for Reverse((_, index)) in self.heap.drain() {
            self.pending.push(index);
        }
        for index in &self.pending {
            self.cursors[*index as usize].park();
        }
        self.heap = BinaryHeap::new();
    }

    /// Memory of the cursors.
    pub(super) fn bytes(&self) -> usize {
        let cursors: usize = self.cursors.iter().map(Cursor::bytes).sum();
        cursors + (self.heap.capacity() + self.pending.capacity()) * 32
    }
}
