//! What a service counts: shared with whoever shows it, on the same thread.
//!
//! Plain cells. Labels are bounded: methods fall into classes, codes that are not ours into one.

use super::wire::error::RpcError;
use super::wire::method::Class;
use super::wire::reply::Failed;
use crate::upstream::counts::{Count, add};

/// The counts of one network.
#[derive(Debug, Default)]
pub struct Counts {
    /// Calls, by class: those of a batch each.
    pub requests: [Count; Class::ALL.len()],
    /// Errors answered, by class and by code as in [`RpcError::CODES`]; the last is for codes of others.
    /// What is no call at all is in the last class.
    pub errors: [[Count; RpcError::CODES.len() + 1]; Class::ALL.len()],
    /// Open WebSockets, now.
    pub connections_now: Count,
    /// Subscriptions, now.
    pub subscriptions_now: Count,
    /// Things subscribed to that differ, now.
    pub feeds_now: Count,
    /// Calls that wait for the backend, now.
    pub calls_now: Count,
    /// Calls whose answer did not come in time.
    pub timeouts: Count,
    /// Times that reading from a connection paused because so many of its calls were under way.
    pub pauses: Count,
    /// Heads announced.
    pub heads: Count,
    /// Notifications queued for subscribers.
    pub notifications_sent: Count,
    /// Notifications for which a subscriber had no room.
    pub notifications_dropped: Count,
    /// Notifications encoded: once for all who get the same.
    pub notifications_encoded: Count,
    /// Connections closed because something was missed that subscribers would not have had.
    pub gaps_closed: Count,
}

impl Counts {
    pub(super) fn request(&self, class: Class) {
        add(&self.requests[class as usize], 1);
    }

    pub(super) fn error(&self, Failed { class, code }: Failed) {
        let ours = RpcError::CODES.iter().position(|&known| known == code);
        add(&self.errors[class as usize][ours.unwrap_or(RpcError::CODES.len())], 1);
    }
}
