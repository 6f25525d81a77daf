//! Why a request has no answer: of one upstream, or of all of them.

use super::super::RpcError;

/// Why an upstream has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The request did not reach it.
    Unsent,
    /// It may have reached it, but the answer did not come.
    Broken,
    /// No answer came in time.
    TimedOut,
    /// It says that it has too much to do.
    Overloaded,
    /// The answer is larger than may be.
    TooLarge,
}

/// Why a call ends without an upstream's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// No answer in time.
    TimedOut,
    /// No upstream could be asked.
    NoUpstream,
    /// Every upstream that was asked has failed.
    Failed,
    /// The answer is larger than may be.
    TooLarge,
    /// The queue is full, or the upstreams say that they have too much to do.
    Busy,
}

impl From<Ended> for RpcError {
    fn from(ended: Ended) -> RpcError {
        match ended {
            Ended::TimedOut => RpcError::timed_out(),
            Ended::NoUpstream => RpcError::new(RpcError::INTERNAL, "no upstream is available"),
            Ended::Failed => RpcError::new(RpcError::INTERNAL, "the upstream failed"),
            Ended::TooLarge => RpcError::too_large(),
            Ended::Busy => RpcError::busy(),
        }
    }
}
