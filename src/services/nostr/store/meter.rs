//! The budget of one slice: steps, and time.

use std::time::{Duration, Instant};

/// What a slice may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Index entries; a seek and a record count as 4.
    pub steps: usize,
    /// Time.
    pub time: Duration,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { steps: 2_000, time: Duration::from_millis(5) }
    }
}

/// Steps of an index entry.
pub(super) const ENTRY_STEPS: usize = 1;
/// Steps of a seek.
pub(super) const SEEK_STEPS: usize = 4;
/// Steps of a record, or of another read by key.
pub(super) const RECORD_STEPS: usize = 4;
/// The clock is read once in this many checks: that is every 100 µs or so.
const CHECKS_PER_CLOCK: u32 = 16;

/// What is left of a budget.
#[derive(Debug)]
pub(super) struct Meter {
    budget: Budget,
    start: Instant,
    used: usize,
    checks: u32,
    is_late: bool,
}

impl Meter {
    pub(super) fn new(budget: Budget) -> Meter {
        Meter { budget, start: Instant::now(), used: 0, checks: 0, is_late: false }
    }

    pub(super) fn spend(&mut self, steps: usize) {
        self.used += steps;
    }

    /// Whether the slice has to end.
    pub(super) fn is_empty(&mut self) -> bool {
        self.checks += 1;
        if self.checks.is_multiple_of(CHECKS_PER_CLOCK) {
            self.is_late = self.start.elapsed() >= self.budget.time;
        }
        self.is_late || self.used >= self.budget.steps
    }

    /// Steps used so far.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}
