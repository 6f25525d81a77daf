//! What a gateway counts, shared with whoever shows it, on the same thread: plain cells.

use std::rc::Rc;

use crate::reactor::Durations;
use crate::services::rpc::counts::Count;
use crate::services::rpc::wire::method::Class;
use crate::upstream::breaker::State;

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

/// The counts of one upstream.
#[derive(Debug, Default)]
pub struct UpstreamCounts {
    /// The redacted URL.
    pub name: String,
    /// Requests sent.
    pub sent: Count,
    /// Requests that failed: no answer, none in time, or none that was wanted.
    pub failed: Count,
    /// Messages that were no valid JSON-RPC answer or notification.
    pub malformed: Count,
    /// How long its answers took.
    pub latency: Durations,
    /// Requests under way, now.
    pub in_flight_now: Count,
    /// Whether it can be asked, 0 or 1: a WebSocket is open.
    pub ready: Count,
    /// The breaker, now: 0 closed, 1 half-open, 2 open.
    pub breaker: Count,
    /// Times that the breaker opened.
    pub opened: Count,
}

impl UpstreamCounts {
    pub(super) fn show(&self, state: State) {
        let number = match state {
            State::Closed => 0,
            State::HalfOpen { .. } => 1,
            State::Open { .. } => 2,
        };
        self.breaker.set(number);
    }
}

pub(super) fn add(count: &Count) {
    count.set(count.get() + 1);
}
