//! Rounds of the loop: how long a random event waits for it.
//!
//! A round lasts from the start of a turn until everything that was queued for reading then has been
//! read, in that turn or a later one. An event arrives in a round of length t with a probability in
//! proportion to t, and waits in proportion to t: Σ t² / window is what a random event waits. It reads
//! no clock: the turn passes its times.

use std::time::Duration;

use crate::reactor::api::time::Time;

/// Shorter rounds count as no wait: they are most of all turns, and together at most this.
const SHORT_NANOS: u64 = 1 << 16;
/// Lengths are squared in units of 2^10 ns, so that a sum over minutes fits into 64 bits.
const UNIT_SHIFT: u32 = 10;
const UNIT_SECONDS: f64 = (1 << UNIT_SHIFT) as f64 / 1e9;

/// The sums over the rounds since the last sample.
#[derive(Debug)]
pub(crate) struct Rounds {
    /// Σ t of turns, in nanoseconds.
    busy: u64,
    /// Turns from this length on are more than a short round: all of them while a round is open, and
    /// after a slow turn.
    long_from: u64,
    /// Turns from this length on are slow.
    slow_from: u64,
    /// Whether the last turn was slow.
    is_slow: bool,
    /// Σ t² of ended rounds, in square units.
    squares: u64,
    /// Whether the round has not ended with its turn: connections are left to be read.
    is_open: bool,
    /// The start of the open round.
    since: Time,
    /// Connections that the open round has not read yet.
    left: usize,
    /// Whether this turn has left connections to be read.
    is_cut: bool,
    /// What the last sample has counted of the open round.
    counted_squares: u64,
}

impl Default for Rounds {
    fn default() -> Rounds {
        Rounds {
            busy: 0,
            long_from: SHORT_NANOS,
            slow_from: u64::MAX,
            is_slow: false,
            squares: 0,
            is_open: false,
            since: Time::ZERO,
            left: 0,
            is_cut: false,
            counted_squares: 0,
        }
    }
}

impl Rounds {
    /// Rounds of a loop whose turns are slow from this length on.
    pub(crate) fn new(slow_from: Duration) -> Rounds {
        let slow_from = u64::try_from(slow_from.as_nanos()).unwrap_or(u64::MAX);
        Rounds { slow_from, ..Rounds::default() }
    }

    /// Records that a turn, which started at `now`, has read only `read` of the `queued` connections.
    #[cold]
    pub(crate) fn count_reads(&mut self, now: Time, queued: usize, read: usize) {
        if !self.is_open {
            self.is_open = true;
            self.since = now;
            self.left = queued;
            self.long_from = 0;
        }
        self.is_cut = true;
        self.left = self.left.saturating_sub(read);
    }

    /// Adds the round of a turn, or ends an open round that has read all its connections. Returns
    /// whether the turn was slow, if that may have changed.
    #[inline(always)]
    pub(crate) fn end_turn(&mut self, now: Time, end: Time) -> Option<bool> {
        let nanos = end.as_nanos() - now.as_nanos();
        self.busy += nanos;
        (nanos >= self.long_from).then(|| self.end_long_turn(nanos, end))
    }

    #[cold]
    #[inline(never)]
    fn end_long_turn(&mut self, nanos: u64, end: Time) -> bool {
        // A turn that leaves nothing has read what was left of the round, too.
        let is_cut = std::mem::replace(&mut self.is_cut, false);
        if !self.is_open {
            self.squares += square(nanos);
        } else if !is_cut || self.left == 0 {
            self.is_open = false;
            self.squares += square(end.as_nanos() - self.since.as_nanos());
        }
        self.is_slow = nanos >= self.slow_from;
        self.long_from = if self.is_open || self.is_slow { 0 } else { SHORT_NANOS };
        self.is_slow
    }

    /// Shifts an open round, whose time the process was stopped for.
    pub(crate) fn discount(&mut self, stopped: Duration) {
        self.since = self.since + stopped;
    }

    /// Seconds that a random event waited, and the busy part, over the `window` that ends now.
    pub(crate) fn take(&mut self, now: Time, window: Duration) -> (f64, f64) {
        let open = if self.is_open { now.as_nanos() - self.since.as_nanos() } else { 0 };
        let squares = (self.squares + square(open)).saturating_sub(self.counted_squares);
        let busy = self.busy;
        (self.busy, self.squares) = (0, 0);
        self.counted_squares = square(open);
        let window = window.as_secs_f64().max(UNIT_SECONDS);
        let waited = squares as f64 * UNIT_SECONDS * UNIT_SECONDS / window;
        (waited, busy as f64 / 1e9 / window)
    }
}

