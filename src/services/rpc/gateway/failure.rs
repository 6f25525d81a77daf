//! Failures of requests: at one upstream, or at all of them.
//!
//! This table alone decides what an HTTP status or an error code of an upstream means: whether
//! another upstream is asked, whether also for a request that must not be repeated, and whether the
//! circuit breaker counts it.

use crate::services::rpc::wire::answer::{Malformed, Outcome};
use crate::services::rpc::wire::error::RpcError;

/// The JSON-RPC error code of providers for too many requests, named after the HTTP status.
const TOO_MANY_REQUESTS: i64 = 429;

/// The reason that an attempt has no usable answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The request did not reach the upstream.
    Unsent,
    /// The request may have reached the upstream, but no answer arrived.
    Broken,
    /// No answer arrived in time, or HTTP 408.
    TimedOut,
    /// The upstream refuses access (HTTP 401, 402, 403, 404).
    Refused,
    /// Too many requests (HTTP 429, error code 429).
    Overloaded,
    /// The upstream is overloaded (HTTP 503). A proxy may have passed the request on before.
    Unavailable,
    /// The request is too large (HTTP 413) or asks for too much (-32005). A client can cause this.
    Limited,
    /// HTTP 400 without a JSON-RPC error: the upstream considers the request malformed.
    Rejected,
    /// The answer has the id of the request, but is not valid.
    Malformed,
    /// The answer exceeds its limit.
    TooLarge,
}

impl Failure {
    /// The failure that an HTTP status means, if its body does not matter.
    pub(super) fn of_status(status: u16) -> Option<Failure> {
        match status {
            401..=404 => Some(Failure::Refused),
            408 => Some(Failure::TimedOut),
            413 => Some(Failure::Limited),
            429 => Some(Failure::Overloaded),
            503 => Some(Failure::Unavailable),
            // Redirects are not followed. A proxy may have passed the request on before it answers
            // 5xx.
            300..=399 | 500.. => Some(Failure::Broken),
            _ => None,
        }
    }

    /// The failure that an HTTP status means if its body is not a JSON-RPC answer.
    pub(super) fn without_answer(status: u16) -> Failure {
        if status == 400 { Failure::Rejected } else { Failure::Broken }
    }

    /// The failure that the error of an answer means; `None` if the answer is final.
    pub(super) fn of_answer(outcome: &Outcome) -> Option<Failure> {
        match outcome.as_ref().err()?.code {
            TOO_MANY_REQUESTS => Some(Failure::Overloaded),
            RpcError::LIMIT => Some(Failure::Limited),
            _ => None,
        }
    }

    /// Whether the request may be sent to another upstream. A read may be repeated; any other
    /// request only if the upstream certainly has not executed it.
    pub(super) fn may_retry(self, is_read: bool) -> bool {
        match self {
            Failure::Unsent | Failure::Refused | Failure::Overloaded => true,
            Failure::Broken
            | Failure::TimedOut
            | Failure::Unavailable
            | Failure::Limited
            | Failure::Malformed => is_read,
            Failure::Rejected | Failure::TooLarge => false,
        }
    }

    /// Whether the circuit breaker counts it. A failure that a single client can cause is not
    /// counted: its calls would make the upstream unavailable to all other clients.
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

/// The reason that a request ends without an answer of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// No upstream can be asked.
    NoUpstream,
    /// The queue is full.
    Busy,
    /// The last attempt failed.
    Failed(Failure),
}

impl From<Ended> for RpcError {
    fn from(ended: Ended) -> RpcError {
        let failed = |message| RpcError::new(RpcError::INTERNAL, message);
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
    fn statuses_decide_about_retries_and_the_breaker() {
        use Failure::*;
        // Status; failure; whether a transaction may be retried; whether the circuit breaker counts
        // it.
        for (status, failure, may_retry, counts) in [
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
            assert!(failure.may_retry(true), "{status}: a read is retried");
            assert_eq!(failure.may_retry(false), may_retry, "{status}");
            assert_eq!(failure.is_upstreams_fault(), counts, "{status}");
        }
        for status in [200, 400, 405, 415, 422] {
            assert_eq!(Failure::of_status(status), None, "{status}: the body decides");
        }
        assert_eq!(Failure::without_answer(400), Rejected);
        assert!(!Rejected.may_retry(true) && !Rejected.is_upstreams_fault(), "400 is final");
    }

    #[test]
    fn error_codes_429_and_32005_are_retried_and_others_are_final() {
        let of = |code| Failure::of_answer(&Err(RpcError::new(code, "")));
        assert_eq!(of(429), Some(Failure::Overloaded));
        assert_eq!(of(-32005), Some(Failure::Limited));
        for code in [3, -32000, -32003, -32600, -32601, -32602, -32603] {
            assert_eq!(of(code), None, "{code}");
        }
    }
}
