//! What the poll is asked for: a function of a connection's state, so that the two cannot disagree.
//!
//! No effect here: the core registers what [`Connection::wanted_interest`] returns.

use mio::Interest;

use super::connection::{Connection, Phase};

impl Connection {
    /// What to ask the poll for. WRITABLE while blocked: with both, each read event would carry
    /// writable, too. WRITABLE also while paused with nothing to write: the poll reports a reset
    /// whatever it was asked for, but only for a registered socket. Edge-triggered, that costs one
    /// event at the registration and one for the peer's FIN; data cause none.
    pub(crate) fn wanted_interest(&self) -> Option<Interest> {
        let reads = match self.phase {
            Phase::Gone(_) => return None,
            Phase::Connecting => false,
            Phase::Open => !self.paused,
            _ => true,
        };
        match (reads, self.awaits_write()) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, _) => Some(Interest::WRITABLE),
        }
    }

    /// Whether nothing reads the socket for as long as a service wants it so: a reset shows in the
    /// poll's events alone.
    pub(crate) fn is_unread_by_choice(&self) -> bool {
        match self.phase {
            Phase::Deferred => true,
            Phase::Open => self.paused,
            _ => false,
        }
    }

    /// Whether it is open and has nothing to say, and the poll knows: as most are after a flush.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.is_open()
            && self.outbox.is_empty()
            && self.interest == Some(Interest::READABLE)
            && !self.paused
    }

    /// Whether the poll's word that the socket is writable is waited for.
    pub(crate) fn awaits_write(&self) -> bool {
        self.outbox.blocked_since().is_some() || matches!(self.phase, Phase::Connecting)
    }
}