/// Wraps for a round above 73 minutes.
#[inline(always)]
fn square(nanos: u64) -> u64 {
    let units = nanos >> UNIT_SHIFT;
    units.wrapping_mul(units)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(250);

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    fn is_near(measured: f64, expected: f64) -> bool {
        (measured - expected).abs() <= expected * 0.001 + 1e-9
    }

    #[test]
    fn one_round_of_50_ms_measures_10_ms() {
        let mut rounds = Rounds::default();
        rounds.end_turn(at(100), at(150));
        let (waited, busy) = rounds.take(at(250), WINDOW);
        assert!(is_near(waited, 0.010) && is_near(busy, 0.2), "{waited} {busy}");
        let (waited, busy) = rounds.take(at(500), WINDOW);
        assert_eq!((waited, busy), (0.0, 0.0));
    }

    #[test]
    fn rounds_without_a_pause_measure_their_length() {
        let mut rounds = Rounds::default();
        for turn in 0..50 {
            rounds.end_turn(at(turn * 5), at(turn * 5 + 5));
        }
        let (waited, busy) = rounds.take(at(250), WINDOW);
        assert!(is_near(waited, 0.005) && is_near(busy, 1.0), "{waited} {busy}");
    }

    #[test]
    fn a_round_lasts_until_all_queued_connections_are_read() {
        let mut rounds = Rounds::default();
        // 300 connections in three turns of 20 ms.
        rounds.count_reads(at(0), 300, 100);
        rounds.end_turn(at(0), at(20));
        assert!(rounds.is_open);
        // 50 more are queued behind them, and one of the read ones is put back.
        rounds.count_reads(at(20), 250, 99);
        rounds.end_turn(at(20), at(40));
        rounds.end_turn(at(40), at(60));
        assert!(!rounds.is_open);
        let (waited, busy) = rounds.take(at(250), WINDOW);
        assert!(is_near(waited, 0.06 * 0.06 / 0.25) && is_near(busy, 0.24), "{waited} {busy}");
    }

    #[test]
    fn the_turn_after_a_slow_one_is_reported_however_short_it_is() {
        let mut rounds = Rounds::new(Duration::from_millis(50));
        let micros = |start, length| {
            let start = at(start);
            (start, start + Duration::from_micros(length))
        };
        let mut ends = |(now, end)| rounds.end_turn(now, end);
        assert_eq!(ends(micros(0, 10)), None);
        assert_eq!(ends(micros(1, 49_999)), Some(false));
        assert_eq!(ends(micros(60, 50_000)), Some(true));
        assert_eq!(ends(micros(120, 10)), Some(false));
        assert_eq!(ends(micros(121, 10)), None);
    }

    #[test]
    fn each_sample_counts_its_part_of_a_long_round() {
        let mut rounds = Rounds::default();
        let mut waits = Vec::new();
        for sample in 1..=4 {
            rounds.count_reads(at(0), 10, 1);
            rounds.end_turn(at(0), at(sample * 250));
            waits.push(rounds.take(at(sample * 250), WINDOW).0);
        }
        rounds.end_turn(at(1000), at(1200));
        waits.push(rounds.take(at(1250), WINDOW).0);
        let all: f64 = waits.iter().sum::<f64>() * 0.25;
        assert!(waits.is_sorted() || waits[4] < waits[3], "{waits:?}");
        assert!(waits.iter().all(|waited| *waited > 0.2), "{waits:?}");
        assert!(is_near(all, 1.2 * 1.2), "{waits:?}");
    }

    #[test]
    fn the_time_of_a_stop_belongs_to_no_round() {
        let mut rounds = Rounds::default();
        rounds.count_reads(at(0), 10, 1);
        rounds.end_turn(at(0), at(10));
        rounds.discount(Duration::from_secs(30));
        rounds.end_turn(at(30_010), at(30_020));
        let (waited, _) = rounds.take(at(30_250), WINDOW);
        assert!(is_near(waited, 0.02 * 0.02 / 0.25), "{waited}");
    }
}
