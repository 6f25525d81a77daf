//! How long to wait before the next attempt: twice as long after each failure, and never the same for
//! all who have failed together.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// The pauses of one thing that is to be tried until it works.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
    jitter: RandomState,
}

impl Backoff {
    /// Pauses from `first` to `most`, which are their bounds, not their lengths.
    pub(crate) fn new(first: Duration, most: Duration) -> Backoff {
        Backoff { first, most, failures: 0, jitter: RandomState::new() }
    }

    /// The pause after one more failure: between half and all of what is due.
    pub(crate) fn fail(&mut self) -> Duration {
        let due = self.first.saturating_mul(1 << self.failures.min(16)).min(self.most);
        self.failures = self.failures.saturating_add(1);
        let random = self.jitter.hash_one(self.failures) % 1024;
        due / 2 + due / 2 * random as u32 / 1024
    }

    /// It has worked: the next failure is the first one. Tells whether there were any.
    pub(crate) fn succeed(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }

    /// Whether nothing has failed since it last worked.
    #[cfg(any(test, feature = "node"))]
    pub(crate) fn is_fresh(&self) -> bool {
        self.failures == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(Duration::from_millis(250), Duration::from_secs(30))
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_begin_again() {
        let mut backoff = backoff();
        assert!(backoff.is_fresh());
        for due in [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            let pause = backoff.fail();
            let due = Duration::from_millis(due);
            assert!(pause >= due / 2 && pause <= due, "{pause:?} of {due:?}");
        }
        assert!(!backoff.is_fresh() && backoff.succeed() && backoff.is_fresh());
        assert!(!backoff.succeed());
        assert!(backoff.fail() <= Duration::from_millis(250));
        for _ in 0..100 {
            assert!(backoff.fail() <= Duration::from_secs(30));
        }
    }

    #[test]
    fn pauses_differ() {
        let pauses: std::collections::HashSet<Duration> =
            (0..50).map(|_| backoff().fail()).collect();
        assert!(pauses.len() > 10, "{pauses:?}");
    }
}
