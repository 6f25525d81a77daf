//! The rates of one connection: its buckets, and its pause while they are empty.
//!
//! State only, in the cold state: [`effects::rates`](crate::reactor::effects::rates) takes tokens,
//! pauses and resumes. What follows for the connection is in [`rated`](super::rated).

use std::time::Duration;

use crate::reactor::api::budget::{RATED_READ_BYTES_MAX, SHORT_READ_BYTES};
use crate::reactor::api::settings::Limit;
use crate::reactor::api::time::Time;
use crate::reactor::parts::bucket::Bucket;
use crate::reactor::parts::shared_rates::{SharedId, SharedRate};

/// How long pauses are added up for [`OverRate::Close`](crate::reactor::settings::OverRate::Close).
const WINDOW: Duration = Duration::from_secs(60);

/// The rates of a connection whose route has any.
#[derive(Debug)]
pub(crate) struct ConnRates {
    pub(crate) messages: Bucket,
    pub(crate) bytes: Bucket,
    /// By [`SharedRate`].
    pub(crate) shared: [Option<SharedId>; SharedRate::ALL.len()],
    /// Whether it shares no bucket.
    pub(crate) is_alone: bool,
    /// The most bytes of the next read.
    pub(crate) read_bytes_max: u32,
    /// The pause by a rate. Invariant: `Some` exactly while
    /// [`PauseOwner::Rate`](super::pause::PauseOwner::Rate) pauses reading.
    pause: Option<RatePause>,
    /// In a dry run: until when reading would be paused.
    pub(crate) dry_until: Time,
    /// When the minute started in which pauses are added up.
    window: Time,
    /// The sum of the ended pauses of that minute.
    paused: Duration,
}

/// A pause of reading by a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RatePause {
    pub(crate) since: Time,
    /// When to check whether tokens are back.
    pub(crate) until: Time,
    pub(crate) limit: Limit,
}

impl ConnRates {
    pub(crate) fn new(shared: [Option<SharedId>; SharedRate::ALL.len()]) -> ConnRates {
        ConnRates {
            messages: Bucket::default(),
            bytes: Bucket::default(),
            is_alone: shared.iter().all(Option::is_none),
            shared,
            read_bytes_max: SHORT_READ_BYTES as u32,
            pause: None,
            dry_until: Time::ZERO,
            window: Time::ZERO,
            paused: Duration::ZERO,
        }
    }

    /// Adapts the size of the next read: it grows while reads are full and handled whole, and is
    /// small after one that was not, since the rest waits in our memory instead of the peer's socket.
    #[inline]
    pub(crate) fn note_read(&mut self, bytes: usize, is_whole: bool) {
        if !is_whole {
            self.read_bytes_max = SHORT_READ_BYTES as u32;
        } else if bytes >= self.read_bytes_max as usize {
            self.read_bytes_max = (self.read_bytes_max * 2).min(RATED_READ_BYTES_MAX as u32);
        }
    }

    pub(crate) fn pause(&self) -> Option<RatePause> {
        self.pause
    }

    pub(crate) fn begin_pause(&mut self, pause: RatePause) {
        if pause.since.since(self.window) >= WINDOW {
            self.window = pause.since;
            self.paused = Duration::ZERO;
        }
        self.pause = Some(pause);
    }

    /// Ends the pause; returns its length.
    pub(crate) fn end_pause(&mut self, now: Time) -> Duration {
        let length = self.pause.take().map_or(Duration::ZERO, |pause| now.since(pause.since));
        self.paused += length;
        length
    }

    /// How long reading was paused in the present minute.
    pub(crate) fn paused(&self, now: Time) -> Duration {
        self.paused + self.pause.map_or(Duration::ZERO, |pause| now.since(pause.since))
    }

    /// Moves the end of the pause.
    pub(crate) fn pause_until(&mut self, until: Time) {
        if let Some(pause) = &mut self.pause {
            pause.until = until;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn pause(rates: &mut ConnRates, since: u64, until: u64) -> Duration {
        let limit = Limit::Messages;
        rates.begin_pause(RatePause { since: at(since), until: at(until), limit });
        let before = rates.paused(at(until));
        assert_eq!(rates.end_pause(at(until)), Duration::from_secs(until - since));
        assert_eq!((rates.pause(), rates.paused(at(until + 1))), (None, before));
        before
    }

    #[test]
    fn pauses_of_one_minute_are_added_up() {
        let mut rates = ConnRates::new([None; SharedRate::ALL.len()]);
        let sums: Vec<u64> = [(100, 103), (110, 114), (159, 165), (170, 171), (500, 502)]
            .map(|(since, until)| pause(&mut rates, since, until).as_secs())
            .into();
        assert_eq!(sums, [3, 7, 13, 1, 2]);
    }

    #[test]
    fn reads_grow_while_they_are_handled_whole() {
        let mut rates = ConnRates::new([None; SharedRate::ALL.len()]);
        let mut most = Vec::new();
        for (bytes, is_whole) in
            [(4096, true), (8192, true), (100, true), (16384, false), (4096, true)]
        {
            rates.note_read(bytes, is_whole);
            most.push(rates.read_bytes_max);
        }
        assert_eq!(most, [8192, 16384, 16384, 4096, 8192]);
        for _ in 0..20 {
            rates.note_read(rates.read_bytes_max as usize, true);
        }
        assert_eq!(rates.read_bytes_max as usize, RATED_READ_BYTES_MAX);
    }
}
