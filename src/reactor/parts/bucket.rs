//! The token bucket, for rates of new connections and of log lines.
//!
//! It reads no clock and knows no limits: the caller passes the time and the rate.

use crate::reactor::api::settings::Rate;
use crate::reactor::api::time::Time;

/// A token bucket: tokens return at a rate, up to a burst.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    tokens: f64,
    filled: Time,
}

impl Bucket {
    pub(crate) fn full(burst: u32, now: Time) -> Bucket {
        Bucket { tokens: f64::from(burst), filled: now }
    }

    pub(crate) fn take(&mut self, rate: &Rate, now: Time) -> bool {
        let back = now.since(self.filled).as_secs_f64() * rate.per_second;
        self.tokens = (self.tokens + back).min(f64::from(rate.burst));
        self.filled = now;
        let has_one = self.tokens >= 1.0;
        if has_one {
            self.tokens -= 1.0;
        }
        has_one
    }

    /// Whether dropping the bucket changes nothing, because a new one would be full, too.
    pub(crate) fn is_full(&self, rate: &Rate, now: Time) -> bool {
        let missing = f64::from(rate.burst) - self.tokens;
        now.since(self.filled).as_secs_f64() * rate.per_second >= missing
    }
}
