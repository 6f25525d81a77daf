//! Subscriptions as clients see them: ids, and the text of notifications.

use std::fmt;

use super::hex::Quantity;

/// The id of a subscription, unique within its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubscriptionId {
    pub(crate) feed: u32,
    /// Distinguishes subscriptions of one connection to the same feed.
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

/// Appends a notification.
pub(crate) fn write_notification(out: &mut String, id: &str, result: &str) {
    *out += r#"{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":""#;
    *out += id;
    *out += r#"","result":"#;
    *out += result;
    *out += "}}";
}
