//! Time per phase of the turns: collected in [`TurnStats`], reported as [`TurnReport`].
//!
//! It reads no clock: the turn passes the times. It exists only if
//! [`Settings::turn_stats`](field@crate::reactor::settings::Settings::turn_stats) is set.

use std::fmt;
use std::time::Duration;

use super::metrics::Metrics;
use crate::reactor::api::time::Time;

/// The phases of a turn, in order.
pub(crate) const PHASES: [&str; 8] =
    ["readiness", "read", "mail", "timers", "accept", "flush", "drain", "reap"];

/// Sums over the turns since the last report.
#[derive(Debug)]
pub(crate) struct TurnStats {
    since: Time,
    messages_in: u64,
    messages_out: u64,
    turns: u64,
    events: u64,
    /// When the last turn ended: the time until the next one starts belongs to the poll.
    ended: Time,
    poll: Duration,
    phases: [Duration; PHASES.len()],
    /// The phases of the longest turn.
    longest: [Duration; PHASES.len()],
    /// Whether this turn ends with a report in the log.
    pub(crate) is_requested: bool,
}

impl TurnStats {
    pub(crate) fn new(now: Time, metrics: &Metrics) -> TurnStats {
        TurnStats {
            since: now,
            messages_in: metrics.messages_in,
            messages_out: metrics.messages_out,
            turns: 0,
            events: 0,
            ended: now,
            poll: Duration::ZERO,
            phases: [Duration::ZERO; PHASES.len()],
            longest: [Duration::ZERO; PHASES.len()],
            is_requested: false,
        }
    }

    /// Adds a turn that started at `began`, after a poll that returned `events` events. `ends` are
    /// the ends of its phases.
    pub(crate) fn count(&mut self, events: usize, began: Time, ends: [Time; PHASES.len()]) {
        self.turns += 1;
        self.events += events as u64;
        self.poll += began.since(self.ended);
        let mut start = began;
        let phases = ends.map(|end| end.since(std::mem::replace(&mut start, end)));
        for (sum, phase) in self.phases.iter_mut().zip(phases) {
            *sum += phase;
        }
        if total(&phases) > total(&self.longest) {
            self.longest = phases;
        }
        self.ended = start;
    }

    /// The report up to now, when the loop had counted `metrics`. Starts the next report.
    pub(crate) fn report(&mut self, now: Time, metrics: &Metrics) -> TurnReport {
        let stats = std::mem::replace(self, TurnStats::new(now, metrics));
        TurnReport {
            elapsed: now.since(stats.since),
            turns: stats.turns,
            events: stats.events,
            messages_in: self.messages_in - stats.messages_in,
            messages_out: self.messages_out - stats.messages_out,
            poll: stats.poll,
            phases: stats.phases,
            longest: stats.longest,
        }
    }
}

/// Statistics of the turns between two reports, or since the loop's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnReport {
    /// The time that it covers.
    pub elapsed: Duration,
    /// The number of turns.
    pub turns: u64,
    /// Events returned by the polls.
    pub events: u64,
    /// Messages received.
    pub messages_in: u64,
    /// Messages queued.
    pub messages_out: u64,
    /// Time in the poll: mostly waiting, unless the loop is busy.
    pub poll: Duration,
    /// Time in each of the eight [phases](crate::reactor), in their order.
    pub phases: [Duration; PHASES.len()],
    /// Time in each phase of the longest turn, without the poll before it.
    pub longest: [Duration; PHASES.len()],
}

fn total(phases: &[Duration]) -> Duration {
    phases.iter().sum()
}

