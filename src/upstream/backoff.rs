//! Exponential backoff with jitter: the pause before the next attempt doubles with each failure. It
//! is random, so that clients that failed together do not come back together.

use std::time::Duration;

use rand::rngs::{StdRng, SysRng};
use rand::{RngExt as _, SeedableRng as _};

/// The pauses between the attempts at one thing.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    /// Failures since the last success.
    failures: u32,
}

impl Backoff {
    /// Pauses of at most `first` after the first failure, and of at most `max` after many.
    pub(crate) fn new(first: Duration, max: Duration) -> Backoff {
        Backoff { first, max, failures: 0 }
    }

    /// Counts a failure and returns the pause after it: at random between half the bound and the
    /// bound.
    pub(crate) fn fail(&mut self) -> Duration {
        let bound = self.first.saturating_mul(1 << self.failures.min(16)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        match StdRng::try_from_rng(&mut SysRng) {
            Ok(mut rng) => rng.random_range(bound / 2..=bound),
            Err(_) => bound,
        }
    }

    /// The attempt has succeeded: the next failure counts as the first.
    pub(crate) fn succeed(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(Duration::from_millis(250), Duration::from_secs(30))
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_start_again_after_a_success() {
        let mut backoff = backoff();
        for bound in [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            let pause = backoff.fail();
            let bound = Duration::from_millis(bound);
            assert!(pause >= bound / 2 && pause <= bound, "{pause:?} of {bound:?}");
        }
        backoff.succeed();
        assert!(backoff.fail() <= Duration::from_millis(250));
        for _ in 0..100 {
            assert!(backoff.fail() <= Duration::from_secs(30));
        }
    }

    #[test]
    fn pauses_are_random() {
        let pauses: HashSet<Duration> = (0..50).map(|_| backoff().fail()).collect();
        assert!(pauses.len() > 10, "{pauses:?}");
    }
}
