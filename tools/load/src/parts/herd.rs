//! A reconnect herd: connections that are held, and that reconnect when the server ends them, by the
//! rule of the client in the guide. Latency is from the end of a connection to the opening of the next.
//!
//! A herd starts with the first end while all members are connected, and is over when all are back.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use fastrand::Rng;
use weir::protocol::{CloseCode, Message};
use weir::reactor::{CloseReason, ConnId, Context, Time};

use super::{Part, Unit};
use crate::crowd::Crowd;
use crate::quantity::{Count, Nanos};
use crate::tally::Tally;

/// Longest wait after 1012 (service restart): a server is ready.
const JITTER: Duration = Duration::from_secs(1);
/// Longest wait of all. A connection that was open for this long ends the row of failures.
const BACKOFF: Duration = Duration::from_secs(60);
/// The wait of this failure in a row, and of all later ones, is up to [`BACKOFF`].
const FAILURES_MAX: u32 = 6;
/// Maximum number of connections started between two turns.
const CONNECTS_PER_TICK: usize = 64;
/// Interval over which the peak rate is counted: a few turns of a busy server.
const PEAK_INTERVAL: Duration = Duration::from_millis(100);
/// Maximum number of herds that a report describes.
const HERDS_MAX: usize = 8;
/// Maximum number of reasons that a report names for one herd.
const REASONS_MAX: usize = 4;

/// One member's attempts.
#[derive(Debug, Clone, Copy)]
struct Attempts {
    /// Failures in a row: the exponent of the next wait.
    failures: u32,
    /// The opening of the last connection; `None` before the first.
    opened: Option<Time>,
    /// The end of the last connection; `None` while the member is connected.
    lost: Option<Time>,
}

/// One herd, from the first end to the last reconnection.
#[derive(Debug, Clone, PartialEq)]
struct Episode {
    start: Time,
    last_end: Time,
    /// Ends by reason. A member that lost two connections counts twice.
    reasons: BTreeMap<String, u64>,
    ended: u64,
    reopened: u64,
    failed: u64,
    /// Members that are not back.
    missing: usize,
    /// Start of the current interval, its reconnections, and the maximum of all intervals.
    interval: (Time, u64),
    peak: u64,
    last_open: Time,
}

#[derive(Debug)]
pub(crate) struct Herd {
    crowd: Crowd,
    tally: Tally,
    rng: Rng,
    attempts: Vec<Attempts>,
    /// Members that wait for their next attempt. Each is in it at most once.
    due: BinaryHeap<Reverse<(Time, usize)>>,
    current: Option<Episode>,
    /// Herds that are over: the first [`HERDS_MAX`], and the number of the others.
    past: Vec<Episode>,
    unlisted: u64,
    is_stopped: bool,
}

/// The longest wait after this many failures in a row and an end with this code. Full jitter: the
/// wait itself is any time up to it.
fn longest_wait(failures: u32, code: Option<CloseCode>) -> Duration {
    match code {
        Some(CloseCode::SERVICE_RESTART) => JITTER,
        _ => (JITTER * (1 << failures.min(FAILURES_MAX))).min(BACKOFF),
    }
}

impl Episode {
    fn new(now: Time) -> Episode {
        Episode {
            start: now,
            last_end: now,
            reasons: BTreeMap::new(),
            ended: 0,
            reopened: 0,
            failed: 0,
            missing: 0,
            interval: (now, 0),
            peak: 0,
            last_open: now,
        }
    }

    fn ended(&mut self, now: Time, why: CloseReason) {
        self.last_end = now;
        self.ended += 1;
        self.missing += 1;
        *self.reasons.entry(why.to_string()).or_default() += 1;
    }

    fn reopened(&mut self, now: Time) {
        let (start, count) = &mut self.interval;
        if now.since(*start) >= PEAK_INTERVAL {
            (*start, *count) = (now, 0);
        }
        *count += 1;
        self.peak = self.peak.max(*count);
        self.last_open = now;
        self.reopened += 1;
        self.missing -= 1;
    }

    fn note(&self) -> String {
        let after = |end: Time| Nanos(end.since(self.start).as_nanos() as f64);
        let listed = self.reasons.iter().take(REASONS_MAX);
        let reasons: Vec<String> =
            listed.map(|(why, count)| format!("{} {why}", Count(*count))).collect();
        let back = match self.missing {
            0 => format!("all back after {}", after(self.last_open)),
            missing => format!("{} not back at the end of the run", Count(missing as u64)),
        };
        format!(
            "{} connections ended within {} ({}); {back}, peak {} in {}, {} failed attempts",
            Count(self.ended),
            after(self.last_end),
            reasons.join(", "),
            Count(self.peak),
            Nanos(PEAK_INTERVAL.as_nanos() as f64),
            Count(self.failed)
        )
    }
}

impl Herd {
    pub(crate) fn new(crowd: Crowd, seed: u64) -> Herd {
        let attempts = Attempts { failures: 0, opened: None, lost: None };
        Herd {
            attempts: vec![attempts; crowd.len()],
            crowd,
            tally: Tally::new(),
            rng: Rng::with_seed(seed),
            due: BinaryHeap::new(),
            current: None,
            past: Vec::new(),
            unlisted: 0,
            is_stopped: false,
        }
    }

