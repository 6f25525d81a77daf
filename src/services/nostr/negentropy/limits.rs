//! The limits of negentropy sessions.

use std::time::Duration;

/// Limits of all sessions of a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NegentropyLimits {
    /// Events of one session.
    pub items_max: usize,
    /// Sessions of one connection.
    pub sessions_max: usize,
    /// How long a session may be without a message.
    pub idle: Duration,
    /// Memory of the lists of all sessions.
    pub bytes_max: usize,
}

impl Default for NegentropyLimits {
    fn default() -> NegentropyLimits {
        NegentropyLimits {
            items_max: 1_000_000,
            sessions_max: 8,
            idle: Duration::from_secs(60),
            bytes_max: 256 * 1024 * 1024,
        }
    }
}
