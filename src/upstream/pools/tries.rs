//! The words for one try at an upstream, its end, and the uses of a connection.

use super::id::UpstreamId;
use crate::reactor::Time;

/// One try at an upstream, from the choice to a response head or a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the end of each try has to be recorded"]
pub(crate) struct Try {
    pub(super) upstream: UpstreamId,
    pub(super) since: Time,
    /// The breaker did not admit it: all upstreams of the pool were down by their breakers.
    pub(super) is_forced: bool,
}

impl Try {
    pub(crate) fn upstream(self) -> UpstreamId {
        self.upstream
    }
}

/// The end of a try, by its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TryEnd {
    /// A response in time, with a status other than 502, 503 and 504.
    Answered,
    /// Refused or unreachable.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// No connection within `connect_timeout`.
    ConnectTimeout,
    /// A reset, or an end, before a response.
    Reset,
    /// No response head within `answer_timeout`.
    AnswerTimeout,
    /// A response with 502, 503 or 504.
    Status,
    /// A response that is malformed, too long, or fails the checks of a 101.
    BadAnswer,
    /// No outcome: the client left, the process lacks descriptors or ports, or an idle connection
    /// turned out to be closed.
    Cancelled,
}

impl TryEnd {
    pub(super) const ALL: [TryEnd; 9] = [
        TryEnd::Answered,
        TryEnd::Connect,
        TryEnd::Tls,
        TryEnd::ConnectTimeout,
        TryEnd::Reset,
        TryEnd::AnswerTimeout,
        TryEnd::Status,
        TryEnd::BadAnswer,
        TryEnd::Cancelled,
    ];

    /// The name in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            TryEnd::Answered => "answered",
            TryEnd::Connect => "connect",
            TryEnd::Tls => "tls",
            TryEnd::ConnectTimeout => "connect_timeout",
            TryEnd::Reset => "reset",
            TryEnd::AnswerTimeout => "answer_timeout",
            TryEnd::Status => "status",
            TryEnd::BadAnswer => "bad_answer",
            TryEnd::Cancelled => "cancelled",
        }
    }

    pub(super) fn effect(self) -> Effect {
        match self {
            TryEnd::Answered => Effect::Success,
            TryEnd::Connect | TryEnd::Tls | TryEnd::ConnectTimeout => Effect::Unreachable,
            TryEnd::Reset | TryEnd::AnswerTimeout | TryEnd::Status | TryEnd::BadAnswer => {
                Effect::Failure
            }
            TryEnd::Cancelled => Effect::None,
        }
    }
}

/// What the end of a try means for the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Success,
    /// Without a connection: a few in a row open the breaker.
    Unreachable,
    Failure,
    None,
}

/// What a connection to an upstream is used for. Each connection has one use at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// A request, from its try to the end of the response.
    Exchange,
    Tunnel,
    /// Its tunnel has ended, and the connection is not closed yet.
    Closing,
    Idle,
}
