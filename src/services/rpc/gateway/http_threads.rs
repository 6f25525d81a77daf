//! The threads that post requests to one upstream by HTTP, one request at a time each.
//!
//! The loop gives a request to an idle thread, so nothing queues here. Threads are started as they are needed,
//! up to the upstream's concurrency. Each answer comes back as mail. Connections are kept alive. Name
//! resolution blocks only these threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::failure::Failure;
use super::mail::Mail;
use super::requests::{Attempt, AttemptId};
use crate::reactor::MailSender;
use crate::services::rpc::wire::answer::{Outcome, posted_answer};
use crate::upstream::http::{HttpClient, HttpError, HttpFailure};

/// The stack of a thread. TLS needs more than a minimal one.
const STACK_BYTES: usize = 512 * 1024;

/// A request for a thread.
#[derive(Debug)]
struct HttpJob {
    id: AttemptId,
    body: String,
    timeout: Duration,
}

/// The threads of one upstream.
#[derive(Debug)]
pub(super) struct HttpThreads {
    upstream: usize,
    client: HttpClient,
    answer_bytes_max: usize,
    mail: MailSender<Mail>,
    threads: Vec<SyncSender<HttpJob>>,
    /// Idle threads; the last one was idle for the shortest time, and so was its connection.
    idle: Vec<usize>,
}

impl HttpThreads {
    pub(super) fn new(
        upstream: usize,
        client: HttpClient,
        answer_bytes_max: usize,
        mail: MailSender<Mail>,
    ) -> HttpThreads {
        let (threads, idle) = (Vec::new(), Vec::new());
        HttpThreads { upstream, client, answer_bytes_max, mail, threads, idle }
    }

    /// Gives an attempt to a thread. `false`: a further thread could not be started.
    pub(super) fn send(&mut self, attempt: &Attempt) -> bool {
        let job = HttpJob { id: attempt.id, body: attempt.to_json(), timeout: attempt.timeout };
        let thread = match self.idle.pop() {
            Some(thread) => thread,
            None => match self.start_thread() {
                Ok(()) => self.threads.len() - 1,
                Err(error) => {
                    let url = self.client.url();
                    log::error!("cannot start a thread for requests to {url}: {error}");
                    return false;
                }
            },
        };
        self.threads[thread].try_send(job).is_ok()
    }

    /// The mail of a thread has arrived.
    pub(super) fn set_idle(&mut self, thread: usize) {
        self.idle.push(thread);
    }

    fn start_thread(&mut self) -> std::io::Result<()> {
        let (sender, jobs) = sync_channel(1);
        let worker = HttpThread {
            upstream: self.upstream,
            thread: self.threads.len(),
            client: self.client.clone(),
            answer_bytes_max: self.answer_bytes_max,
            mail: self.mail.clone(),
        };
        thread::Builder::new()
            .name(format!("upstream {}", self.upstream))
            .stack_size(STACK_BYTES)
            .spawn(move || worker.run(&jobs))?;
        self.threads.push(sender);
        Ok(())
    }
}

/// The state of one thread.
struct HttpThread {
    upstream: usize,
    thread: usize,
    client: HttpClient,
    answer_bytes_max: usize,
    mail: MailSender<Mail>,
}

impl HttpThread {
    /// Works until the loop has ended.
    fn run(&self, jobs: &Receiver<HttpJob>) {
        let (upstream, thread) = (self.upstream, self.thread);
        let deliver =
            |id, outcome| self.mail.send(Mail::Answer { upstream, thread, id, outcome }).is_ok();
        post_all(jobs, |job| self.post(job), deliver);
    }

    fn post(&self, HttpJob { id, body, timeout }: HttpJob) -> Result<Outcome, Failure> {
        let answer = self.client.post(&body, timeout).map_err(|error| failure(&error))?;
        let status = answer.status();
        if let Some(failure) = Failure::of_status(status) {
            return Err(failure);
        }
        let text = answer.read(self.answer_bytes_max).map_err(|error| failure(&error))?;
        let not_an_answer = Failure::without_answer(status);
        let text = simdutf8::basic::from_utf8(&text).map_err(|_| not_an_answer)?;
        posted_answer(id.to_wire(), text).ok_or(not_an_answer)?.map_err(Failure::from)
    }
}

/// Posts each job and delivers its outcome, until `deliver` returns false. A job that panics counts as a
/// broken connection: its request may have reached the upstream.
fn post_all(
    jobs: &Receiver<HttpJob>,
    post: impl Fn(HttpJob) -> Result<Outcome, Failure>,
    deliver: impl Fn(AttemptId, Result<Outcome, Failure>) -> bool,
) {
    while let Ok(job) = jobs.recv() {
        let id = job.id;
        let outcome = catch_unwind(AssertUnwindSafe(|| post(job)));
        if !deliver(id, outcome.unwrap_or(Err(Failure::Broken))) {
            return;
        }
    }
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
    use std::cell::RefCell;
    use std::panic::resume_unwind;

    use super::*;

    #[test]
    fn a_job_that_panics_fails_and_its_thread_posts_the_next() {
        let (sender, jobs) = sync_channel(2);
        let [first, second] = [4, 8].map(AttemptId::from_wire);
        for id in [first, second] {
            sender.send(HttpJob { id, body: String::new(), timeout: Duration::ZERO }).unwrap();
        }
        drop(sender);
        let delivered = RefCell::new(Vec::new());
        let post = |job: HttpJob| {
            if job.id == first {
                resume_unwind(Box::new("on purpose"));
            }
            Err(Failure::TimedOut)
        };
        post_all(&jobs, post, |id, outcome| {
            delivered.borrow_mut().push((id, outcome.unwrap_err()));
            true
        });
        let expected = [(first, Failure::Broken), (second, Failure::TimedOut)];
        assert_eq!(delivered.into_inner(), expected);
    }
}
