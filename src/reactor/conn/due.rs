//! What a deadline of a connection is for.

/// The earliest thing to be done for a connection if nothing else happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Handshake,
    Ping,
    Pong,
    Fragment,
    Idle,
    Write,
    Grace,
    Close,
    Linger,
    Window,
}
