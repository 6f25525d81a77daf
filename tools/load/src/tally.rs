//! Measured values: counts, latencies, a timeline and errors.
//!
//! A latency is recorded in the histogram of the current interval. At the end of the interval it is
//! added to the total and becomes a point of the timeline. Counting a message allocates nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use weir::reactor::{SendOutcome, Time};

/// Latencies above this are recorded as this.
const LATENCY_MAX: Duration = Duration::from_secs(3600);
/// Significant digits of latencies.
const DIGITS: u8 = 3;
/// A message sent this much later than due counts as late.
const LATE: Duration = Duration::from_millis(1);

/// A point of the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Moment {
    /// Seconds from the start of the measurement to the end of this interval.
    pub(crate) seconds: f64,
    /// Latencies recorded per second.
    pub(crate) rate: f64,
    pub(crate) p50_nanos: u64,
    pub(crate) p99_nanos: u64,
    pub(crate) max_nanos: u64,
}

/// Error counts by description.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Errors(BTreeMap<String, u64>);

impl Errors {
    pub(crate) fn add(&mut self, what: impl Into<String>, count: u64) {
        if count > 0 {
            *self.0.entry(what.into()).or_default() += count;
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    pub(crate) fn merge(&mut self, other: &Errors) {
        for (what, count) in &other.0 {
            self.add(what, *count);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(what, count)| (&**what, *count))
    }
}

/// Faults that a run should not have, and a description of the first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    pub(crate) count: u64,
    pub(crate) first: Option<String>,
}

impl Faults {
    pub(crate) fn add(&mut self, difference: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(difference);
    }
}

/// Messages and bytes each way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    /// Messages sent more than 1 ms after they were due: the client was late.
    pub(crate) late: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Counts) {
        self.sent += other.sent;
        self.received += other.received;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.late += other.late;
    }
}

/// All measured values of one part of a run.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    /// Counts during the warm-up.
    before: Counts,
    pub(crate) errors: Errors,
    /// Answers that no correct server sends.
    pub(crate) wrong: Faults,
    /// Connections that the server or the network ended.
    pub(crate) lost: Faults,
    start: Time,
    moment_start: Time,
    /// A latency and the number of its consecutive occurrences: messages sent in one turn and
    /// answered in another have the same latency and are recorded together.
    run: (u64, u64),
    moment: Histogram<u64>,
    total: Histogram<u64>,
    timeline: Vec<Moment>,
}

impl Tally {
    pub(crate) fn new() -> Tally {
        let max = u64::try_from(LATENCY_MAX.as_nanos()).unwrap_or(u64::MAX);
        let histogram = Histogram::new_with_bounds(1, max, DIGITS)
            .expect("an hour in nanoseconds to three digits is within a histogram's bounds");
        Tally {
            counts: Counts::default(),
            before: Counts::default(),
            errors: Errors::default(),
            wrong: Faults::default(),
            lost: Faults::default(),
            start: Time::ZERO,
            moment_start: Time::ZERO,
            run: (0, 0),
            moment: histogram.clone(),
            total: histogram,
            timeline: Vec::new(),
        }
    }

    /// Counts a message that was not queued, by its outcome.
    pub(crate) fn not_sent(&mut self, outcome: SendOutcome) {
        let error = match outcome {
            SendOutcome::Queued | SendOutcome::Congested => return,
            SendOutcome::Full => "not sent: outbox is full",
            SendOutcome::Overloaded => "not sent: out of memory for queued messages",
            SendOutcome::TooLarge => "not sent: larger than the outbox",
            SendOutcome::WrongRole => "not sent: masked in the role of a server",
            SendOutcome::Gone => "not sent: connection is gone",
        };
        self.errors.add(error, 1);
    }

    /// Starts the measurement: resets everything except the errors.
    pub(crate) fn start(&mut self, now: Time) {
        self.before = std::mem::take(&mut self.counts);
        self.start = now;
        self.moment_start = now;
        self.run = (0, 0);
        self.moment.reset();
        self.total.reset();
        self.timeline.clear();
    }

    /// All messages, including those of the warm-up.
    pub(crate) fn all_counts(&self) -> Counts {
        let mut all = self.before;
        all.add(&self.counts);
        all
    }

