//! An upstream behind HTTP: threads that post requests one at a time, each answer a mail.
//!
//! The loop hands a request to a thread that is idle, so that nothing queues here; as many threads are
//! started as are busy at once, up to the upstream's concurrency. Connections are kept alive. Names are
//! resolved here, too, where waiting harms nobody.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::Mail;
use super::calls::{Send, TryId};
use super::failure::Failure;
use crate::reactor::MailSender;
use crate::services::rpc::wire::answer::{Outcome, posted_answer};
use crate::upstream::http::{HttpClient, HttpError, HttpFailure};

/// The stack of a thread: TLS wants some.
const STACK_BYTES: usize = 512 * 1024;

/// What a thread is to do.
#[derive(Debug)]
struct Job {
    id: TryId,
    body: String,
    timeout: Duration,
}

/// The threads of one upstream.
#[derive(Debug)]
pub(super) struct Http {
    upstream: usize,
    client: HttpClient,
    answer_bytes_max: usize,
    mail: MailSender<Mail>,
    threads: Vec<SyncSender<Job>>,
    /// Threads with nothing to do; the last one has the warmest connection.
    idle: Vec<usize>,
}

impl Http {
    pub(super) fn new(
        upstream: usize,
        client: HttpClient,
        answer_bytes_max: usize,
        mail: MailSender<Mail>,
    ) -> Http {
        let (threads, idle) = (Vec::new(), Vec::new());
        Http { upstream, client, answer_bytes_max, mail, threads, idle }
    }

    /// Has a request posted. Whether that was possible: the system may have no further thread.
    pub(super) fn send(&mut self, send: &Send) -> bool {
        let body = send.to_json();
        let job = Job { id: send.id, body, timeout: send.timeout };
        let thread = match self.idle.pop() {
            Some(thread) => thread,
            None => match self.start_thread() {
                Ok(()) => self.threads.len() - 1,
                Err(error) => {
                    log::error!("no thread for requests to {}: {error}", self.client.url());
                    return false;
                }
            },
        };
        self.threads[thread].try_send(job).is_ok()
    }

    /// A thread has mailed its answer.
    pub(super) fn rest(&mut self, thread: usize) {
        self.idle.push(thread);
    }

    fn start_thread(&mut self) -> std::io::Result<()> {
        let (sender, jobs) = sync_channel(1);
        let poster = Poster {
            upstream: self.upstream,
            thread: self.threads.len(),
            client: self.client.clone(),
            answer_bytes_max: self.answer_bytes_max,
            mail: self.mail.clone(),
        };
        thread::Builder::new()
            .name(format!("upstream {}", self.upstream))
            .stack_size(STACK_BYTES)
            .spawn(move || poster.work(&jobs))?;
        self.threads.push(sender);
        Ok(())
    }
}

/// What one thread works with.
struct Poster {
    upstream: usize,
    thread: usize,
    client: HttpClient,
    answer_bytes_max: usize,
    mail: MailSender<Mail>,
}

impl Poster {
    /// Until the loop is gone.
    fn work(&self, jobs: &Receiver<Job>) {
        let (upstream, thread) = (self.upstream, self.thread);
        let deliver =
            |id, outcome| self.mail.send(Mail::Answer { upstream, thread, id, outcome }).is_ok();
        serve(jobs, |job| self.post(job), deliver);
    }

    fn post(&self, Job { id, body, timeout }: Job) -> Result<Outcome, Failure> {
        let answer = self.client.post(&body, timeout).map_err(|error| failure(&error))?;
        let status = answer.status();
        if let Some(failure) = Failure::of_status(status) {
            return Err(failure);
        }
        let text = answer.read(self.answer_bytes_max).map_err(|error| failure(&error))?;
        let no_answer = Failure::without_answer(status);
        let text = simdutf8::basic::from_utf8(&text).map_err(|_| no_answer)?;
        posted_answer(id.to_wire(), text).ok_or(no_answer)?.map_err(Failure::from)
    }
}

/// Posts each job and delivers its outcome, until that cannot be done. A job that panics has failed like
/// one whose connection broke: its request may have reached the upstream.
fn serve(
    jobs: &Receiver<Job>,
    post: impl Fn(Job) -> Result<Outcome, Failure>,
    deliver: impl Fn(TryId, Result<Outcome, Failure>) -> bool,
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
        let job =
            |call| Job { id: TryId::from_wire(call), body: String::new(), timeout: Duration::ZERO };
        sender.send(job(4)).unwrap();
        sender.send(job(8)).unwrap();
        drop(sender);
        let delivered = RefCell::new(Vec::new());
        let post = |job: Job| match job.id == TryId::from_wire(4) {
            true => resume_unwind(Box::new("on purpose")),
            false => Err(Failure::TimedOut),
        };
        serve(&jobs, post, |id, outcome| {
            delivered.borrow_mut().push((id, outcome.unwrap_err()));
            true
        });
        let expected =
            [(TryId::from_wire(4), Failure::Broken), (TryId::from_wire(8), Failure::TimedOut)];
        assert_eq!(delivered.into_inner(), expected);
    }
}
