//! How long things took, as operators are shown it: a histogram of few buckets.
//!
//! Cells, so that whoever shows it can share it with whoever counts, on one thread.

use std::cell::Cell;
use std::time::Duration;

/// How long things took: how many fell between each bound and the one before, and the sum of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Durations {
    within: [Cell<u64>; Durations::BOUNDS.len()],
    beyond: Cell<u64>,
    nanos: Cell<u64>,
}

impl Durations {
    /// The longest that each bucket holds; what took longer than the last is in a bucket of its own.
    pub const BOUNDS: [Duration; 11] = [
        Duration::from_millis(1),
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_millis(1000),
        Duration::from_millis(2500),
        Duration::from_millis(5000),
    ];

    /// Counts one more.
    #[inline]
    pub fn count(&self, took: Duration) {
        let bucket = Durations::BOUNDS.iter().position(|bound| took <= *bound);
        let bucket = bucket.map_or(&self.beyond, |index| &self.within[index]);
        bucket.set(bucket.get() + 1);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.set(self.nanos.get().saturating_add(nanos));
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.buckets().map(|(_, count)| count).sum()
    }

    /// What they took, all together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos.get())
    }

    /// How many there were up to each bound beyond the one before it; the last has none.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = Durations::BOUNDS.into_iter().map(Some).chain([None]);
        bounds.zip(self.within.iter().chain([&self.beyond]).map(Cell::get))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_is_longer_than_all_to_the_last() {
        let durations = Durations::default();
        let tick = Duration::from_nanos(1);
        for bound in Durations::BOUNDS {
            durations.count(bound);
            durations.count(bound + tick);
        }
        durations.count(Duration::ZERO);
        let counts: Vec<u64> = durations.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]);
        assert_eq!(durations.total(), 23);
        let sum: Duration = Durations::BOUNDS.iter().sum();
        assert_eq!(durations.sum(), 2 * sum + 11 * tick);
        durations.count(Duration::MAX);
        assert_eq!(durations.sum(), Duration::from_nanos(u64::MAX), "a sum does not wrap");
    }
}
