//! The value of `Date` in HTTP responses (RFC 9110, 6.6.1), formatted once per second.
//!
//! It owns the cached text. It reads the wall clock only by the given function.

use std::time::{Duration, SystemTime};

use crate::reactor::api::time::Time;

/// The last value, and the time until which it is correct.
#[derive(Debug, Default)]
pub(crate) struct DateCache {
    /// Empty before the first response.
    text: String,
    until: Time,
}

impl DateCache {
    /// The value at `now`. Reads the wall clock only if the last value is out of date.
    pub(crate) fn at(&mut self, now: Time, wall_clock: impl FnOnce() -> SystemTime) -> &str {
        if self.text.is_empty() || now >= self.until {
            // An unset clock may be before 1970, which the format does not support.
            let wall = wall_clock().max(SystemTime::UNIX_EPOCH);
            let since_epoch = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let within_second = Duration::from_nanos(since_epoch.subsec_nanos().into());
            self.until = now + (Duration::from_secs(1) - within_second);
            self.text = httpdate::fmt_http_date(wall);
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_is_read_once_per_second() {
        let mut dates = DateCache::default();
        // 1994-11-06 08:49:37.25, the example of RFC 9110, 5.6.7.
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_250);
        let start = Time::from_nanos(5);
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(dates.at(start, || wall), "Sun, 06 Nov 1994 08:49:37 GMT");
        for millis in [0, 1, 749] {
            let text = dates.at(at(millis), || panic!("read after {millis} ms"));
            assert_eq!(text, "Sun, 06 Nov 1994 08:49:37 GMT");
        }
        let next = wall + Duration::from_millis(750);
        assert_eq!(dates.at(at(750), || next), "Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(dates.at(at(1749), || panic!("read again")), "Sun, 06 Nov 1994 08:49:38 GMT");
    }

    #[test]
    fn a_clock_before_1970_counts_as_1970() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        let mut dates = DateCache::default();
        assert_eq!(dates.at(Time::ZERO, || before), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
