//! Why a request has no answer: from one upstream, or from all of them.
//!
//! The one table of what an upstream's HTTP status or error code means: whether another upstream is
//! asked, whether even a request that must not be repeated goes there, and whether the breaker counts it.

use crate::services::rpc::wire::answer::{Malformed, Outcome};
use crate::services::rpc::wire::error::RpcError;

/// The JSON-RPC error code of providers for too many requests, named after the HTTP status.
const TOO_MANY_REQUESTS: i64 = 429;

/// Why an upstream has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The request did not reach it.
    Unsent,
    /// It may have reached it, but the answer did not come.
    Broken,
    /// No answer came in time, or the upstream says so (HTTP 408).
    TimedOut,
    /// It does not serve us (HTTP 401, 402, 403, 404).
    Refused,
    /// We ask it too often (HTTP 429, error code 429).
    Overloaded,
    /// It has too much to do (HTTP 503); a proxy may have passed the request on before.
    Unavailable,
    /// The request is too large (HTTP 413) or asks for too much (-32005): a client can cause it.
    Limited,
    /// It considers the request malformed (HTTP 400) and sends no JSON-RPC error with it.
    Rejected,
    /// The answer has the request's id, but is no valid answer.
    Malformed,
    /// The answer is larger than may be.
    TooLarge,
}

impl Failure {
    /// By an HTTP status whose body does not matter.
    pub(super) fn of_status(status: u16) -> Option<Failure> {
        match status {
            401..=404 => Some(Failure::Refused),
            408 => Some(Failure::TimedOut),
            413 => Some(Failure::Limited),
            429 => Some(Failure::Overloaded),
            503 => Some(Failure::Unavailable),
            // Redirects are not followed. A proxy may have passed the request on before it answers 5xx.
            300..=399 | 500.. => Some(Failure::Broken),
            _ => None,
        }
    }

    /// By an HTTP status whose body is no JSON-RPC answer.
    pub(super) fn without_answer(status: u16) -> Failure {
        if status == 400 { Failure::Rejected } else { Failure::Broken }
    }

    /// By an answer's error; `None` if the answer is final.
    pub(super) fn of_answer(outcome: &Outcome) -> Option<Failure> {
        match outcome.as_ref().err()?.code {
            TOO_MANY_REQUESTS => Some(Failure::Overloaded),
            RpcError::LIMIT => Some(Failure::Limited),
            _ => None,
        }
    }

    /// Whether a call that fails so may go to another upstream. One that only `reads` may be repeated;
    /// any other only if the upstream has surely not executed it.
    pub(super) fn may_go_on(self, reads: bool) -> bool {
        match self {
            Failure::Unsent | Failure::Refused | Failure::Overloaded => true,
            Failure::Broken
            | Failure::TimedOut
            | Failure::Unavailable
            | Failure::Limited
            | Failure::Malformed => reads,
            Failure::Rejected | Failure::TooLarge => false,
        }
    }

    /// Whether it counts for the breaker. What a single client can cause does not: its calls would take
    /// the upstream away from all other clients.
    pub(super) fn is_upstreams_fault(self) -> bool {
        match self {
            Failure::Unsent
            | Failure::Broken
            | Failure::TimedOut
            | Failure::Refused
            | Failure::Overloaded
            | Failure::Unavailable => true,
            Failure::Limited | Failure::Rejected | Failure::Malformed | Failure::TooLarge => false,
        }
    }
}

impl From<Malformed> for Failure {
    fn from(_: Malformed) -> Failure {
        Failure::Malformed
    }
}

/// Why a call ends without an upstream's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// No upstream could be asked.
    NoUpstream,
    /// The queue is full.
    Busy,
    /// The last upstream that was asked has failed.
    Failed(Failure),
}

impl From<Ended> for RpcError {
    fn from(ended: Ended) -> RpcError {
        let failed = |why| RpcError::new(RpcError::INTERNAL, why);
        match ended {
            Ended::NoUpstream => failed("no upstream is available"),
            Ended::Busy => RpcError::busy(),
            Ended::Failed(failure) => match failure {
                Failure::Unsent | Failure::Broken => failed("the upstream failed"),
                Failure::TimedOut => RpcError::timed_out(),
                Failure::Refused => failed("the upstream refused access"),
                Failure::Overloaded | Failure::Unavailable => RpcError::busy(),
                Failure::Limited => RpcError::limit("request too large for the upstream"),
                Failure::Rejected => failed("the upstream rejected the request"),
                Failure::Malformed => failed("the upstream's answer is malformed"),
                Failure::TooLarge => RpcError::too_large(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_statuses() {
        use Failure::*;
        // Status; failure; whether a transaction goes on to another upstream; whether the breaker counts.
        for (status, failure, goes_on, counts) in [
            (401, Refused, true, true),
            (402, Refused, true, true),
            (403, Refused, true, true),
            (404, Refused, true, true),
            (408, TimedOut, false, true),
            (413, Limited, false, false),
            (429, Overloaded, true, true),
            (301, Broken, false, true),
            (500, Broken, false, true),
            (502, Broken, false, true),
            (503, Unavailable, false, true),
            (504, Broken, false, true),
        ] {
            assert_eq!(Failure::of_status(status), Some(failure), "{status}");
            assert!(failure.may_go_on(true), "{status}: a read goes to the next upstream");
            assert_eq!(failure.may_go_on(false), goes_on, "{status}");
            assert_eq!(failure.is_upstreams_fault(), counts, "{status}");
        }
        for status in [200, 400, 405, 415, 422] {
            assert_eq!(Failure::of_status(status), None, "{status}: the body decides");
        }
        assert_eq!(Failure::without_answer(400), Rejected);
        assert!(!Rejected.may_go_on(true) && !Rejected.is_upstreams_fault(), "400 is final");
    }

    #[test]
    fn error_codes_429_and_32005_go_to_the_next_upstream_and_others_are_final() {
        let of = |code| Failure::of_answer(&Err(RpcError::new(code, "")));
        assert_eq!(of(429), Some(Failure::Overloaded));
        assert_eq!(of(-32005), Some(Failure::Limited));
        for code in [3, -32000, -32003, -32600, -32601, -32602, -32603] {
            assert_eq!(of(code), None, "{code}");
        }
    }
}
