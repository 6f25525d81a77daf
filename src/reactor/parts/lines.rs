//! Rate limits of log lines that peers can provoke, by kind and reason.
//!
//! It owns the limits and the counts of suppressed lines. It writes no line:
//! [`log`](crate::reactor::effects::log) does.

use std::collections::BTreeMap;
use std::time::Duration;

use log::Level;

use super::bucket::Bucket;
use crate::reactor::api::settings::Rate;
use crate::reactor::api::time::Time;

/// Rate of lines of one kind and reason: enough to see what happens and from where.
const LINES: Rate = Rate { per_second: 10.0, burst: 10 };

/// How long suppressed lines are counted before the count is logged. The bucket is full again by
/// then.
pub(crate) const SUMMARY_DELAY: Duration = Duration::from_secs(1);

/// What a line is about. With the reason it identifies a limit. Both are constants of this program,
/// so that the number of limits is bounded.
pub(crate) type Kind = &'static str;

pub(crate) type Reason = &'static str;

/// The rate limits of all lines that peers can provoke.
#[derive(Debug, Default)]
pub(crate) struct LineLimits {
    by_reason: BTreeMap<(Kind, Reason), Limit>,
    /// Whether the timer that logs the counts is set. Invariant: true if any line was suppressed.
    pub(crate) is_summary_due: bool,
}

#[derive(Debug)]
struct Limit {
    level: Level,
    bucket: Bucket,
    held_back: u64,
}

impl LineLimits {
    /// Whether a line may be logged; counts it if not.
    pub(crate) fn take(&mut self, level: Level, kind: Kind, reason: Reason, now: Time) -> bool {
        let full = || Limit { level, bucket: Bucket::default(), held_back: 0 };
        let limit = self.by_reason.entry((kind, reason)).or_insert_with(full);
        let is_allowed = limit.bucket.take(&LINES, now).is_ok();
        limit.held_back += u64::from(!is_allowed);
        is_allowed
    }

    /// Lines suppressed since the last call: level, kind, reason and count.
    pub(crate) fn take_held_back(&mut self) -> impl Iterator<Item = (Level, Kind, Reason, u64)> {
        self.is_summary_due = false;
        let counts = self.by_reason.iter_mut().map(|(&(kind, reason), limit)| {
            (limit.level, kind, reason, std::mem::take(&mut limit.held_back))
        });
        counts.filter(|&(.., count)| count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::api::time::Time;
    use log::Level;
    use std::time::Duration;

    fn after(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn ten_lines_a_second_of_each_reason_are_logged_and_the_others_counted() {
        let mut lines = LineLimits::default();
        let mut logged = |reason, count, millis| {
            (0..count).filter(|_| lines.take(Level::Info, "refused", reason, after(millis))).count()
        };
        assert_eq!(logged("origin", 1000, 0), 10);
        assert_eq!(logged("not_found", 5, 0), 5, "each reason has its own");
        assert_eq!(logged("origin", 1000, 500), 5);
        let held_back: Vec<_> = lines.take_held_back().collect();
        assert_eq!(held_back, [(Level::Info, "refused", "origin", 1985)]);
        assert_eq!(lines.take_held_back().count(), 0, "each is counted once");
        assert!(lines.take(Level::Info, "refused", "origin", after(1500)));
    }
}