    /// Counts a message sent.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.counts.sent += 1;
        self.counts.bytes_sent += bytes as u64;
    }

    /// Counts a late action: done now, but due at `intended`.
    pub(crate) fn due(&mut self, intended: Time, now: Time) {
        self.counts.late += u64::from(now.since(intended) > LATE);
    }

    /// Counts a message received.
    pub(crate) fn received(&mut self, bytes: usize) {
        self.counts.received += 1;
        self.counts.bytes_received += bytes as u64;
    }

    /// Counts a wrong answer, as an error named `what`.
    pub(crate) fn wrong(&mut self, what: impl Into<String>, difference: impl FnOnce() -> String) {
        self.errors.add(what, 1);
        self.wrong.add(difference);
    }

    /// Counts requests that the end of a run has left without an answer, by the times they were sent at.
    /// Their latencies so far are recorded.
    pub(crate) fn unanswered(&mut self, now: Time, sent: impl Iterator<Item = Time>) {
        let mut count = 0;
        for sent in sent {
            self.record(now.since(sent));
            count += 1;
        }
        self.errors.add("unanswered", count);
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.record_nanos(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Records the latency from `intended` to now.
    #[inline]
    pub(crate) fn record_since(&mut self, intended: Time, now: Time) {
        self.record_nanos(now.as_nanos().saturating_sub(intended.as_nanos()));
    }

    #[inline]
    fn record_nanos(&mut self, nanos: u64) {
        if nanos != self.run.0 {
            self.end_run();
            self.run.0 = nanos;
        }
        self.run.1 += 1;
    }

    fn end_run(&mut self) {
        let (nanos, count) = std::mem::take(&mut self.run);
        if count > 0 {
            self.moment.saturating_record_n(nanos, count);
        }
    }

    /// Ends the current interval of the timeline.
    pub(crate) fn end_moment(&mut self, now: Time) {
        let length = now.since(self.moment_start).as_secs_f64();
        if length == 0.0 {
            return;
        }
        self.end_run();
        self.timeline.push(Moment {
            seconds: now.since(self.start).as_secs_f64(),
            rate: self.moment.len() as f64 / length,
            p50_nanos: self.moment.value_at_quantile(0.5),
            p99_nanos: self.moment.value_at_quantile(0.99),
            max_nanos: self.moment.max(),
        });
        self.fold();
        self.moment_start = now;
    }

    /// Adds the latencies since the last interval to the total.
    pub(crate) fn fold(&mut self) {
        self.end_run();
        if self.moment.is_empty() {
            return;
        }
        self.total += &self.moment;
        self.moment.reset();
    }

    /// Adds the latencies of another tally to the total.
    pub(crate) fn absorb(&mut self, other: &Tally) {
        self.total += &other.total;
    }

    pub(crate) fn timeline(&self) -> &[Moment] {
        &self.timeline
    }

    /// All latencies up to the last [`fold`](Tally::fold).
    pub(crate) fn latencies(&self) -> &Histogram<u64> {
        &self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn moments_add_up_to_the_total() {
        let mut tally = Tally::new();
        tally.record(Duration::from_secs(9));
        tally.start(at(1000));
        for millis in [1, 2, 3] {
            tally.record(Duration::from_millis(millis));
        }
        tally.end_moment(at(1500));
        tally.record(Duration::from_millis(100));
        tally.end_moment(at(2000));
        tally.record(Duration::from_millis(4));
        tally.fold();
        let [first, second] = tally.timeline() else {
            panic!("{:?}", tally.timeline());
        };
        assert_eq!((first.seconds, first.rate), (0.5, 6.0));
        assert_eq!((second.seconds, second.rate), (1.0, 2.0));
        assert!(second.max_nanos.abs_diff(100_000_000) < 100_000);
        assert_eq!(tally.latencies().len(), 5);
    }

    #[test]
    fn a_message_is_late_after_a_millisecond() {
        let mut tally = Tally::new();
        for millis in [10, 11, 12] {
            tally.due(at(10), at(millis));
        }
        assert_eq!(tally.counts.late, 1);
    }

    #[test]
    fn errors_are_counted_by_name() {
        let mut errors = Errors::default();
        errors.add("a", 2);
        errors.add("b", 0);
        let mut more = Errors::default();
        more.add("a", 1);
        errors.merge(&more);
        assert_eq!(errors.iter().collect::<Vec<_>>(), [("a", 3)]);
        assert_eq!(errors.total(), 3);
    }
}
