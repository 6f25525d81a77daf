//! What passes between the loop and a node's threads, and the threads that answer calls: readers of the
//! store, and forwarders that ask the leader. All of it goes by bounded queues.

use std::sync::mpsc::TrySendError;

use serde_json::value::RawValue;

use super::queries::{Answer, Query, Shared};
use super::record::{Anchor, Record};
use super::status::Standing;
use super::upstream::Upstream;
use crate::reactor::{Context, Finished, Step, Task, WorkQueue, WorkerSettings, Workers};
use crate::services::rpc::backend::{Progress, Ticket};
use crate::services::rpc::wire::answer::Outcome;
use crate::services::rpc::wire::error::RpcError;
use crate::services::rpc::wire::request::Call;

/// Questions for each kind of thread that wait, are worked on, or whose answer waits for the loop.
pub(super) const QUEUE_MAX: usize = 4096;
/// Threads that read the store, and that ask the leader.
const READERS: usize = 2;
pub(super) const FORWARDERS: usize = 4;

/// What the threads tell the loop.
#[derive(Debug)]
pub(super) enum Post {
    Answer(Ticket, Outcome),
    /// A block is on disk.
    Block(Box<Record>),
    /// A transaction waits.
    Pending {
        hash: Box<RawValue>,
        full: Box<RawValue>,
    },
    /// The leader's head.
    Leader(u64),
    /// Whether the node does its work has changed.
    Standing(Standing),
}

/// A question for the store.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) ticket: Ticket,
    pub(super) query: Query,
    /// Where a follower goes if its store does not know.
    pub(super) forward: Option<Forward>,
}

/// A call for the leader.
#[derive(Debug)]
pub(super) struct Forward {
    ticket: Ticket,
    method: String,
    params: String,
    /// The leader must have this block for its answer to count.
    anchor: Option<Anchor>,
}

impl Forward {
    /// A call as it came.
    pub(super) fn of(ticket: Ticket, call: &Call<'_>) -> Forward {
        let params = call.params.map_or("[]", RawValue::get).to_owned();
        Forward { ticket, method: call.method.clone().into_owned(), params, anchor: None }
    }

    fn answer(&self, leader: &Upstream) -> Outcome {
        let answer = match self.anchor {
            Some(anchor) => leader.call_on(anchor, &self.method, &self.params),
            None => leader.call(&self.method, &self.params),
        };
        answer.unwrap_or_else(|error| Err(error.into()))
    }
}

/// A call with its answer.
pub(super) type Answered = (Ticket, Outcome);
/// The threads that read the store.
pub(super) type Readers = Workers<Job, Answered, Ticket>;
/// The threads that ask a follower's leader.
pub(super) type Forwarders = Workers<Forward, Answered, Ticket>;
/// Leads to the forwarders from any thread.
pub(super) type ForwardQueue = WorkQueue<Forward, Answered, Ticket>;

impl Job {
    /// The answer, unless it is left to a forwarder.
    fn answer(self, shared: &Shared, onward: Option<&ForwardQueue>) -> Option<Outcome> {
        let lacks = self.forward.zip(onward);
        match (self.query.answer(shared, lacks.is_some()), lacks) {
            (Answer::Known(outcome), _) => Some(outcome),
            (Answer::Unknown(anchor), Some((forward, onward))) => {
                let params = self.query.leader_params(&forward.params);
                let params = params.unwrap_or(forward.params);
                let forward = Forward { params, anchor, ..forward };
                queued(onward.try_put(Task::new(forward.ticket, forward))).err().map(Err)
            }
            (Answer::Unknown(_), None) => Some(Err(RpcError::internal())),
        }
    }
}

/// Whether work was put into a queue: if so, its answer comes later.
pub(super) fn queued<T>(put: Result<(), TrySendError<T>>) -> Result<Progress, RpcError> {
    match put {
        Ok(()) => Ok(Progress::Later),
        Err(TrySendError::Full(_)) => Err(RpcError::busy()),
        Err(TrySendError::Disconnected(_)) => Err(RpcError::internal()),
    }
}

/// The threads that read the store; `onward` leads to a follower's forwarders.
pub(super) fn readers(
    cx: &mut Context<'_>,
    shared: Shared,
    onward: Option<ForwardQueue>,
) -> Readers {
    let work = move |job: Job| {
        let ticket = job.ticket;
        match job.answer(&shared, onward.as_ref()) {
            Some(outcome) => Step::Done((ticket, outcome)),
            None => Step::Forwarded,
        }
    };
    cx.workers(WorkerSettings::new("store reader", READERS, QUEUE_MAX), work)
}

/// The threads that ask a follower's leader.
pub(super) fn forwarders(cx: &mut Context<'_>, leader: Upstream) -> Forwarders {
    let work = move |forward: Forward| Step::Done((forward.ticket, forward.answer(&leader)));
    cx.workers(WorkerSettings::new("leader calls", FORWARDERS, QUEUE_MAX), work)
}

/// The answer of a call that a thread has worked on: an error if the thread has panicked.
pub(super) fn answered(finished: Finished<Answered, Ticket>) -> Post {
    match finished {
        Finished::Done((ticket, outcome)) => Post::Answer(ticket, outcome),
        Finished::Lost(ticket) => Post::Answer(ticket, Err(RpcError::internal())),
    }
}