impl fmt::Display for TurnReport {
    /// One line of `name=value`: rates, averages per turn, nanoseconds per turn in the poll and in
    /// each phase, and the longest turn with its longest phase.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let turns = self.turns.max(1) as f64;
        let seconds = self.elapsed.as_secs_f64();
        write!(f, "seconds={seconds:.3} turns={}", self.turns)?;
        write!(f, " turns_per_second={:.1}", self.turns as f64 / seconds.max(f64::MIN_POSITIVE))?;
        write!(f, " events_per_turn={:.2}", self.events as f64 / turns)?;
        write!(f, " messages_in_per_turn={:.2}", self.messages_in as f64 / turns)?;
        write!(f, " messages_out_per_turn={:.2}", self.messages_out as f64 / turns)?;
        let mean = |time: Duration| time.as_nanos() as f64 / turns;
        write!(f, " poll_ns={:.0}", mean(self.poll))?;
        for (name, time) in PHASES.iter().zip(self.phases) {
            write!(f, " {name}_ns={:.0}", mean(time))?;
        }
        write!(f, " longest_ns={}", total(&self.longest).as_nanos())?;
        match PHASES.iter().zip(self.longest).max_by_key(|&(_, time)| time) {
            Some((name, time)) if !time.is_zero() => write!(f, " longest_phase={name}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    fn metrics(messages_in: u64, messages_out: u64) -> Metrics {
        Metrics { messages_in, messages_out, ..Metrics::default() }
    }

    fn nanos(nanos: u64) -> Duration {
        Duration::from_nanos(nanos)
    }

    #[test]
    fn all_time_belongs_to_the_poll_or_to_a_phase() {
        let mut stats = TurnStats::new(at(100), &metrics(0, 0));
        stats.count(3, at(150), [160, 190, 190, 190, 190, 200, 200, 201].map(at));
        stats.count(1, at(301), [302, 303, 304, 305, 306, 307, 308, 321].map(at));
        let report = stats.report(at(321), &metrics(0, 0));
        assert_eq!((report.turns, report.events), (2, 4));
        assert_eq!(report.poll, nanos(50 + 100));
        assert_eq!(report.phases, [11, 31, 1, 1, 1, 11, 1, 14].map(nanos));
        assert_eq!(report.longest, [10, 30, 0, 0, 0, 10, 0, 1].map(nanos));
        assert_eq!(report.poll + total(&report.phases), report.elapsed);
    }

    #[test]
    fn a_report_starts_where_the_last_one_ended() {
        let mut stats = TurnStats::new(at(0), &metrics(5, 6));
        stats.count(2, at(10), [at(90); 8]);
        let report = stats.report(at(100), &metrics(15, 36));
        assert_eq!((report.messages_in, report.messages_out), (10, 30));
        stats.count(1, at(110), [at(120); 8]);
        let report = stats.report(at(130), &metrics(16, 36));
        assert_eq!((report.messages_in, report.messages_out), (1, 0));
        assert_eq!((report.turns, report.elapsed, report.poll), (1, nanos(30), nanos(10)));
        assert_eq!(total(&report.longest), nanos(10));
    }

    #[test]
    fn a_report_is_one_line_of_names_and_values() {
        let mut stats = TurnStats::new(at(0), &metrics(0, 0));
        stats.count(4, at(1_000), [2_000, 5_000, 5_000, 5_000, 5_000, 9_000, 9_000, 9_000].map(at));
        stats.count(0, at(9_500), [at(9_500); 8]);
        let line = stats.report(at(1_000_000_000), &metrics(8, 7)).to_string();
        assert_eq!(
            line,
            "seconds=1.000 turns=2 turns_per_second=2.0 events_per_turn=2.00 \
             messages_in_per_turn=4.00 messages_out_per_turn=3.50 poll_ns=750 readiness_ns=500 \
             read_ns=1500 mail_ns=0 timers_ns=0 accept_ns=0 flush_ns=2000 drain_ns=0 reap_ns=0 \
             longest_ns=8000 longest_phase=flush"
        );
        let idle = TurnStats::new(at(0), &metrics(0, 0)).report(at(0), &metrics(0, 0)).to_string();
        assert!(idle.ends_with("longest_ns=0") && !idle.contains("NaN"), "{idle}");
    }
}
