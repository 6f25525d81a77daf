//! The active checks of one upstream: when the next one is due, and what the results mean.

use std::fmt;
use std::time::Duration;

use crate::reactor::Time;

/// A check without a result after this time has failed.
pub(crate) const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// Failures in a row that mark an upstream down.
const FAILURES_MAX: u8 = 3;
/// Successes in a row that mark it up.
const SUCCESSES_MIN: u8 = 2;

/// Why an active check failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckFailure {
    /// Refused or unreachable.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// No result within 2 s.
    Timeout,
    /// A reset, or an end, before a response.
    Reset,
    /// A response with this status.
    Status(u16),
    /// A malformed response.
    BadAnswer,
}

impl fmt::Display for CheckFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckFailure::Connect => f.write_str("connection failed"),
            CheckFailure::Tls => f.write_str("TLS handshake failed"),
            CheckFailure::Timeout => write!(f, "no answer within {CHECK_TIMEOUT:?}"),
            CheckFailure::Reset => f.write_str("connection closed before a response"),
            CheckFailure::Status(status) => write!(f, "status {status}"),
            CheckFailure::BadAnswer => f.write_str("malformed response"),
        }
    }
}

/// What the checks have shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No check has ended yet. Counts as up.
    Unknown,
    Up,
    Down(CheckFailure),
}

/// The end of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastCheck {
    pub(super) at: Time,
    pub(super) result: Result<(), CheckFailure>,
}

/// The state of an upstream's active checks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Health {
    verdict: Verdict,
    /// Results in a row that contradict the verdict.
    contrary: u8,
    /// When the next check is due.
    pub(super) due: Time,
    pub(super) is_under_way: bool,
    pub(super) last: Option<LastCheck>,
}

impl Health {
    /// The first check is due at once.
    pub(super) fn new(now: Time) -> Health {
        Health { verdict: Verdict::Unknown, contrary: 0, due: now, is_under_way: false, last: None }
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(self.verdict, Verdict::Down(_))
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Forgets all results: the pool is not checked any more.
    pub(super) fn forget(&mut self) {
        self.verdict = Verdict::Unknown;
        self.contrary = 0;
        self.last = None;
    }

    /// Takes the result of a check. The first one decides; later ones do so after a few in a row.
    /// Returns whether the upstream has gone up or down.
    pub(super) fn record(&mut self, result: Result<(), CheckFailure>, now: Time) -> bool {
        self.last = Some(LastCheck { at: now, result });
        let (is_contrary, needed) = match self.verdict {
            Verdict::Unknown => (true, 1),
            Verdict::Up => (result.is_err(), FAILURES_MAX),
            Verdict::Down(_) => (result.is_ok(), SUCCESSES_MIN),
        };
        self.contrary = if is_contrary { self.contrary + 1 } else { 0 };
        if self.contrary < needed {
            return false;
        }
        let was_down = self.is_down();
        self.contrary = 0;
        self.verdict = match result {
            Ok(()) => Verdict::Up,
            Err(failure) => Verdict::Down(failure),
        };
        self.is_down() != was_down
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdicts after each result: `+` is a success, `-` a failure; `u` is up, `d` down.
    fn verdicts(results: &str) -> String {
        let mut health = Health::new(Time::ZERO);
        let verdict = |result| {
            let result = if result == '+' { Ok(()) } else { Err(CheckFailure::Connect) };
            let was_down = health.is_down();
            let has_changed = health.record(result, Time::ZERO);
            assert_eq!(has_changed, was_down != health.is_down());
            if health.is_down() { 'd' } else { 'u' }
        };
        results.chars().map(verdict).collect()
    }

    #[test]
    fn the_first_check_decides_then_three_failures_or_two_successes() {
        for (results, expected) in [
            ("-", "d"),
            ("+", "u"),
            ("+--+---", "uuuuuud"),
            ("-+-++", "ddddu"),
            ("-++---++", "dduuuddu"),
        ] {
            assert_eq!(verdicts(results), expected, "{results}");
        }
    }

    #[test]
    fn an_upstream_without_a_result_counts_as_up() {
        let mut health = Health::new(Time::ZERO);
        assert!(!health.is_down());
        assert!(health.record(Err(CheckFailure::Timeout), Time::ZERO));
        assert_eq!(health.verdict(), Verdict::Down(CheckFailure::Timeout));
        health.forget();
        assert!(!health.is_down());
    }
}
