//! The phases of a connection, and what becomes of its input and of news of its end in each.

use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::time::Time;

/// Where a connection stands. The only way on is forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Client role: the kernel connects.
    Connecting,
    /// The head of a request, or of the answer to ours, is awaited.
    Handshake,
    /// The service decides later whether the request is accepted.
    Deferred,
    /// Messages go both ways.
    Open,
    /// Our last bytes, mostly a Close, are queued; or sent, `since` then.
    Closing { since: Time, reason: CloseReason, input: Input },
    /// Our side of the stream is shut; the peer's end of it is awaited.
    Lingering { until: Time, reason: CloseReason },
    /// Over; the slot is freed at the end of the turn.
    Gone(CloseReason),
}

/// What becomes of input while a connection closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// It is decoded: the peer's Close is awaited (RFC 6455, 7.1.2).
    AwaitClose,
    /// It is read and thrown away: the peer's Close came, or nothing it sends can be trusted
    /// (7.1.7).
    Discard,
}

/// Who knows of a connection, and so must be told of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody: it waits for its refusal.
    Refused,
    /// Admission, which counts it.
    Admitted,
    /// Its service, too, which is owed `on_close`.
    Announced,
}
