//! How many tunnels may end now, at a rate. It starts empty: a drain begins slowly.

use crate::reactor::Time;
use crate::reactor::settings::Rate;

/// The ends that a pool may still use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    ends: f64,
    filled: Time,
}

impl Allowance {
    pub(super) fn empty(now: Time) -> Allowance {
        Allowance { ends: 0.0, filled: now }
    }

    /// Takes up to `wanted` ends.
    pub(super) fn take(&mut self, rate: &Rate, wanted: usize, now: Time) -> usize {
        let new = now.since(self.filled).as_secs_f64() * rate.per_second;
        self.filled = now;
        self.ends = (self.ends + new).min(f64::from(rate.burst));
        // Times are whole nanoseconds: the last bit of an end may be missing.
        let whole = (self.ends + 1e-6).floor().min(wanted as f64);
        self.ends -= whole;
        whole as usize
    }
}
