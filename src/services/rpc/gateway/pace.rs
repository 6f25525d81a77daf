//! How often to ask for news: as often as there are some, within limits.
//!
//! Learns the time between blocks from when they were seen; reads no clock.

use std::time::Duration;

use crate::reactor::Time;

/// The shortest time between two polls, which is what the loop's timers can tell apart.
pub(super) const INTERVAL_MIN: Duration = Duration::from_millis(128);
/// The longest.
pub(super) const INTERVAL_MAX: Duration = Duration::from_secs(4);
/// Polls for each block: it is seen a quarter of the time between blocks late, at worst.
const POLLS_PER_BLOCK: u32 = 4;
/// The weight of what was seen last, against all before: one part in so many.
const WEIGHT: u32 = 4;

/// The time between blocks, as seen so far.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Time>,
    block_time: Option<Duration>,
}

impl Pace {
    /// So many blocks came into sight.
    pub(super) fn saw(&mut self, blocks: u32, now: Time) {
        if let (Some(last), true) = (self.last, blocks > 0) {
            let seen = now.since(last) / blocks;
            self.block_time = Some(match self.block_time {
                None => seen,
                Some(known) => (known * (WEIGHT - 1) + seen) / WEIGHT,
            });
        }
        if blocks > 0 {
            self.last = Some(now);
        }
    }

    /// The time between blocks, if two were seen.
    pub(super) fn block_time(&self) -> Option<Duration> {
        self.block_time
    }

    /// How long to wait for the next poll.
    pub(super) fn interval(&self) -> Duration {
        let wanted = self.block_time.map_or(INTERVAL_MIN, |time| time / POLLS_PER_BLOCK);
        wanted.clamp(INTERVAL_MIN, INTERVAL_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paced(block_time: Duration, blocks: u32) -> Pace {
        let mut pace = Pace::default();
        (0..blocks).for_each(|block| pace.saw(1, Time::ZERO + block_time * block));
        pace
    }

    #[test]
    fn polls_follow_the_block_time_within_limits() {
        let interval = |millis| paced(Duration::from_millis(millis), 20).interval();
        assert_eq!(interval(50), INTERVAL_MIN);
        assert_eq!(interval(2_000), Duration::from_millis(500));
        assert_eq!(interval(12_000), Duration::from_secs(3));
        assert_eq!(interval(60_000), INTERVAL_MAX);
        assert_eq!(Pace::default().interval(), INTERVAL_MIN, "nothing is known yet");
    }

    #[test]
    fn a_new_block_time_is_learnt() {
        let mut pace = paced(Duration::from_secs(12), 20);
        let mut now = Time::ZERO + Duration::from_secs(12) * 19;
        for _ in 0..20 {
            now = now + Duration::from_secs(2);
            pace.saw(1, now);
        }
        assert!(pace.interval() < Duration::from_millis(600), "{:?}", pace.interval());
    }

    #[test]
    fn blocks_that_come_together_share_the_time() {
        let mut pace = Pace::default();
        pace.saw(1, Time::ZERO);
        pace.saw(6, Time::ZERO + Duration::from_secs(12));
        assert_eq!(pace.block_time(), Some(Duration::from_secs(2)));
        pace.saw(0, Time::ZERO + Duration::from_secs(60));
        assert_eq!(pace.block_time(), Some(Duration::from_secs(2)));
    }
}
