//! A schedule at a steady rate.
//!
//! The schedule never shifts: what is done late stays due at its original time. Latency counts from
//! that time, so that a stalling server cannot hide its stall by slowing down the client
//! (coordinated omission).

use std::time::Duration;

use weir::reactor::Time;

/// A schedule of bursts of `burst`, at a total rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pace {
    start: Time,
    nanos_each: f64,
    burst: u64,
    done: u64,
}

impl Pace {
    /// A schedule at `per_second`, which is positive, in bursts of `burst` (1: evenly), starting
    /// now.
    pub(crate) fn new(now: Time, per_second: f64, burst: u64) -> Pace {
        Pace { start: now, nanos_each: 1e9 / per_second, burst: burst.max(1), done: 0 }
    }

    /// The time at which the next one is due.
    pub(crate) fn due(&self) -> Time {
        let first_of_burst = self.done / self.burst * self.burst;
        // A double counts nanoseconds exactly for a hundred days.
        self.start + Duration::from_nanos((first_of_burst as f64 * self.nanos_each) as u64)
    }

    /// Takes the next one if it is due; returns its due time.
    pub(crate) fn take(&mut self, now: Time) -> Option<Time> {
        let due = self.due();
        (due <= now).then(|| {
            self.done += 1;
            due
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Time {
        Time::from_nanos(micros * 1000)
    }

    fn taken(pace: &mut Pace, now: Time) -> Vec<Time> {
        std::iter::from_fn(|| pace.take(now)).collect()
    }

    #[test]
    fn an_even_pace_does_not_drift_and_skips_nothing() {
        let mut pace = Pace::new(at(50), 10_000.0, 1);
        assert_eq!(taken(&mut pace, at(49)), []);
        assert_eq!(taken(&mut pace, at(50)), [at(50)]);
        assert_eq!(taken(&mut pace, at(149)), []);
        // A stall of three periods: all three stay due at their original times.
        assert_eq!(taken(&mut pace, at(360)), [at(150), at(250), at(350)]);
        assert_eq!(pace.due(), at(450));
        let mut thirds = Pace::new(Time::ZERO, 3.0, 1);
        assert_eq!(taken(&mut thirds, at(3_600_000_000)).len(), 3 * 3600 + 1);
    }

    #[test]
    fn bursts_keep_the_rate() {
        let mut pace = Pace::new(at(0), 1000.0, 5);
        assert_eq!(taken(&mut pace, at(0)), [at(0); 5]);
        assert_eq!(taken(&mut pace, at(4999)), []);
        assert_eq!(taken(&mut pace, at(5000)), [at(5000); 5]);
        assert_eq!(taken(&mut pace, at(1_000_000)).len(), 1005 - 10);
    }

    #[test]
    fn a_pace_may_be_below_one_per_second() {
        let mut pace = Pace::new(at(0), 0.5, 1);
        assert_eq!(taken(&mut pace, at(3_999_999)).len(), 2);
        assert_eq!(taken(&mut pace, at(4_000_000)).len(), 1);
    }
}
