//! The limits of one network, and what they ask of its route.

use std::time::Duration;

use super::wire::request::Bounds;
use crate::reactor::settings::RouteSettings;

/// The limits of one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcSettings {
    /// WebSockets at once; one more is answered 503.
    pub connections_max: usize,
    /// Subscriptions of one connection; one more is answered -32005.
    pub subscriptions_per_connection_max: usize,
    /// Subscriptions of all connections; one more is answered -32005.
    pub subscriptions_max: usize,
    /// Calls of one batch; past it -32600.
    pub batch_items_max: usize,
    /// Bytes of a message; past it 1009, or 413.
    pub request_bytes_max: usize,
    /// Bytes of a reply; past it -32003.
    pub response_bytes_max: usize,
    /// Brackets open at once within parameters; past it -32600.
    pub depth_max: usize,
    /// Calls of one connection under way, from which on it is not read from. A batch counts whole.
    pub calls_per_connection_max: usize,
    /// Calls of all connections under way; one more is answered -32005.
    pub calls_max: usize,
    /// How long a call may be under way; past it -32002.
    pub call_timeout: Duration,
}

impl Default for RpcSettings {
    fn default() -> RpcSettings {
        RpcSettings {
            connections_max: 10_000,
            subscriptions_per_connection_max: 100,
            subscriptions_max: 100_000,
            batch_items_max: 100,
            request_bytes_max: 1024 * 1024,
            response_bytes_max: 25_000_000,
            depth_max: 64,
            calls_per_connection_max: 256,
            calls_max: 16_384,
            call_timeout: Duration::from_secs(30),
        }
    }
}

impl RpcSettings {
    /// `route` with room for the largest message and the largest reply.
    pub fn fit(&self, route: RouteSettings) -> RouteSettings {
        /// Framing, an id, and the words around a result.
        const AROUND: usize = 64 * 1024;
        let hard = route.outbox_soft + self.response_bytes_max + AROUND;
        RouteSettings {
            message_bytes_max: self.request_bytes_max,
            outbox_hard: route.outbox_hard.max(hard),
            ..route
        }
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds { batch_items_max: self.batch_items_max, depth_max: self.depth_max }
    }
}
