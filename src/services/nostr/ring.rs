//! The events that were announced last: for subscriptions whose scan was still running.
//!
//! Each event has a number, in the order of announcement and without gaps. The oldest events give way
//! when a limit is reached. It knows no subscriptions: see `subscription.rs`.

use std::collections::VecDeque;
use std::sync::Arc;

use super::event::Event;
use crate::reactor::Time;

/// How much the ring holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct RingLimits {
    pub(super) entries_max: usize,
    pub(super) bytes_max: usize,
    /// How many events are read at once: the caller compares them in one turn of the loop.
    pub(super) read_max: usize,
    /// Bytes of the events that are read at once: the caller sends them in one turn, without pages.
    pub(super) read_bytes_max: usize,
}

impl Default for RingLimits {
    fn default() -> RingLimits {
        RingLimits {
            entries_max: 4096,
            bytes_max: 16 << 20,
            read_max: 1000,
            read_bytes_max: 1 << 20,
        }
    }
}

/// An event of the ring.
#[derive(Debug, Clone)]
pub(super) struct Announced {
    pub(super) event: Arc<Event>,
    /// The number of its commit; `None`: an ephemeral event.
    pub(super) serial: Option<u64>,
    pub(super) at: Time,
}

#[derive(Debug)]
struct Entry {
    announced: Announced,
    /// Bytes of all events before this one.
    start: u64,
}

/// The events that were announced last.
#[derive(Debug)]
pub(super) struct Ring {
    entries: VecDeque<Entry>,
    /// The number of the first entry.
    first: u64,
    /// Bytes of all events so far.
    end: u64,
    /// Invariant: the sum of the events' bytes.
    bytes: usize,
    limits: RingLimits,
}

impl Ring {
    pub(super) fn new(limits: RingLimits) -> Ring {
        Ring { entries: VecDeque::new(), first: 0, end: 0, bytes: 0, limits }
    }

    /// The number of the next event.
    pub(super) fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(super) fn push(&mut self, announced: Announced) {
        let bytes = bytes_of(&announced.event);
        self.entries.push_back(Entry { announced, start: self.end });
        self.end += bytes as u64;
        self.bytes += bytes;
        while self.entries.len() > self.limits.entries_max || self.bytes > self.limits.bytes_max {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.first += 1;
            self.bytes -= bytes_of(&oldest.announced.event);
        }
    }

    /// The events from `number` on, with their numbers. `None` if the ring has lost some of them, or if
    /// they are more than is [read at once](RingLimits::read_max).
    pub(super) fn since(&self, number: u64) -> Option<impl Iterator<Item = (u64, &Announced)>> {
        (number >= self.oldest_read()).then(|| self.numbered(number))
    }

    /// The last events, at most as many as are [read at once](RingLimits::read_max), with their
    /// numbers.
    pub(super) fn last(&self) -> impl Iterator<Item = (u64, &Announced)> {
        self.numbered(self.oldest_read())
    }

    fn oldest_read(&self) -> u64 {
        let RingLimits { read_max, read_bytes_max, .. } = self.limits;
        let by_bytes =
            self.entries.partition_point(|entry| self.end - entry.start > read_bytes_max as u64);
        self.first + self.entries.len().saturating_sub(read_max).max(by_bytes) as u64
    }

    fn numbered(&self, number: u64) -> impl Iterator<Item = (u64, &Announced)> {
        let first = self.first;
        let skipped = self.entries.len().min((number - first) as usize);
        let entries = self.entries.range(skipped..).enumerate();
        entries.map(move |(index, entry)| (first + (skipped + index) as u64, &entry.announced))
    }

    /// Bytes of the events.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn bytes_of(event: &Event) -> usize {
    size_of::<Event>() + event.tags_json().len() + event.content_json().len()
}
