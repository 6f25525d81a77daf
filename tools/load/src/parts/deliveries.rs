//! Which events each subscriber has got: each of its own once.

use super::track::{Arrival, Track};
use crate::tally::Errors;

/// The deliveries of all publishers to all subscribers.
#[derive(Debug)]
pub(super) struct Deliveries {
    publishers: usize,
    /// For each subscriber, a track per publisher.
    tracks: Vec<Track>,
    pub(super) missing: u64,
    pub(super) duplicates: u64,
}

impl Deliveries {
    pub(super) fn new(publishers: usize, subscribers: usize) -> Deliveries {
        let tracks = vec![Track::default(); subscribers * publishers];
        Deliveries { publishers, tracks, missing: 0, duplicates: 0 }
    }

    /// Records a publisher's event with this number, counted from 0; returns whether it is not a
    /// duplicate.
    pub(super) fn note(&mut self, subscriber: usize, publisher: usize, number: u64) -> bool {
        match self.tracks[subscriber * self.publishers + publisher].note(number) {
            Arrival::InOrder => {}
            Arrival::Gap(skipped) => self.missing += skipped,
            // It was counted as missing when a later one arrived.
            Arrival::Late => self.missing = self.missing.saturating_sub(1),
            Arrival::Duplicate => {
                self.duplicates += 1;
                return false;
            }
        }
        true
    }

    /// Counts the events after the newest that a subscriber has got, of those published.
    pub(super) fn end(&mut self, subscriber: usize, publisher: usize, published: u64) {
        let track = &self.tracks[subscriber * self.publishers + publisher];
        self.missing += track.missing_at_end(published);
    }

    pub(super) fn errors(&self, errors: &mut Errors) {
        errors.add("missing", self.missing);
        errors.add("duplicate", self.duplicates);
    }
}
