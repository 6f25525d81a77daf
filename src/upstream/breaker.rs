//! The circuit breaker of one upstream: closed, open after too many failures, half-open during a
//! trial (probe).
//!
//! It makes no requests: outcomes and times are arguments.

use std::time::Duration;

use crate::reactor::Time;

/// Outcomes count for this long.
const WINDOW: Duration = Duration::from_secs(10);
/// The window is divided into slices of a second, so that it slides without storing each outcome.
const SLICES: usize = WINDOW.as_secs() as usize;
/// The breaker does not open on fewer outcomes than this.
const OUTCOMES_MIN: u32 = 10;
/// Connection failures in a row that open the breaker, however few outcomes there are.
#[cfg(feature = "proxy")]
const UNREACHABLE_MAX: u32 = 3;
/// The first pause, while the breaker is open.
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// The longest pause: each failed trial doubles it.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The state of a breaker, which decides about requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// All requests.
    Closed,
    /// No request during `pause`, which ends at `until`.
    Open { until: Time, pause: Duration },
    /// One request, the trial, whose outcome decides. `pause` is the one before it.
    HalfOpen { pause: Duration },
}

/// Outcomes within one second.
#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    second: u64,
    failed: u32,
    all: u32,
}

/// The circuit breaker of one upstream.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: State,
    slices: [Slice; SLICES],
    /// The start of the last trial. Requests sent before it do not count: the upstream may have
    /// changed.
    trial: Time,
    /// Connection failures since the last connection that succeeded.
    unreachable: u32,
    opened: u64,
}

impl Default for Breaker {
    fn default() -> Breaker {
        let slices = [Slice::default(); SLICES];
        Breaker { state: State::Closed, slices, trial: Time::ZERO, unreachable: 0, opened: 0 }
    }
}

impl Breaker {
    #[cfg(any(test, feature = "proxy", feature = "rpc"))]
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Times that it opened.
    pub(crate) fn opened(&self) -> u64 {
        self.opened
    }

    /// Whether a request would be admitted now. [`Breaker::admit`] admits it.
    pub(super) fn is_admitting(&self, now: Time) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until, .. } => now >= until,
            State::HalfOpen { .. } => false,
        }
    }

    /// Admits a request, if it may be; the first one after a pause is the trial.
    pub(crate) fn admit(&mut self, now: Time) -> bool {
        let admitted = self.is_admitting(now);
        if let (true, State::Open { pause, .. }) = (admitted, self.state) {
            self.state = State::HalfOpen { pause };
            self.trial = now;
        }
        admitted
    }

    /// Counts the outcome of a request that was admitted at `since`. Outcomes of requests from
    /// before the last trial are ignored: many may be late, and only the trial decides.
    pub(crate) fn record(&mut self, succeeded: bool, since: Time, now: Time) {
        if since < self.trial {
            return;
        }
        match self.state {
            State::HalfOpen { .. } if succeeded => self.close(),
            State::HalfOpen { pause } => self.open((pause * 2).min(PAUSE_MAX), now),
            // A request from before it opened.
            State::Open { .. } => {}
            State::Closed => {
                self.unreachable = 0;
                self.count(succeeded, now);
                if self.is_failing(now) {
                    self.open(PAUSE_MIN, now);
                }
            }
        }
    }

    /// Counts a failed connection, of a request that was admitted at `since`, like
    /// [`Breaker::record`]; a few in a row open the breaker.
    #[cfg(feature = "proxy")]
    pub(super) fn record_unreachable(&mut self, since: Time, now: Time) {
        let in_a_row = self.unreachable + 1;
        self.record(false, since, now);
        if self.state == State::Closed && since >= self.trial {
            self.unreachable = in_a_row;
            if in_a_row >= UNREACHABLE_MAX {
                self.open(PAUSE_MIN, now);
            }
        }
    }

    /// Handles a request that was admitted at `since` and ended without an outcome, such as one of a
    /// client that has left. If it was the trial, the next request is.
    #[cfg(any(feature = "auth", feature = "proxy"))]
    pub(crate) fn cancel(&mut self, since: Time, now: Time) {
        if let (true, State::HalfOpen { pause }) = (since >= self.trial, self.state) {
            self.state = State::Open { until: now, pause };
        }
    }

    /// Handles a failure that a client caused, of a request that was admitted at `since`. It does
    /// not count, but it ends a trial, since the upstream has answered.
    #[cfg(feature = "rpc")]
    pub(super) fn record_client_fault(&mut self, since: Time) {
        if since >= self.trial && matches!(self.state, State::HalfOpen { .. }) {
            self.close();
        }
    }

    /// Closes the breaker: the upstream works.
    pub(super) fn close(&mut self) {
        self.state = State::Closed;
        self.unreachable = 0;
        self.slices = [Slice::default(); SLICES];
    }

    fn open(&mut self, pause: Duration, now: Time) {
        self.state = State::Open { until: now + pause, pause };
        self.opened += 1;
    }

    fn count(&mut self, succeeded: bool, now: Time) {
        let second = seconds(now);
        let slice = &mut self.slices[second as usize % SLICES];
        if slice.second != second {
            *slice = Slice { second, ..Slice::default() };
        }
        slice.all += 1;
        slice.failed += u32::from(!succeeded);
    }

    fn is_failing(&self, now: Time) -> bool {
        let oldest = seconds(now).saturating_sub(SLICES as u64 - 1);
        let recent = self.slices.iter().filter(|slice| slice.second >= oldest);
        let (failed, all) =
            recent.fold((0, 0), |(failed, all), slice| (failed + slice.failed, all + slice.all));
        all >= OUTCOMES_MIN && failed * 2 >= all
    }
}

