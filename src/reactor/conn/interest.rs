//! The epoll interest of a connection, as a function of its state, so that both always agree.
//!
//! It has no effect: the core registers the result of [`Connection::wanted_interest`].

use mio::Interest;

use super::connection::Connection;
use super::phase::Phase;

impl Connection {
    /// The interest to register. WRITABLE while blocked only: with both, each read event would
    /// carry writable, too. WRITABLE also while paused with nothing to write: the poll reports a
    /// reset with any interest, but only for a registered socket. Edge-triggered, that costs one
    /// event at the registration and one for the peer's FIN; data causes none.
    pub(crate) fn wanted_interest(&self) -> Option<Interest> {
        let reads = match self.phase {
            Phase::Gone(_) => return None,
            Phase::Connecting => false,
            Phase::Open | Phase::Deferred | Phase::Responding => !self.pauses.is_any(),
            #[cfg(feature = "proxy")]
            Phase::Piped | Phase::Streaming => !self.pauses.is_any(),
            _ => true,
        };
        match (reads, self.awaits_write()) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, _) => Some(Interest::WRITABLE),
        }
    }

    /// Whether reading is suspended by a service. Then only events of the poll report a reset.
    ///
    /// An upstream that waits for its client is read again once that has read, or ends with it: what
    /// arrived before the reset still passes.
    pub(crate) fn is_unread_by_choice(&self) -> bool {
        match self.phase {
            Phase::Deferred | Phase::Responding => true,
            Phase::Open => self.pauses.is_any(),
            #[cfg(feature = "proxy")]
            Phase::Piped | Phase::Streaming if self.waits_for_client() => false,
            #[cfg(feature = "proxy")]
            Phase::Piped => self.pauses.is_any(),
            #[cfg(feature = "proxy")]
            Phase::Streaming => !self.passes_body(),
            _ => false,
        }
    }

    /// Whether it is open, has no output, and the registered interest is correct: the usual state
    /// after a flush.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.is_open()
            && self.outbox.is_empty()
            && self.interest == Some(Interest::READABLE)
            && !self.pauses.is_any()
    }

    /// Whether it waits for a writable event.
    pub(crate) fn awaits_write(&self) -> bool {
        self.outbox.blocked_since().is_some() || matches!(self.phase, Phase::Connecting)
    }
}
