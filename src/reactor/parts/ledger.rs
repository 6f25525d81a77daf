//! How many bytes all connections hold in queues and unfinished messages, and how many they may hold.
//!
//! The ledger owns the sum: the bytes allocated for each connection alone, and [shared](crate::reactor::parts::shared) bytes
//! once. Queues that wait for the next outbox stay in the sum, so that lending one changes nothing;
//! [`Outboxes::held`](crate::reactor::conn::outboxes::Outboxes::held) leaves them out. [`Ledger::replace`] is the only function that changes the former: each effect measures what a
//! connection holds before and after. In debug builds the end of each turn compares the sum with the
//! connections.
//!
//! Half of the limit is available to every connection; the other half is split into equal shares, one for
//! each connection that there may be. So the total is bounded, and a few connections with large queues
//! cannot starve the rest: a connection that holds no more than its share is never refused.

use std::rc::Rc;

use super::shared::{Bytes, Shared, SharedSum};
use crate::reactor::api::settings::Settings;

/// A sum of bytes that many holders have. Checked: a mistake shows in debug builds, and in release builds
/// it cannot wrap to a number that refuses everybody.
#[derive(Debug, Default)]
pub(crate) struct Sum(usize);

impl Sum {
    pub(crate) fn get(&self) -> usize {
        self.0
    }

    /// Replaces what one holder had by what it has.
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

    /// Bytes that all connections hold.
    #[inline(always)]
    pub(crate) fn held(&self) -> usize {
        self.own.get() + self.shared.held()
    }

    /// Bytes that connections hold each for itself.
    pub(crate) fn own(&self) -> usize {
        self.own.get()
    }

    /// Counts bytes that outboxes are about to refer to, for as long as any does.
    pub(crate) fn share(&self, bytes: Bytes) -> Rc<Shared> {
        self.shared.hold(bytes)
    }

    /// Charges or releases the difference between what a connection held and what it holds.
    #[inline(always)]
    pub(crate) fn replace(&mut self, before: usize, after: usize) {
        self.own.replace(before, after);
    }

    /// Where the bytes are counted that outboxes share.
    pub(crate) fn shared_sum(&self) -> SharedSum {
        self.shared.clone()
    }

    /// Whether any connection may hold `more` bytes, where all connections hold `all`.
    #[inline(always)]
    pub(crate) fn is_plenty(&self, all: usize, more: usize) -> bool {
        all + more <= self.common
    }

    /// Whether a connection that holds `held` bytes may hold `more`, where all connections hold `all`.
    pub(crate) fn allows(&self, all: usize, held: usize, more: usize) -> bool {
        self.is_plenty(all, more) || held + more <= self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greedy_leave_the_others_their_share() {
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
}
