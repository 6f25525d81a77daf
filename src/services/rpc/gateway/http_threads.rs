//! The threads that post requests to one upstream by HTTP, one request at a time each.
//!
//! The loop sends no more requests than the upstream's concurrency, so they do not wait for a
//! thread. Connections are kept alive. Name resolution blocks only these threads.

use std::time::Duration;

use super::failure::Failure;
use super::requests::{Attempt, AttemptId};
use crate::protocol::http::TraceParent;
use crate::reactor::{Context, Finished, Step, Task, WorkerSettings, Workers};
use crate::services::rpc::wire::answer::{Outcome, posted_answer};
use crate::upstream::http::{HttpClient, HttpError, HttpFailure};

/// The stack of a thread. TLS needs more than a minimal one.
const STACK_BYTES: usize = 512 * 1024;
/// Requests for each thread. A second one waits if the first one has timed out but its thread has
/// not ended it yet.
const JOBS_PER_THREAD: usize = 2;

/// A request for a thread.
#[derive(Debug)]
struct HttpJob {
    id: AttemptId,
    body: String,
    timeout: Duration,
    trace: Option<TraceParent>,
}

/// An attempt with its outcome.
type Posted = (AttemptId, Result<Outcome, Failure>);

/// The threads of one upstream.
#[derive(Debug)]
pub(super) struct HttpThreads(Workers<HttpJob, Posted, AttemptId>);

impl HttpThreads {
    pub(super) fn new(
        cx: &mut Context<'_>,
        upstream: usize,
        client: HttpClient,
        concurrency: usize,
        answer_bytes_max: usize,
    ) -> HttpThreads {
        let name = format!("upstream {upstream}");
        let jobs_max = concurrency * JOBS_PER_THREAD;
        let mut settings = WorkerSettings::new(&name, concurrency, jobs_max);
        settings.stack_bytes = STACK_BYTES;
        let work = move |job: HttpJob| {
            let id = job.id;
            Step::Done((id, post(&client, job, answer_bytes_max)))
        };
        HttpThreads(cx.workers(settings, work))
    }

    /// Gives an attempt to a thread. `false`: there is none, and a further one could not be
    /// started.
    pub(super) fn send(&self, attempt: &Attempt) -> bool {
        let &Attempt { id, timeout, trace, .. } = attempt;
        let job = HttpJob { id, body: attempt.to_json(), timeout, trace };
        self.0.try_put(Task::new(id, job)).is_ok()
    }

    /// The next attempt that has ended.
    pub(super) fn take(&mut self) -> Option<Posted> {
        self.0.take().map(posted)
    }
}

/// A job that panics counts as a broken connection: its request may have reached the upstream.
fn posted(finished: Finished<Posted, AttemptId>) -> Posted {
    match finished {
        Finished::Done(posted) => posted,
        Finished::Lost(id) => (id, Err(Failure::Broken)),
    }
}

fn post(client: &HttpClient, job: HttpJob, answer_bytes_max: usize) -> Result<Outcome, Failure> {
    let HttpJob { id, body, timeout, trace } = job;
    let answer = client.post(&body, timeout, trace).map_err(|error| failure(&error))?;
    let status = answer.status();
    if let Some(failure) = Failure::of_status(status) {
        return Err(failure);
    }
    let text = answer.read(answer_bytes_max).map_err(|error| failure(&error))?;
    let not_an_answer = Failure::without_answer(status);
    let text = simdutf8::basic::from_utf8(&text).map_err(|_| not_an_answer)?;
    posted_answer(id.to_wire(), text).ok_or(not_an_answer)?.map_err(Failure::from)
}

fn failure(error: &HttpError) -> Failure {
    log::debug!("upstream: {error}");
    match error.failure() {
        HttpFailure::Unsent => Failure::Unsent,
        HttpFailure::TimedOut => Failure::TimedOut,
        HttpFailure::TooLarge => Failure::TooLarge,
        HttpFailure::Broken => Failure::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_whose_job_panics_counts_as_a_broken_connection() {
        let id = AttemptId::from_wire(4);
        assert!(matches!(posted(Finished::Lost(id)), (lost, Err(Failure::Broken)) if lost == id));
    }
}
