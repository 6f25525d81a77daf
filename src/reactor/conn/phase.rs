//! The phases of a connection, how input is handled while it closes, and its registration.
//!
//! Plain state: [`connection`](super::connection) derives from it, `effects/` changes it.

use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::time::Time;

/// The phase of a connection. Transitions only go forward, except from `Deferred` back to
/// `Handshake`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Client role: the kernel is connecting.
    Connecting,
    /// Waits for the head of a request, or of the response to our request.
    Handshake,
    /// The service decides later on the request.
    Deferred,
    /// Messages can be sent and received.
    Open,
    /// Our last bytes, usually a Close, are queued, or were written at `since`.
    Closing { since: Time, reason: CloseReason, input: Input },
    /// Our side of the stream is shut down; waits for the peer's.
    Lingering { until: Time, reason: CloseReason },
    /// Ended; the reap phase frees the slot.
    Gone(CloseReason),
}

/// How input is handled while a connection closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// Decoded, until the peer's Close (RFC 6455, 7.1.2).
    AwaitClose,
    /// Read and discarded: the peer's Close was received, or its input cannot be trusted (7.1.7).
    Discard,
}

/// Where a connection is registered, and so who is notified of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registration {
    /// Nowhere: it waits for its refusal.
    Refused,
    /// With admission, which counts it.
    Admitted,
    /// Also with its service, which gets `on_close`.
    Announced,
}
