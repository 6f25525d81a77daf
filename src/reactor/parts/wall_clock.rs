//! The wall clock against the loop's monotonic time: tokens expire by the former, timers fire by the
//! latter.
//!
//! It reads no clock: the caller passes both readings. While the two run alike, their difference, the
//! [`Offset`], stays. It changes slowly while the system adjusts its clock, and by a jump when the
//! clock is set, or after the machine was suspended.

use std::time::Duration;

use crate::reactor::api::time::Time;

/// A change by less than this is no jump.
const JUMP_NANOS: i64 = 1_000_000_000;

/// The wall time at the loop's epoch, in nanoseconds since 1970; good until the year 2262.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offset(i64);

impl Offset {
    /// The loop's time at a wall time. Wall times before the loop's epoch become the epoch.
    pub(crate) fn time_at(self, unix: Duration) -> Time {
        let nanos = i64::try_from(unix.as_nanos()).unwrap_or(i64::MAX);
        match nanos.checked_sub(self.0) {
            Some(nanos) => Time::from_nanos(u64::try_from(nanos).unwrap_or(0)),
            None => Time::MAX,
        }
    }

    /// The same wall time as `time` was under an earlier offset.
    pub(crate) fn moved(self, time: Time, earlier: Offset) -> Time {
        if time == Time::MAX {
            return time;
        }
        let back = self.0.saturating_sub(earlier.0);
        let by = Duration::from_nanos(back.unsigned_abs());
        if back > 0 { time - by } else { time + by }
    }
}

/// The present offset, and the one that expiries were last checked with.
#[derive(Debug)]
pub(crate) struct WallClock {
    offset: Offset,
    checked: Offset,
}

impl WallClock {
    pub(crate) fn new(now: Time, unix: Duration) -> WallClock {
        let offset = offset(now, unix);
        WallClock { offset, checked: offset }
    }

    /// Takes a reading of both clocks.
    pub(crate) fn read(&mut self, now: Time, unix: Duration) {
        self.offset = offset(now, unix);
    }

    pub(crate) fn offset(&self) -> Offset {
        self.offset
    }

    /// Whether the clock has jumped since this last returned true.
    pub(crate) fn take_jump(&mut self) -> bool {
        let by = self.offset.0.saturating_sub(self.checked.0);
        let has_jumped = by.abs() > JUMP_NANOS;
        if has_jumped {
            self.checked = self.offset;
        }
        has_jumped
    }
}

fn offset(now: Time, unix: Duration) -> Offset {
    let unix = i64::try_from(unix.as_nanos()).unwrap_or(i64::MAX);
    Offset(unix.saturating_sub(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1_800_000_000);

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn wall_times_convert_to_the_time_of_the_loop() {
        let clock = WallClock::new(at(500), START);
        let time = |millis| clock.offset().time_at(START + Duration::from_millis(millis));
        assert_eq!((time(0), time(1500)), (at(500), at(2000)));
        let before = clock.offset().time_at(START - Duration::from_secs(60));
        assert_eq!(before, Time::ZERO, "it was over before the loop started");
        assert!(clock.offset().time_at(Duration::MAX) > at(u64::MAX / 4_000_000));
    }

    #[test]
    fn only_a_change_of_more_than_a_second_is_a_jump() {
        let mut clock = WallClock::new(at(0), START);
        clock.read(at(10_000), START + Duration::from_millis(10_900));
        assert!(!clock.take_jump());
        clock.read(at(20_000), START + Duration::from_millis(21_100));
        assert!(clock.take_jump() && !clock.take_jump(), "adjusted slowly, and reported once");
        clock.read(at(30_000), START);
        assert!(clock.take_jump(), "it was set back");
    }

    #[test]
    fn a_time_moves_against_the_jump() {
        let mut clock = WallClock::new(at(0), START);
        let earlier = clock.offset();
        clock.read(at(0), START + Duration::from_secs(60));
        let later = clock.offset();
        assert_eq!(later.moved(at(90_000), earlier), at(30_000));
        assert_eq!(later.moved(at(9_000), earlier), Time::ZERO);
        assert_eq!(earlier.moved(at(30_000), later), at(90_000));
        assert_eq!(later.moved(Time::MAX, earlier), Time::MAX, "never stays never");
    }
}
