//! Pauses of reading: each has an owner, and reading resumes when no owner is left.
//!
//! State only: [`Core::pause`](crate::reactor::core::Core::pause) and `resume` update the poll
//! interest and the timeouts.

/// The owner of a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PauseOwner {
    /// The service, with [`Context::pause`](crate::reactor::Context::pause).
    Service = 1,
    /// A [`Throttle`](crate::reactor::Throttle) of the service.
    Throttle = 2,
    /// A shutdown: the client gets its pending responses, but no further requests are read.
    Shutdown = 4,
    /// The other side of its pipe: it reads too slowly.
    Partner = 8,
    /// The end of its tunnel, because it violated the protocol.
    #[cfg(feature = "proxy")]
    Violation = 16,
    /// A rate of its route: its tokens are used up.
    Rate = 32,
}

/// The owners of a connection's pauses, one bit each: one byte per connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pauses(u8);

impl Pauses {
    /// Whether there is a pause.
    #[inline(always)]
    pub(crate) fn is_any(self) -> bool {
        self.0 != 0
    }

    /// Whether there is a pause of this owner.
    pub(crate) fn has(self, owner: PauseOwner) -> bool {
        self.0 & owner as u8 != 0
    }

    /// Whether this owner has a pause, and no other one.
    pub(crate) fn is_only(self, owner: PauseOwner) -> bool {
        self.0 == owner as u8
    }

    /// Adds a pause; true if it is the first.
    pub(crate) fn add(&mut self, owner: PauseOwner) -> bool {
        let is_first = self.0 == 0;
        self.0 |= owner as u8;
        is_first
    }

    /// Ends an owner's pause; true if it was the last.
    pub(crate) fn end(&mut self, owner: PauseOwner) -> bool {
        let had_any = self.0 != 0;
        self.0 &= !(owner as u8);
        had_any && self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_with_its_last_owner() {
        let mut pauses = Pauses::default();
        assert!(!pauses.end(PauseOwner::Service), "there is none");
        assert!(pauses.add(PauseOwner::Service));
        assert!(!pauses.add(PauseOwner::Shutdown) && !pauses.add(PauseOwner::Service));
        assert!(!pauses.end(PauseOwner::Service) && pauses.is_any());
        assert!(!pauses.end(PauseOwner::Service), "its own has ended already");
        assert!(pauses.end(PauseOwner::Shutdown) && !pauses.is_any());
    }
}
