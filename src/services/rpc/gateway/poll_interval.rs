//! The interval at which upstreams are polled for new heads, which follows the time between blocks.
//!
//! Learns the time between blocks from when they were seen. Time is an argument.

use std::time::Duration;

use crate::reactor::Time;

/// The shortest interval, which is the resolution of the loop's timers.
pub(super) const INTERVAL_MIN: Duration = Duration::from_millis(128);
/// The longest interval.
pub(super) const INTERVAL_MAX: Duration = Duration::from_secs(4);
/// Polls per block: a block is seen late by at most a quarter of the time between blocks.
const POLLS_PER_BLOCK: u32 = 4;
/// A new time between blocks changes the mean by one part in this.
const WEIGHT: u32 = 4;

/// The poll interval.
#[derive(Debug, Default)]
pub(super) struct PollInterval {
    /// When the last block was seen.
    last: Option<Time>,
    block_time: Option<Duration>,
}

impl PollInterval {
    /// Counts blocks that were seen at the same time.
    pub(super) fn count(&mut self, blocks: u32, now: Time) {
        if blocks == 0 {
            return;
        }
        if let Some(last) = self.last {
            let seen = now.since(last) / blocks;
            self.block_time = Some(match self.block_time {
                None => seen,
                Some(known) => (known * (WEIGHT - 1) + seen) / WEIGHT,
            });
        }
        self.last = Some(now);
    }

    /// The mean time between blocks, once two were seen.
    pub(super) fn block_time(&self) -> Option<Duration> {
        self.block_time
    }

    /// The time until the next poll.
    pub(super) fn get(&self) -> Duration {
        let wanted = self.block_time.map_or(INTERVAL_MIN, |time| time / POLLS_PER_BLOCK);
        wanted.clamp(INTERVAL_MIN, INTERVAL_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval_after(block_time: Duration, blocks: u32) -> PollInterval {
        let mut interval = PollInterval::default();
        (0..blocks).for_each(|block| interval.count(1, Time::ZERO + block_time * block));
        interval
    }

    #[test]
    fn the_interval_follows_the_block_time_within_limits() {
        let interval = |millis| interval_after(Duration::from_millis(millis), 20).get();
        assert_eq!(interval(50), INTERVAL_MIN);
        assert_eq!(interval(2_000), Duration::from_millis(500));
        assert_eq!(interval(12_000), Duration::from_secs(3));
        assert_eq!(interval(60_000), INTERVAL_MAX);
        assert_eq!(PollInterval::default().get(), INTERVAL_MIN, "no block was seen");
    }

    #[test]
    fn a_new_block_time_is_learnt() {
        let mut interval = interval_after(Duration::from_secs(12), 20);
        let mut now = Time::ZERO + Duration::from_secs(12) * 19;
        for _ in 0..20 {
            now = now + Duration::from_secs(2);
            interval.count(1, now);
        }
        assert!(interval.get() < Duration::from_millis(600), "{:?}", interval.get());
    }

    #[test]
    fn blocks_that_are_seen_together_share_the_time() {
        let mut interval = PollInterval::default();
        interval.count(1, Time::ZERO);
        interval.count(6, Time::ZERO + Duration::from_secs(12));
        assert_eq!(interval.block_time(), Some(Duration::from_secs(2)));
        interval.count(0, Time::ZERO + Duration::from_secs(60));
        assert_eq!(interval.block_time(), Some(Duration::from_secs(2)));
    }
}
