//! Calls of the follower thread to its leader, repeated while notifications show that the leader is
//! alive.
//!
//! A call blocks for up to its timeout, so another thread makes it. If its answer does not arrive
//! within [`PATIENCE`] although new blocks are announced meanwhile, the answer is considered lost:
//! the call is made again, on another thread and over another connection.

use std::cell::{Cell, RefCell};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::leader_client::{LeaderClient, LeaderError};
use crate::services::rpc::wire::answer::Outcome;
use crate::upstream::url::UpstreamUrl;

/// The time for an answer, while blocks are announced, before the call is repeated.
const PATIENCE: Duration = Duration::from_secs(1);
/// Attempts at one call.
const ATTEMPTS_MAX: usize = 3;

/// Calls the leader, and waits for notifications of its blocks.
#[derive(Debug)]
pub(super) struct LeaderCalls {
    client: LeaderClient,
    /// Notifications, of which the channel holds one; closed when the loop has ended.
    notifications: Receiver<()>,
    /// A notification arrived while an answer was awaited.
    is_notified: Cell<bool>,
    /// The thread that makes the calls.
    worker: RefCell<Option<SyncSender<LeaderCall>>>,
}

/// The loop has ended.
#[derive(Debug)]
pub(super) struct LoopEnded;

#[derive(Debug)]
struct LeaderCall {
    method: String,
    params: String,
    answer: SyncSender<Result<Outcome, LeaderError>>,
}

impl LeaderCalls {
    pub(super) fn new(client: LeaderClient, notifications: Receiver<()>) -> LeaderCalls {
        let (is_notified, worker) = (Cell::default(), RefCell::default());
        LeaderCalls { client, notifications, is_notified, worker }
    }

    pub(super) fn url(&self) -> &UpstreamUrl {
        self.client.url()
    }

    /// Waits for a notification, for at most `delay`.
    pub(super) fn wait(&self, delay: Duration) -> Result<(), LoopEnded> {
        let delay = if self.is_notified.take() { Duration::ZERO } else { delay };
        match self.notifications.recv_timeout(delay) {
            // One poll serves all notifications so far.
            Ok(()) => while self.notifications.try_recv().is_ok() {},
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(LoopEnded),
        }
        Ok(())
    }

    /// Makes a call; `params` is JSON.
    pub(super) fn call(&self, method: &str, params: &str) -> Result<Outcome, LeaderError> {
        let mut attempts = 1;
        loop {
            let Some(answer) = self.start(method, params) else {
                return self.client.call(method, params);
            };
            if let Some(outcome) = self.await_answer(&answer, attempts < ATTEMPTS_MAX) {
                return outcome;
            }
            log::debug!("{}: no answer to {method} yet, calling again", self.url());
            attempts += 1;
            // The thread ends with the timeout of its call.
            self.worker.take();
        }
    }

    /// Waits for the answer to a call; `None` if it seems lost and `may_repeat`.
    fn await_answer(
        &self,
        answer: &Receiver<Result<Outcome, LeaderError>>,
        may_repeat: bool,
    ) -> Option<Result<Outcome, LeaderError>> {
        loop {
            match answer.recv_timeout(PATIENCE) {
                Ok(outcome) => return Some(outcome),
                Err(RecvTimeoutError::Timeout) if self.check_notified() && may_repeat => {
                    return None;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Some(Err(LeaderError::Malformed)),
            }
        }
    }

    /// Whether a notification arrived since the last check.
    fn check_notified(&self) -> bool {
        let is_notified = self.notifications.try_recv().is_ok();
        self.is_notified.set(self.is_notified.get() || is_notified);
        is_notified
    }

    /// Makes a call on the worker thread; `None` if that could not be started.
    fn start(&self, method: &str, params: &str) -> Option<Receiver<Result<Outcome, LeaderError>>> {
        let (sender, answer) = sync_channel(1);
        let mut worker = self.worker.borrow_mut();
        let calls = match &mut *worker {
            Some(calls) => calls,
            none => none.insert(start_worker(self.client.clone())?),
        };
        let (method, params) = (method.to_owned(), params.to_owned());
        calls.send(LeaderCall { method, params, answer: sender }).ok()?;
        Some(answer)
    }
}

/// Starts a thread that makes one call after the other, until its sender is dropped.
fn start_worker(client: LeaderClient) -> Option<SyncSender<LeaderCall>> {
    let (sender, calls) = sync_channel::<LeaderCall>(1);
    let work = move || {
        for LeaderCall { method, params, answer } in calls {
            // The receiver of an answer that was considered lost is dropped.
            let _ = answer.send(client.call(&method, &params));
        }
    };
    let thread = thread::Builder::new().name("leader calls".to_owned()).spawn(work);
    thread
        .inspect_err(|error| log::error!("cannot start a thread for calls to the leader: {error}"))
        .ok()?;
    Some(sender)
}
