//! The kinds of deadline of a connection.

/// What a connection's next deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Handshake,
    Ping,
    Pong,
    Fragment,
    #[cfg(feature = "proxy")]
    Body,
    Idle,
    Write,
    Grace,
    Close,
    Linger,
    Window,
    Expiry,
    Refill,
}
