//! The counts of a service, shared with the source of metrics on the same thread.
//!
//! Labels are bounded: methods are counted by class, and all codes of upstreams together.

use super::wire::error::RpcError;
use super::wire::method::Class;
use super::wire::reply::Failed;
use crate::upstream::upstream_counts::{Count, add};

/// The counts of one network.
#[derive(Debug, Default)]
pub struct Counts {
    /// Calls by class; each call of a batch counts.
    pub requests: [Count; Class::ALL.len()],
    /// Errors returned, by class and by code as in [`RpcError::CODES`]; the last is for all other
    /// codes. A text that is not a call belongs to the last class.
    pub errors: [[Count; RpcError::CODES.len() + 1]; Class::ALL.len()],
    /// Open WebSockets, now.
    pub connections_now: Count,
    /// Subscriptions, now.
    pub subscriptions_now: Count,
    /// Distinct feeds with subscribers, now.
    pub feeds_now: Count,
    /// Pending calls, now.
    pub calls_now: Count,
    /// Calls without an answer in time.
    pub timeouts: Count,
    /// Times that reading from a connection paused because of its pending calls.
    pub pauses: Count,
    /// Heads announced.
    pub heads: Count,
    /// Notifications queued for subscribers.
    pub notifications_sent: Count,
    /// Notifications dropped because a subscriber's queue was full.
    pub notifications_dropped: Count,
    /// Notifications encoded: once for all equal subscriptions.
    pub notifications_encoded: Count,
    /// Connections closed because their notifications were missed.
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
