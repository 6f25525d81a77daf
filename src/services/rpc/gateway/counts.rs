//! What a gateway counts, shared with whoever shows it, on the same thread: plain cells.

use std::rc::Rc;

use crate::reactor::Durations;
use crate::services::rpc::wire::method::Class;
use crate::upstream::counts::{Count, UpstreamCounts};

/// The counts of one gateway, beside those of the service in front of it.
#[derive(Debug, Default)]
pub struct GatewayCounts {
    /// Requests that joined another one under way.
    pub joined: Count,
    /// Requests refused because the queue was full.
    pub refused: Count,
    /// Requests that wait for an upstream, now.
    pub queued_now: Count,
    /// The number of the block announced last.
    pub head: Count,
    /// When an upstream last told its height, in nanoseconds of the loop's time; 0: not since the first
    /// subscriber came.
    pub heard: Count,
    /// Whether an upstream pushes heads, 0 or 1; they are polled for else.
    pub pushed: Count,
    /// The time between blocks in nanoseconds; 0: not known.
    pub block_time: Count,
    /// Times that what was announced could not be continued.
    pub losses: Count,
    /// How long upstreams took for their answers, by class of method.
    pub latency: [Durations; Class::ALL.len()],
    /// In the order in which they are asked.
    pub upstreams: Vec<Rc<UpstreamCounts>>,
}
