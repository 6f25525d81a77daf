//! How long to wait before the next attempt: twice as long after each failure, and never the same for
//! all who have failed together.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// The pause after the first failure, at the most.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The pauses of one connection that is to be kept.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    jitter: RandomState,
}

impl Backoff {
    /// The pause after one more failure: between half and all of what is due.
    pub(super) fn fail(&mut self) -> Duration {
        let due = PAUSE_MIN.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        let random = self.jitter.hash_one(self.failures) % 1024;
        due / 2 + due / 2 * random as u32 / 1024
    }

    /// It has worked: the next failure is the first one.
    pub(super) fn succeed(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_begin_again() {
        let mut backoff = Backoff::default();
        for due in [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            let pause = backoff.fail();
            let due = Duration::from_millis(due);
            assert!(pause >= due / 2 && pause <= due, "{pause:?} of {due:?}");
        }
        backoff.succeed();
        assert!(backoff.fail() <= PAUSE_MIN);
        for _ in 0..100 {
            assert!(backoff.fail() <= PAUSE_MAX);
        }
    }

    #[test]
    fn pauses_differ() {
        let pauses: std::collections::HashSet<Duration> =
            (0..50).map(|_| Backoff::default().fail()).collect();
        assert!(pauses.len() > 10, "{pauses:?}");
    }
}
