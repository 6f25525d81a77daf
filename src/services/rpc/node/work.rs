//! What passes between the loop and a node's threads, and the threads that answer calls: readers of the
//! store, and forwarders that ask the leader. All of it goes by bounded queues.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::thread::JoinHandle;

use serde_json::value::RawValue;

use super::queries::{Answer, Query, Shared};
use super::record::{Anchor, Record};
use super::status::Standing;
use super::upstream::Upstream;
use super::workers;
use crate::reactor::MailSender;
use crate::services::rpc::backend::{Progress, Ticket};
use crate::services::rpc::wire::answer::Outcome;
use crate::services::rpc::wire::error::RpcError;
use crate::services::rpc::wire::request::Call;

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

impl Job {
    /// The answer, unless it is left to a forwarder.
    fn answer(self, shared: &Shared, onward: Option<&SyncSender<Forward>>) -> Option<Outcome> {
        let lacks = self.forward.zip(onward);
        match (self.query.answer(shared, lacks.is_some()), lacks) {
            (Answer::Known(outcome), _) => Some(outcome),
            (Answer::Unknown(anchor), Some((forward, onward))) => {
                let params = self.query.leader_params(&forward.params);
                let params = params.unwrap_or(forward.params);
                put(onward, Forward { params, anchor, ..forward }).err().map(Err)
            }
            (Answer::Unknown(_), None) => Some(Err(RpcError::internal())),
        }
    }
}

/// Puts work into a queue, if it has room.
pub(super) fn put<T>(queue: &SyncSender<T>, work: T) -> Result<Progress, RpcError> {
    match queue.try_send(work) {
        Ok(()) => Ok(Progress::Later),
        Err(TrySendError::Full(_)) => Err(RpcError::busy()),
        Err(TrySendError::Disconnected(_)) => Err(RpcError::internal()),
    }
}

/// Starts the threads that read the store; `onward` leads to a follower's forwarders.
pub(super) fn start_readers(
    shared: Shared,
    jobs: Receiver<Job>,
    onward: Option<SyncSender<Forward>>,
    mail: MailSender<Post>,
) -> Vec<JoinHandle<()>> {
    let lost = lost(mail.clone());
    let work = move |job: Job| {
        let ticket = job.ticket;
        if let Some(outcome) = job.answer(&shared, onward.as_ref()) {
            let _ = mail.send(Post::Answer(ticket, outcome));
        }
    };
    workers::spawn(READERS, jobs, |job| job.ticket, work, lost)
}

/// Starts the threads that ask a follower's leader. They end when the queue does, and not before their
/// call is over: nobody waits for them.
pub(super) fn start_forwarders(
    leader: Upstream,
    forwards: Receiver<Forward>,
    mail: MailSender<Post>,
) {
    let lost = lost(mail.clone());
    let work = move |forward: Forward| {
        let _ = mail.send(Post::Answer(forward.ticket, forward.answer(&leader)));
    };
    workers::spawn(FORWARDERS, forwards, |forward| forward.ticket, work, lost);
}

/// Answers a call whose thread has panicked.
fn lost(mail: MailSender<Post>) -> impl Fn(Ticket) + Send + Sync {
    move |ticket| {
        let _ = mail.send(Post::Answer(ticket, Err(RpcError::internal())));
    }
}
