//! The counts of a gateway, shared with the source of metrics on the same thread.

use std::rc::Rc;

use crate::reactor::Durations;
use crate::services::rpc::wire::method::Class;
use crate::upstream::upstream_counts::{Count, UpstreamCounts};

/// The counts of one gateway, in addition to those of its service.
#[derive(Debug, Default)]
pub struct GatewayCounts {
    /// Calls that joined an equal pending request.
    pub joined: Count,
    /// Calls refused because the queue was full.
    pub refused: Count,
    /// Requests that wait for an upstream, now.
    pub queued_now: Count,
    /// The number of the block announced last.
    pub head: Count,
    /// When an upstream last reported its head, in nanoseconds of the loop's time; 0: not since
    /// there are subscribers.
    pub head_reported_at: Count,
    /// Whether an upstream pushes heads, 0 or 1; otherwise they are polled.
    pub pushed: Count,
    /// The time between blocks in nanoseconds; 0: unknown.
    pub block_time: Count,
    /// Times that announced blocks could not be continued.
    pub losses: Count,
    /// Time from a request to the answer of its upstream, by class of method.
    pub latency: [Durations; Class::ALL.len()],
    /// The upstreams, in their order.
    pub upstreams: Vec<Rc<UpstreamCounts>>,
}
