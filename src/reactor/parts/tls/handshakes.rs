//! Limits on the cost of TLS handshakes: budgets for admitted clients, for connections of services,
//! and for refused clients.
//!
//! A refused client (429, 503) gets its response over TLS, so it costs a full handshake. Its reads
//! wait in a queue of their own, which is served at a fixed rate, however many turns there are. A
//! storm of refused clients therefore takes neither the handshakes of admitted clients nor much of
//! their time.

use std::collections::VecDeque;

use crate::reactor::api::budget::{TLS_HANDSHAKES, TLS_REFUSED_INTERVAL};
use crate::reactor::api::id::ConnId;
use crate::reactor::api::time::Time;

/// The budgets for reads from connections in their TLS handshake.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    /// Reads from admitted connections left in this turn.
    left: usize,
    /// Reads from connections of services left in this turn.
    outbound_left: usize,
    /// Refused connections that wait for a read, oldest first. Some may have ended.
    refused: VecDeque<ConnId>,
    /// No refused connection is read before this time.
    refused_at: Time,
}

impl Handshakes {
    /// Refills the budget at the start of a turn.
    pub(crate) fn refill(&mut self) {
        self.left = TLS_HANDSHAKES;
        self.outbound_left = TLS_HANDSHAKES;
    }

    /// Takes one read of an admitted connection from the budget of the turn; false if none is left.
    pub(crate) fn take(&mut self) -> bool {
        let has_one = self.left > 0;
        self.left -= usize::from(has_one);
        has_one
    }

    /// Likewise for a connection that a service has opened: a storm of clients must not delay it.
    pub(crate) fn take_outbound(&mut self) -> bool {
        let has_one = self.outbound_left > 0;
        self.outbound_left -= usize::from(has_one);
        has_one
    }

    /// Queues a refused connection for its next read.
    pub(crate) fn park(&mut self, id: ConnId) {
        self.refused.push_back(id);
    }

    /// The oldest refused connection that is still `alive`, if the next read is due.
    pub(crate) fn next_refused(
        &mut self,
        now: Time,
        alive: impl Fn(ConnId) -> bool,
    ) -> Option<ConnId> {
        if now < self.refused_at {
            return None;
        }
        while let Some(id) = self.refused.pop_front() {
            if alive(id) {
                self.refused_at = now + TLS_REFUSED_INTERVAL;
                return Some(id);
            }
        }
        None
    }

    /// When the next refused connection may be read; `None` if none waits.
    pub(crate) fn refused_at(&self) -> Option<Time> {
        (!self.refused.is_empty()).then_some(self.refused_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_connections_are_read_one_at_a_time_at_intervals() {
        let mut handshakes = Handshakes::default();
        let ids: Vec<ConnId> = (1..=4).map(|serial| ConnId::new(0, serial)).collect();
        ids.iter().for_each(|&id| handshakes.park(id));
        let alive = |id| id != ids[1];
        let mut now = Time::ZERO + TLS_REFUSED_INTERVAL;
        assert_eq!(handshakes.next_refused(now, alive), Some(ids[0]));
        assert_eq!(handshakes.next_refused(now, alive), None);
        assert_eq!(handshakes.refused_at(), Some(now + TLS_REFUSED_INTERVAL));
        now = now + TLS_REFUSED_INTERVAL;
        assert_eq!(handshakes.next_refused(now, alive), Some(ids[2]));
        now = now + TLS_REFUSED_INTERVAL;
        assert_eq!(handshakes.next_refused(now, alive), Some(ids[3]));
        assert_eq!(handshakes.refused_at(), None);
    }

    #[test]
    fn admitted_handshakes_have_a_budget_per_turn() {
        let mut handshakes = Handshakes::default();
        for _ in 0..2 {
            handshakes.refill();
            let taken = std::iter::repeat_with(|| handshakes.take()).take_while(|&taken| taken);
            assert_eq!(taken.count(), TLS_HANDSHAKES);
            let taken = std::iter::repeat_with(|| handshakes.take_outbound());
            assert_eq!(taken.take_while(|&taken| taken).count(), TLS_HANDSHAKES);
        }
    }
}
