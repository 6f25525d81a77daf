//! Ids of subscriptions, as clients see them.

use std::fmt;

use super::hex::Quantity;

/// Names a subscription within its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubscriptionId {
    pub(crate) feed: u32,
    /// How many of the same the connection had.
    pub(crate) ordinal: u16,
}

impl SubscriptionId {
    pub(crate) fn parse(text: &str) -> Option<SubscriptionId> {
        let Quantity(number) = Quantity::parse(text).ok()?;
        let feed = u32::try_from(number >> 16).ok()?;
        Some(SubscriptionId { feed, ordinal: number as u16 })
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", u64::from(self.feed) << 16 | u64::from(self.ordinal))
    }
}
