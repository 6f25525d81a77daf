//! How long things took and how large they were, as operators are shown it: histograms of few buckets.
//!
//! Cells, so that whoever shows them can share them with whoever counts, on one thread.

use std::cell::Cell;
use std::time::Duration;

/// How many fell between each of `N` bounds and the one before, and the sum of all.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Histogram<const N: usize> {
    within: [Cell<u64>; N],
    beyond: Cell<u64>,
    sum: Cell<u64>,
}

impl<const N: usize> Histogram<N> {
    #[inline]
    fn count<B: PartialOrd>(&self, bounds: &[B; N], value: B, amount: u64) {
        let bucket = bounds.iter().position(|bound| value <= *bound);
        let bucket = bucket.map_or(&self.beyond, |index| &self.within[index]);
        bucket.set(bucket.get() + 1);
        self.sum.set(self.sum.get().saturating_add(amount));
    }

    fn total(&self) -> u64 {
        self.counts().sum()
    }

    fn counts(&self) -> impl Iterator<Item = u64> {
        self.within.iter().chain([&self.beyond]).map(Cell::get)
    }
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Histogram<N> {
        Histogram {
            within: [const { Cell::new(0) }; N],
            beyond: Cell::default(),
            sum: Cell::default(),
        }
    }
}

/// How long things took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Durations(Histogram<{ Durations::BOUNDS.len() }>);

impl Durations {
    /// The longest that each bucket holds; what took longer than the last is in a bucket of its own.
    pub const BOUNDS: [Duration; 14] = [
        Duration::from_micros(1),
        Duration::from_micros(10),
        Duration::from_micros(100),
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
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.count(&Durations::BOUNDS, took, nanos);
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.0.total()
    }

    /// What they took, all together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.0.sum.get())
    }

    /// How many there were up to each bound beyond the one before it; the last has none.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        Durations::BOUNDS.into_iter().map(Some).chain([None]).zip(self.0.counts())
    }
}

/// How large things were, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sizes(Histogram<{ Sizes::BOUNDS.len() }>);

impl Sizes {
    /// The largest that each bucket holds; what was larger than the last is in a bucket of its own.
    pub const BOUNDS: [usize; 9] =
        [16, 64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];

    /// Counts one more.
    #[inline]
    pub fn count(&self, bytes: usize) {
        self.0.count(&Sizes::BOUNDS, bytes, bytes as u64);
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.0.total()
    }

    /// Their bytes, all together.
    pub fn sum(&self) -> u64 {
        self.0.sum.get()
    }

    /// How many there were up to each bound beyond the one before it; the last has none.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<usize>, u64)> {
        Sizes::BOUNDS.into_iter().map(Some).chain([None]).zip(self.0.counts())
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
        assert_eq!(counts, [2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]);
        assert_eq!(durations.total(), 29);
        let sum: Duration = Durations::BOUNDS.iter().sum();
        assert_eq!(durations.sum(), 2 * sum + 14 * tick);
        durations.count(Duration::MAX);
        assert_eq!(durations.sum(), Duration::from_nanos(u64::MAX), "a sum does not wrap");
    }

    #[test]
    fn sizes_are_counted_likewise() {
        let sizes = Sizes::default();
        for bytes in [0, 16, 17, 1 << 20, (1 << 20) + 1] {
            sizes.count(bytes);
        }
        let counts: Vec<u64> = sizes.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(sizes.buckets().last(), Some((None, 1)));
        assert_eq!((sizes.total(), sizes.sum()), (5, 33 + (2 << 20) + 1));
    }
}
