//! Why a session ends: the texts of NEG-ERR (NIP-77).

use std::fmt;
use std::time::Duration;

use crate::services::nostr::refusal::Prefix;

/// Why the relay ends a session. `Display` is the text of NEG-ERR, prefix included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SessionError {
    /// More events match than this.
    TooManyEvents(usize),
    /// The connection has this many sessions already.
    TooManySessions(usize),
    /// The lists of all sessions hold this many bytes.
    NoMemory(usize),
    /// There is no session with this id.
    Unknown,
    /// No message came for this long.
    Idle(Duration),
    /// A message came before the reply to the last one.
    Early,
    /// The message is not negentropy's.
    Malformed,
    /// The search for the events took more steps or time than the limits allow.
    TooLong,
    /// The store failed.
    Store(String),
    /// A panic.
    Internal,
}

impl SessionError {
    /// The prefix, if it is one of NIP-01: `closed` is not.
    pub(crate) fn prefix(&self) -> Option<Prefix> {
        match self {
            SessionError::TooManyEvents(_)
            | SessionError::TooManySessions(_)
            | SessionError::NoMemory(_) => Some(Prefix::Blocked),
            SessionError::Unknown | SessionError::Idle(_) => None,
            SessionError::Early | SessionError::Malformed => Some(Prefix::Invalid),
            SessionError::TooLong | SessionError::Store(_) | SessionError::Internal => {
                Some(Prefix::Error)
            }
        }
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.prefix().map_or("closed", Prefix::name))?;
        match self {
            SessionError::TooManyEvents(most) => {
                write!(f, "more than {most} events match, the maximum of a session")
            }
            SessionError::TooManySessions(most) => {
                write!(f, "{most} sessions are open, the maximum of a connection")
            }
            SessionError::NoMemory(most) => {
                write!(f, "the sessions of all clients hold {most} bytes, the maximum; try later")
            }
            SessionError::Unknown => f.write_str("no session has this id"),
            SessionError::Idle(idle) => write!(f, "no message for {} s", idle.as_secs()),
            SessionError::Early => f.write_str("the reply to the last message was not sent yet"),
            SessionError::Malformed => f.write_str("the message is not negentropy version 1"),
            SessionError::TooLong => f.write_str("the query takes too long"),
            SessionError::Store(error) => f.write_str(error),
            SessionError::Internal => f.write_str("internal error"),
        }
    }
}
