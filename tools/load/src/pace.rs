//! When the n-th of something is due, at a steady rate.
//!
//! The schedule does not bend: what is done late stays due when it was. That is what latency counts
//! from, so that a server that stalls cannot hide it by holding up the client (coordinated omission).

use std::time::Duration;

use weir::reactor::Time;

/// A schedule: bursts of `burst`, so many a second in all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pace {
    begun: Time,
    nanos_each: f64,
    burst: u64,
    done: u64,
}

impl Pace {
    /// So many per second, in bursts of `burst` (1: evenly), the first now. `per_second` is positive.
    pub(crate) fn new(now: Time, per_second: f64, burst: u64) -> Pace {
        Pace { begun: now, nanos_each: 1e9 / per_second, burst: burst.max(1), done: 0 }
    }

    /// When the next one is due.
    pub(crate) fn due(&self) -> Time {
        let first_of_burst = self.done / self.burst * self.burst;
        // A double counts nanoseconds exactly for a hundred days.
        self.begun + Duration::from_nanos((first_of_burst as f64 * self.nanos_each) as u64)
    }

    /// The next one, if it is due: when it was.
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
    fn an_even_pace_neither_drifts_nor_forgets() {
        let mut pace = Pace::new(at(50), 10_000.0, 1);
        assert_eq!(taken(&mut pace, at(49)), []);
        assert_eq!(taken(&mut pace, at(50)), [at(50)]);
        assert_eq!(taken(&mut pace, at(149)), []);
        // A stall of three periods: all of them are due when they were due.
        assert_eq!(taken(&mut pace, at(360)), [at(150), at(250), at(350)]);
        assert_eq!(pace.due(), at(450));
        let mut thirds = Pace::new(Time::ZERO, 3.0, 1);
        assert_eq!(taken(&mut thirds, at(3_600_000_000)).len(), 3 * 3600 + 1);
    }

    #[test]
    fn bursts_come_together_at_the_same_rate() {
        let mut pace = Pace::new(at(0), 1000.0, 5);
        assert_eq!(taken(&mut pace, at(0)), [at(0); 5]);
        assert_eq!(taken(&mut pace, at(4999)), []);
        assert_eq!(taken(&mut pace, at(5000)), [at(5000); 5]);
        assert_eq!(taken(&mut pace, at(1_000_000)).len(), 1005 - 10);
    }

    #[test]
    fn less_than_one_a_second() {
        let mut pace = Pace::new(at(0), 0.5, 1);
        assert_eq!(taken(&mut pace, at(3_999_999)).len(), 2);
        assert_eq!(taken(&mut pace, at(4_000_000)).len(), 1);
    }
}
