//! Histograms of durations, sizes and amounts, with few buckets each.
//!
//! They only count; `services::admin` exports them. Counts are in [`Cell`]s, so that a counter and
//! its exporter can share a histogram on one thread.

use std::cell::Cell;
use std::time::Duration;

/// Counts per bucket of `N` upper bounds, and the sum of all values.
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

/// A histogram of durations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Durations(Histogram<{ Durations::BOUNDS.len() }>);

impl Durations {
    /// The upper bound of each bucket. Longer durations count in one more bucket.
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

    /// Counts a duration.
    #[inline]
    pub fn count(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.count(&Durations::BOUNDS, took, nanos);
    }

    /// The number of durations counted.
    pub fn total(&self) -> u64 {
        self.0.total()
    }

    /// The sum of all durations.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.0.sum.get())
    }

    /// Each bucket's upper bound and count, not cumulative; the last bucket has no bound.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        Durations::BOUNDS.into_iter().map(Some).chain([None]).zip(self.0.counts())
    }
}

/// A histogram of sizes in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sizes(Histogram<{ Sizes::BOUNDS.len() }>);

impl Sizes {
    /// The upper bound of each bucket, in bytes. Larger sizes count in one more bucket.
    pub const BOUNDS: [usize; 9] =
        [16, 64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];

    /// Counts a size.
    #[inline]
    pub fn count(&self, bytes: usize) {
        self.0.count(&Sizes::BOUNDS, bytes, bytes as u64);
    }

    /// The number of sizes counted.
    pub fn total(&self) -> u64 {
        self.0.total()
    }

    /// The sum of all sizes, in bytes.
    pub fn sum(&self) -> u64 {
        self.0.sum.get()
    }

    /// Each bucket's upper bound and count, not cumulative; the last bucket has no bound.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<usize>, u64)> {
        Sizes::BOUNDS.into_iter().map(Some).chain([None]).zip(self.0.counts())
    }
}

/// A histogram of numbers of things.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Amounts(Histogram<{ Amounts::BOUNDS.len() }>);

impl Amounts {
    /// The upper bound of each bucket. Larger amounts count in one more bucket.
    pub const BOUNDS: [u64; 11] = [0, 1, 3, 10, 30, 100, 300, 1_000, 10_000, 100_000, 1_000_000];

    /// Counts an amount.
    #[inline]
    pub fn count(&self, amount: usize) {
        self.0.count(&Amounts::BOUNDS, amount as u64, amount as u64);
    }

    /// The number of amounts counted.
    pub fn total(&self) -> u64 {
        self.0.total()
    }

    /// The sum of all amounts.
    pub fn sum(&self) -> u64 {
        self.0.sum.get()
    }

    /// Each bucket's upper bound and count, not cumulative; the last bucket has no bound.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        Amounts::BOUNDS.into_iter().map(Some).chain([None]).zip(self.0.counts())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_counts_in_its_own_bucket_and_larger_values_in_the_last() {
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
    fn sizes_count_in_buckets_and_in_the_sum() {
        let sizes = Sizes::default();
        for bytes in [0, 16, 17, 1 << 20, (1 << 20) + 1] {
            sizes.count(bytes);
        }
        let counts: Vec<u64> = sizes.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(sizes.buckets().last(), Some((None, 1)));
        assert_eq!((sizes.total(), sizes.sum()), (5, 33 + (2 << 20) + 1));
    }

    #[test]
    fn amounts_count_in_buckets_and_in_the_sum() {
        let amounts = Amounts::default();
        for amount in [0, 1, 2, 1_000_000, 1_000_001] {
            amounts.count(amount);
        }
        let counts: Vec<u64> = amounts.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!((amounts.total(), amounts.sum()), (5, 2_000_004));
    }
}
