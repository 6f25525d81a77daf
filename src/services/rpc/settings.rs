//! The limits of one network, and the route that they need.

use std::time::Duration;

use super::wire::request::Bounds;
use crate::reactor::settings::{RouteSettings, with_setters};

with_setters! {
    /// The limits of one network.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct RpcSettings {
        /// Open WebSockets; one more gets 503.
        pub connections_max: usize = 10_000,
        /// Subscriptions of one connection; one more gets -32005.
        pub subscriptions_per_connection_max: usize = 100,
        /// Subscriptions of all connections; one more gets -32005.
        pub subscriptions_max: usize = 100_000,
        /// Calls of one batch; a larger one gets -32600.
        pub batch_items_max: usize = 100,
        /// Bytes of a message; a larger one gets 1009, or 413 by POST.
        pub request_bytes_max: usize = 1024 * 1024,
        /// Bytes of a reply; a larger one becomes -32003.
        pub response_bytes_max: usize = 25_000_000,
        /// Depth of nesting of parameters; deeper ones get -32600.
        pub depth_max: usize = 64,
        /// Pending calls of one connection. When they are reached, reading pauses. All calls of a
        /// batch count.
        pub calls_per_connection_max: usize = 256,
        /// Pending calls of all connections; one more gets -32005.
        pub calls_max: usize = 16_384,
        /// Timeout of a call, which then gets -32002.
        pub call_timeout: Duration = Duration::from_secs(30),
        /// What calls by WebSocket count for the route's rates of messages.
        pub costs: MethodCosts = MethodCosts::default(),
    }
}

/// As how many messages calls of some methods count; those of others count as one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MethodCosts(Vec<(Box<str>, u32)>);

impl MethodCosts {
    /// The costs of these methods. Of several for one method the last one counts.
    pub fn new<'a>(costs: impl IntoIterator<Item = (&'a str, u32)>) -> MethodCosts {
        let mut all: Vec<(Box<str>, u32)> = Vec::new();
        for (method, cost) in costs {
            all.retain(|(other, _)| **other != *method);
            all.push((method.into(), cost));
        }
        MethodCosts(all)
    }

    /// The methods with their costs.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.0.iter().map(|(method, cost)| (&**method, *cost))
    }

    /// As how many messages a call counts.
    pub(super) fn of(&self, method: &str) -> usize {
        let found = self.0.iter().find(|(other, _)| **other == *method);
        found.map_or(1, |(_, cost)| *cost as usize)
    }
}

impl RpcSettings {
    /// `route` with room for the largest message and the largest reply.
    pub fn fit(&self, route: RouteSettings) -> RouteSettings {
        /// Framing, an id, and the text around a result.
        const AROUND: usize = 64 * 1024;
        let hard = route.outbox_soft_bytes + self.response_bytes_max + AROUND;
        let hard = route.outbox_hard_bytes.max(hard);
        route.message_bytes_max(self.request_bytes_max).outbox_hard_bytes(hard)
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds { batch_items_max: self.batch_items_max, depth_max: self.depth_max }
    }
}