fn seconds(now: Time) -> u64 {
    now.since(Time::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Time {
        Time::ZERO + Duration::from_secs_f64(seconds)
    }

    /// A request that is answered at once.
    fn record(breaker: &mut Breaker, succeeded: bool, seconds: f64) {
        breaker.record(succeeded, at(seconds), at(seconds));
    }

    fn is_closed(breaker: &Breaker) -> bool {
        breaker.state() == State::Closed
    }

    /// A breaker that opened at `seconds`.
    fn opened_at(seconds: f64) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..OUTCOMES_MIN {
            record(&mut breaker, false, seconds);
        }
        assert!(!is_closed(&breaker));
        breaker
    }

    #[test]
    fn it_opens_when_half_of_ten_outcomes_failed_and_not_before() {
        let mut breaker = Breaker::default();
        for outcome in 0..9 {
            record(&mut breaker, outcome % 2 == 0, 1.0);
        }
        assert!(is_closed(&breaker), "9 outcomes, 4 failed");
        record(&mut breaker, false, 1.0);
        assert!(!is_closed(&breaker), "10 outcomes, 5 failed");

        let mut breaker = Breaker::default();
        for outcome in 0..100 {
            record(&mut breaker, outcome % 5 < 3, 1.0);
        }
        assert!(is_closed(&breaker), "40 % failed");
    }

    #[test]
    fn outcomes_count_for_ten_seconds() {
        let mut breaker = Breaker::default();
        for _ in 0..9 {
            record(&mut breaker, false, 0.5);
        }
        record(&mut breaker, false, 10.5);
        assert!(is_closed(&breaker), "the nine have left the window");
        for _ in 0..8 {
            record(&mut breaker, false, 19.0);
        }
        assert!(is_closed(&breaker));
        record(&mut breaker, false, 19.0);
        assert!(!is_closed(&breaker), "ten within ten seconds");
    }

    #[test]
    fn a_trial_follows_after_five_seconds_and_closes_it() {
        let mut breaker = opened_at(2.0);
        assert!(!breaker.admit(at(6.9)));
        assert!(breaker.admit(at(7.0)));
        assert!(!breaker.admit(at(7.0)), "one trial at a time");
        record(&mut breaker, true, 7.1);
        assert!(is_closed(&breaker));
        record(&mut breaker, false, 7.2);
        assert!(is_closed(&breaker), "earlier failures do not count any more");
    }

    #[test]
    fn failed_trials_double_the_pause_up_to_a_minute() {
        let mut breaker = opened_at(0.0);
        let mut now = 0.0;
        for pause in [5.0, 10.0, 20.0, 40.0, 60.0, 60.0] {
            assert!(!breaker.is_admitting(at(now + pause - 0.001)));
            now += pause;
            assert!(breaker.admit(at(now)), "after {pause} s");
            record(&mut breaker, false, now);
        }
        assert_eq!(breaker.opened(), 7);
    }

    #[test]
    fn late_outcomes_do_not_extend_a_pause() {
        let mut breaker = opened_at(0.0);
        record(&mut breaker, false, 4.0);
        record(&mut breaker, true, 4.0);
        assert!(!breaker.is_admitting(at(4.9)));
        assert!(breaker.is_admitting(at(5.0)));
    }

    #[cfg(feature = "rpc")]
    #[test]
    fn faults_of_clients_do_not_count_but_end_a_trial() {
        let mut breaker = Breaker::default();
        for _ in 0..OUTCOMES_MIN {
            breaker.record_client_fault(at(0.0));
            record(&mut breaker, true, 0.0);
        }
        for _ in 0..OUTCOMES_MIN {
            record(&mut breaker, false, 0.0);
        }
        assert!(!is_closed(&breaker), "half of the outcomes that count have failed");
        breaker.record_client_fault(at(0.0));
        assert!(!is_closed(&breaker), "there is no trial");
        assert!(breaker.admit(at(5.0)));
        breaker.record_client_fault(at(4.0));
        assert!(!is_closed(&breaker), "it was sent before the trial");
        breaker.record_client_fault(at(5.0));
        assert!(is_closed(&breaker));
    }

    #[test]
    fn outcomes_from_before_a_trial_do_not_decide_it() {
        let late = at(1.0);
        let mut breaker = opened_at(2.0);
        assert!(breaker.admit(at(7.0)));
        breaker.record(true, late, at(7.1));
        assert!(!breaker.is_admitting(at(7.1)), "the trial has not ended");
        breaker.record(false, late, at(7.2));
        assert_eq!(breaker.opened(), 1, "nor has it failed");
        breaker.record(true, at(7.0), at(7.3));
        assert!(is_closed(&breaker));
        for _ in 0..OUTCOMES_MIN {
            breaker.record(false, late, at(7.4));
        }
        assert!(is_closed(&breaker), "they are from before the trial");
    }

    #[cfg(feature = "proxy")]
    #[test]
    fn three_failed_connections_in_a_row_open_it() {
        let mut breaker = Breaker::default();
        let unreachable = |breaker: &mut Breaker, seconds| {
            breaker.record_unreachable(at(seconds), at(seconds));
            is_closed(breaker)
        };
        assert!(unreachable(&mut breaker, 1.0) && unreachable(&mut breaker, 2.0));
        record(&mut breaker, false, 3.0);
        assert!(
            unreachable(&mut breaker, 4.0) && unreachable(&mut breaker, 5.0),
            "a failure after a connection ends the run"
        );
        assert!(!unreachable(&mut breaker, 60.0), "however long it took");
        assert!(breaker.admit(at(65.0)));
        breaker.record_unreachable(at(65.0), at(66.0));
        assert!(!breaker.is_admitting(at(75.0)), "a failed trial doubles the pause");
        assert!(breaker.admit(at(76.0)));
        record(&mut breaker, true, 76.0);
        for seconds in [77.0, 78.0] {
            assert!(unreachable(&mut breaker, seconds), "the run starts again");
        }
    }

    #[cfg(feature = "proxy")]
    #[test]
    fn failed_connections_count_as_failures_too() {
        let mut breaker = Breaker::default();
        for _ in 0..5 {
            record(&mut breaker, true, 1.0);
            assert!(is_closed(&breaker));
            breaker.record_unreachable(at(1.0), at(1.0));
        }
        assert!(!is_closed(&breaker), "half of ten failed, never two in a row");
    }

    #[cfg(any(feature = "auth", feature = "proxy"))]
    #[test]
    fn a_trial_without_an_outcome_leaves_the_next_request_as_the_trial() {
        let mut breaker = opened_at(0.0);
        assert!(breaker.admit(at(5.0)));
        breaker.cancel(at(4.0), at(6.0));
        assert!(!breaker.is_admitting(at(6.0)), "it was sent before the trial");
        breaker.cancel(at(5.0), at(6.0));
        assert!(breaker.admit(at(6.0)));
        record(&mut breaker, false, 6.0);
        assert!(!breaker.is_admitting(at(15.9)), "the pause has doubled once");
        assert!(breaker.is_admitting(at(16.0)));
        let mut closed = Breaker::default();
        closed.cancel(at(1.0), at(1.0));
        assert!(is_closed(&closed));
    }
}
