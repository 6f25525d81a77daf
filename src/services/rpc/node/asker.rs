//! Calls of the follower thread to its leader, repeated while notifications show that the leader is alive.
//!
//! A call blocks for up to its timeout, so it is made on a thread of its own. If its answer does not come
//! within [`PATIENCE`] although new blocks are announced meanwhile, the answer is taken for lost: the call
//! is made again, on another thread, and over another connection.

use std::cell::{Cell, RefCell};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::upstream::{Unanswered, Upstream};
use crate::services::rpc::wire::answer::Outcome;
use crate::upstream::url::UpstreamUrl;

/// How long an answer may take, while blocks are announced, until the call is made again.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often one call is made, at most.
const TRIES_MAX: usize = 3;

/// Asks the leader, and waits for announcements of its blocks.
#[derive(Debug)]
pub(super) struct Asker {
    upstream: Upstream,
    /// Announcements, as many at once as one; closed when the loop has ended.
    news: Receiver<()>,
    /// There was an announcement while an answer was awaited.
    has_news: Cell<bool>,
    /// The thread that makes the calls.
    worker: RefCell<Option<SyncSender<Job>>>,
}

/// The loop has ended.
#[derive(Debug)]
pub(super) struct LoopEnded;

#[derive(Debug)]
struct Job {
    method: String,
    params: String,
    answer: SyncSender<Result<Outcome, Unanswered>>,
}

impl Asker {
    pub(super) fn new(upstream: Upstream, news: Receiver<()>) -> Asker {
        Asker { upstream, news, has_news: Cell::default(), worker: RefCell::default() }
    }

    pub(super) fn url(&self) -> &UpstreamUrl {
        self.upstream.url()
    }

    /// Waits for an announcement, at most so long.
    pub(super) fn wait(&self, delay: Duration) -> Result<(), LoopEnded> {
        let delay = if self.has_news.take() { Duration::ZERO } else { delay };
        match self.news.recv_timeout(delay) {
            // However many there were, one look is enough.
            Ok(()) => while self.news.try_recv().is_ok() {},
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(LoopEnded),
        }
        Ok(())
    }

    /// One call; `params` is JSON.
    pub(super) fn call(&self, method: &str, params: &str) -> Result<Outcome, Unanswered> {
        let mut tries = 1;
        loop {
            let Some(answer) = self.start(method, params) else {
                return self.upstream.call(method, params);
            };
            if let Some(outcome) = self.await_answer(&answer, tries < TRIES_MAX) {
                return outcome;
            }
            log::debug!("{}: no answer to {method} yet, asked again", self.url());
            tries += 1;
            // The thread ends with the timeout of its call.
            self.worker.take();
        }
    }

    /// The answer to a call; `None` if it seems lost and `may_repeat`.
    fn await_answer(
        &self,
        answer: &Receiver<Result<Outcome, Unanswered>>,
        may_repeat: bool,
    ) -> Option<Result<Outcome, Unanswered>> {
        loop {
            match answer.recv_timeout(PATIENCE) {
                Ok(outcome) => return Some(outcome),
                Err(RecvTimeoutError::Timeout) if self.is_notified() && may_repeat => return None,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Some(Err(Unanswered::Malformed)),
            }
        }
    }

    /// Whether there was an announcement since this was last asked.
    fn is_notified(&self) -> bool {
        let is_notified = self.news.try_recv().is_ok();
        self.has_news.set(self.has_news.get() || is_notified);
        is_notified
    }

    /// Has a thread make a call; `None` if the system has no thread to give.
    fn start(&self, method: &str, params: &str) -> Option<Receiver<Result<Outcome, Unanswered>>> {
        let (sender, answer) = sync_channel(1);
        let mut worker = self.worker.borrow_mut();
        let jobs = match &mut *worker {
            Some(jobs) => jobs,
            none => none.insert(start_worker(self.upstream.clone())?),
        };
        let (method, params) = (method.to_owned(), params.to_owned());
        jobs.send(Job { method, params, answer: sender }).ok()?;
        Some(answer)
    }
}

/// A thread that makes one call after the other, until nothing more is asked of it.
fn start_worker(upstream: Upstream) -> Option<SyncSender<Job>> {
    let (sender, jobs) = sync_channel::<Job>(1);
    let work = move || {
        for Job { method, params, answer } in jobs {
            // Nobody waits for an answer that was taken for lost.
            let _ = answer.send(upstream.call(&method, &params));
        }
    };
    let thread = thread::Builder::new().name("leader calls".to_owned()).spawn(work);
    thread.inspect_err(|error| log::error!("no thread for calls to the leader: {error}")).ok()?;
    Some(sender)
}
