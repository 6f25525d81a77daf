//! Memory accounting: the bytes that all connections hold in queues and unfinished messages, and
//! their limit.
//!
//! The ledger owns the sum: bytes allocated for one connection, plus each
//! [shared](crate::reactor::parts::shared) buffer once. Spare queues stay in the sum, so that
//! lending one changes nothing; [`Outboxes::held`](crate::reactor::conn::outboxes::Outboxes::held)
//! subtracts them. Only [`Ledger::replace`] changes the first part: each effect measures a
//! connection before and after. Debug builds compare the sum with all connections at the end of a
//! turn.
//!
//! Half of the limit is available to every connection. The other half is split into equal shares,
//! one for each possible connection. So the total is bounded, and a few connections with large
//! queues cannot starve the others: a connection that holds no more than its share is never
//! refused.

use std::rc::Rc;

use super::shared::{Bytes, Shared, SharedSum};
use crate::reactor::api::settings::Settings;

/// A sum of bytes of many holders. It saturates: a miscount fails an assertion in debug builds, and
/// in release builds does not wrap around to a number that refuses every message.
#[derive(Debug, Default)]
pub(crate) struct Sum(usize);

impl Sum {
    pub(crate) fn get(&self) -> usize {
        self.0
    }

    /// Replaces the bytes of one holder.
    #[inline(always)]
    pub(crate) fn replace(&mut self, before: usize, after: usize) {
        debug_assert!(self.0 >= before, "{before} bytes released of {}", self.0);
        self.0 = self.0.saturating_sub(before) + after;
    }
}

#[derive(Debug)]
pub(crate) struct Ledger {
    own: Sum,
    shared: SharedSum,
    common: usize,
    share: usize,
}

impl Ledger {
    pub(crate) fn new(settings: &Settings) -> Ledger {
        let common = settings.buffered_bytes_max / 2;
        let connections = settings.connections_max.saturating_add(settings.outbound_max);
        Ledger {
            own: Sum::default(),
            shared: SharedSum::default(),
            common,
            share: common / connections.max(1),
        }
    }

    /// Bytes that all connections hold, shared buffers included.
    #[inline(always)]
    pub(crate) fn held(&self) -> usize {
        self.own.get() + self.shared.held()
    }

    /// Bytes that connections hold alone, without shared buffers.
    pub(crate) fn own(&self) -> usize {
        self.own.get()
    }

    /// Counts a buffer for as long as an outbox refers to it.
    pub(crate) fn share(&self, bytes: Bytes) -> Rc<Shared> {
        self.shared.hold(bytes)
    }

    /// Replaces the bytes of one connection.
    #[inline(always)]
    pub(crate) fn replace(&mut self, before: usize, after: usize) {
        self.own.replace(before, after);
    }

    /// The count of shared buffers.
    pub(crate) fn shared_sum(&self) -> SharedSum {
        self.shared.clone()
    }

    /// `bytes`, as a part of what is available to every connection.
    pub(crate) fn common_part(&self, bytes: usize) -> f64 {
        bytes as f64 / self.common.max(1) as f64
    }

    /// Whether any connection may hold `more` bytes, if all connections together hold `all`.
    #[inline(always)]
    pub(crate) fn fits_common(&self, all: usize, more: usize) -> bool {
        all + more <= self.common
    }

    /// Whether a connection that holds `held` bytes may hold `more`, if all connections together
    /// hold `all`.
    pub(crate) fn allows(&self, all: usize, held: usize, more: usize) -> bool {
        self.fits_common(all, more) || held + more <= self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_holders_leave_others_their_share() {
        let settings = Settings {
            buffered_bytes_max: 2000,
            connections_max: 8,
            outbound_max: 2,
            ..Settings::default()
        };
        let ledger = Ledger::new(&settings);
        assert!(ledger.allows(0, 0, 1000));
        assert!(ledger.allows(900, 900, 100));
        assert!(!ledger.allows(900, 900, 101));
        assert!(ledger.allows(1900, 0, 100));
        assert!(ledger.allows(1900, 60, 40));
        assert!(!ledger.allows(1900, 60, 41));
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "101 bytes released of 100"))]
    fn releasing_more_than_is_held_never_wraps() {
        let mut sum = Sum::default();
        sum.replace(0, 100);
        sum.replace(101, 7);
        assert_eq!(sum.get(), 7);
    }
}