    /// Sets the time of a member's next attempt.
    fn retry(&mut self, now: Time, member: usize, code: Option<CloseCode>) {
        let attempts = &mut self.attempts[member];
        if code != Some(CloseCode::SERVICE_RESTART) {
            attempts.failures = (attempts.failures + 1).min(FAILURES_MAX);
        }
        let wait = longest_wait(attempts.failures, code).mul_f64(self.rng.f64());
        self.due.push(Reverse((now + wait, member)));
    }

    fn connect(&mut self, cx: &mut Context<'_>, member: usize, due: Time) {
        self.tally.due(due, cx.now());
        self.crowd.census.wanted += 1;
        if !self.crowd.connect(cx, member, due, &mut self.tally.errors) {
            self.failed(cx.now(), member);
        }
    }

    fn failed(&mut self, now: Time, member: usize) {
        if let Some(episode) = &mut self.current {
            episode.failed += 1;
        }
        self.retry(now, member, None);
    }
}

/// The code of the server's Close; `None` if the connection ended without one.
fn close_code(why: CloseReason) -> Option<CloseCode> {
    match why {
        CloseReason::PeerClosed(code) => code,
        _ => None,
    }
}

impl Part for Herd {
    fn name(&self) -> &'static str {
        "herd"
    }

    fn unit(&self) -> Unit {
        Unit { one: "reconnection", many: "reconnections" }
    }

    fn crowd(&mut self) -> &mut Crowd {
        &mut self.crowd
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn is_paced(&self) -> bool {
        true
    }

    fn start(&mut self, _: &mut Context<'_>) {}

    fn tick(&mut self, cx: &mut Context<'_>) -> Time {
        for _ in 0..CONNECTS_PER_TICK {
            let Some(&Reverse((due, member))) = self.due.peek() else {
                return Time::MAX;
            };
            if due > cx.now() {
                return due;
            }
            self.due.pop();
            self.connect(cx, member, due);
        }
        cx.now()
    }

    fn on_open(&mut self, cx: &mut Context<'_>, member: usize, _: ConnId) {
        let now = cx.now();
        let attempts = &mut self.attempts[member];
        attempts.opened = Some(now);
        let Some(lost) = attempts.lost.take() else {
            return;
        };
        self.tally.record_since(lost, now);
        self.tally.received(0);
        let Some(episode) = &mut self.current else {
            return;
        };
        episode.reopened(now);
        if episode.missing == 0 {
            match self.current.take() {
                Some(over) if self.past.len() < HERDS_MAX => self.past.push(over),
                _ => self.unlisted += 1,
            }
        }
    }

    /// Some servers send a greeting, which is ignored.
    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

    fn on_end(&mut self, cx: &mut Context<'_>, member: usize, why: CloseReason) -> bool {
        if self.is_stopped {
            return false;
        }
        let now = cx.now();
        let attempts = &mut self.attempts[member];
        let Some(opened) = attempts.opened.take() else {
            self.failed(now, member);
            return false;
        };
        if now.since(opened) >= BACKOFF {
            attempts.failures = 0;
        }
        attempts.lost = Some(now);
        self.current.get_or_insert_with(|| Episode::new(now)).ended(now, why);
        self.retry(now, member, close_code(why));
        false
    }

    fn is_answered(&self) -> bool {
        false
    }

    fn stop(&mut self, _: &mut Context<'_>) {
        self.is_stopped = true;
        self.due.clear();
    }

    fn notes(&self) -> Vec<String> {
        let herds = self.past.iter().chain(&self.current);
        let mut notes: Vec<String> = herds.map(Episode::note).collect();
        if notes.is_empty() {
            notes.push("the server ended no connection".to_owned());
        }
        if self.unlisted > 0 {
            notes.push(format!("{} more herds", Count(self.unlisted)));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn waits_double_up_to_a_minute_and_1012_only_has_the_jitter() {
        let seconds: Vec<u64> =
            [1, 2, 3, 5, 6, 7, u32::MAX].map(|n| longest_wait(n, None).as_secs()).to_vec();
        assert_eq!(seconds, [2, 4, 8, 32, 60, 60, 60]);
        assert_eq!(longest_wait(5, Some(CloseCode::TRY_AGAIN_LATER)).as_secs(), 32);
        assert_eq!(longest_wait(5, Some(CloseCode::SERVICE_RESTART)), JITTER);
    }

    #[test]
    fn the_peak_is_that_of_the_busiest_interval() {
        let mut episode = Episode::new(at(0));
        for _ in 0..6 {
            episode.ended(at(2), CloseReason::PeerGone);
        }
        for millis in [10, 50, 120, 180, 190, 400] {
            episode.reopened(at(millis));
        }
        assert_eq!((episode.peak, episode.missing), (3, 0));
        assert_eq!(
            episode.note(),
            "6 connections ended within 2.00 ms (6 peer_gone); all back after 400 ms, \
             peak 3 in 100 ms, 0 failed attempts"
        );
    }

    #[test]
    fn members_that_are_not_back_are_counted() {
        let mut episode = Episode::new(at(0));
        episode.ended(at(0), CloseReason::PeerGone);
        episode.ended(at(1), CloseReason::PeerReset);
        episode.reopened(at(9));
        let note = episode.note();
        assert!(note.contains("(1 peer_gone, 1 peer_reset); 1 not back at the end"), "{note}");
    }
}
