//! The calls that threads answer: readers of the store, and forwarders that call the leader. All of
//! them wait in bounded queues.

use std::sync::mpsc::TrySendError;

use serde_json::value::RawValue;

use super::leader_client::LeaderClient;
use super::mail::NodeMail;
use super::record::Anchor;
use super::shared::Shared;
use super::store_query::{StoreAnswer, StoreQuery};
use crate::reactor::{Context, Finished, Step, Task, WorkQueue, WorkerSettings, Workers};
use crate::services::rpc::backend::{Progress, Ticket};
use crate::services::rpc::wire::answer::Outcome;
use crate::services::rpc::wire::error::RpcError;
use crate::services::rpc::wire::request::Call;

/// Jobs for each kind of thread: queued ones, those in work, and those whose answer waits for the
/// loop.
pub(super) const QUEUE_MAX: usize = 4096;
/// Threads that read the store.
const READERS: usize = 2;
/// Threads that call the leader.
pub(super) const FORWARDERS: usize = 4;

/// A query of the store.
#[derive(Debug)]
pub(super) struct StoreJob {
    pub(super) ticket: Ticket,
    pub(super) query: StoreQuery,
    /// At a follower: the call to its leader, if the store does not have the answer.
    pub(super) forward: Option<ForwardJob>,
}

/// A call to the leader.
#[derive(Debug)]
pub(super) struct ForwardJob {
    ticket: Ticket,
    method: String,
    params: String,
    /// The answer counts only if the leader has this block.
    anchor: Option<Anchor>,
}

impl ForwardJob {
    /// A call of a client, unchanged.
    pub(super) fn new(ticket: Ticket, call: &Call<'_>) -> ForwardJob {
        let params = call.params.map_or("[]", RawValue::get).to_owned();
        ForwardJob { ticket, method: call.method.clone().into_owned(), params, anchor: None }
    }

    fn answer(&self, leader: &LeaderClient) -> Outcome {
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
pub(super) type Readers = Workers<StoreJob, Answered, Ticket>;
/// The threads that call the leader.
pub(super) type Forwarders = Workers<ForwardJob, Answered, Ticket>;
/// The queue of the forwarders, for other threads.
pub(super) type ForwardQueue = WorkQueue<ForwardJob, Answered, Ticket>;

impl StoreJob {
    /// The answer; `None` if a forwarder will answer.
    fn answer(self, shared: &Shared, forwards: Option<&ForwardQueue>) -> Option<Outcome> {
        let leader = self.forward.zip(forwards);
        match (self.query.answer(shared, leader.is_some()), leader) {
            (StoreAnswer::Known(outcome), _) => Some(outcome),
            (StoreAnswer::Unknown(anchor), Some((forward, forwards))) => {
                let params = self.query.leader_params(&forward.params);
                let params = params.unwrap_or(forward.params);
                let forward = ForwardJob { params, anchor, ..forward };
                queued(forwards.try_put(Task::new(forward.ticket, forward))).err().map(Err)
            }
            (StoreAnswer::Unknown(_), None) => Some(Err(RpcError::internal())),
        }
    }
}

/// The progress of a call that was put into a queue, or the error if that failed.
pub(super) fn queued<T>(put: Result<(), TrySendError<T>>) -> Result<Progress, RpcError> {
    match put {
        Ok(()) => Ok(Progress::Later),
        Err(TrySendError::Full(_)) => Err(RpcError::busy()),
        Err(TrySendError::Disconnected(_)) => Err(RpcError::internal()),
    }
}

/// Starts the threads that read the store. `forwards` is the queue of a follower's forwarders.
pub(super) fn readers(
    cx: &mut Context<'_>,
    shared: Shared,
    forwards: Option<ForwardQueue>,
) -> Readers {
    let work = move |job: StoreJob| {
        let ticket = job.ticket;
        match job.answer(&shared, forwards.as_ref()) {
            Some(outcome) => Step::Done((ticket, outcome)),
            None => Step::Forwarded,
        }
    };
    cx.workers(WorkerSettings::new("store reader", READERS, QUEUE_MAX), work)
}

/// Starts the threads that call a follower's leader.
pub(super) fn forwarders(cx: &mut Context<'_>, leader: LeaderClient) -> Forwarders {
    let work = move |forward: ForwardJob| Step::Done((forward.ticket, forward.answer(&leader)));
    cx.workers(WorkerSettings::new("leader calls", FORWARDERS, QUEUE_MAX), work)
}

/// The answer of a job, which is an error if its thread panicked.
pub(super) fn answered(finished: Finished<Answered, Ticket>) -> NodeMail {
    match finished {
        Finished::Done((ticket, outcome)) => NodeMail::Answer(ticket, outcome),
        Finished::Lost(ticket) => NodeMail::Answer(ticket, Err(RpcError::internal())),
    }
}
