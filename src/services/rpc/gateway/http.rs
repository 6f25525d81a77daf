//! An upstream behind HTTP: threads that post requests one at a time, each answer a mail.
//!
//! The loop hands a request to a thread that is idle, so that nothing queues here; as many threads are
//! started as are busy at once, up to the upstream's concurrency. Connections are kept alive. Names are
//! resolved here, too, where waiting harms nobody.

use std::io::{ErrorKind, Read as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::TlsConfig;

use super::Mail;
use super::calls::{Send, TryId};
use super::failure::Failure;
use crate::reactor::MailSender;
use crate::services::rpc::wire::answer::Outcome;
use crate::services::rpc::wire::answer::{Incoming, NO_ID};
use crate::upstream::http::agent;
use crate::upstream::url::{HttpError, UpstreamUrl};

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
    url: UpstreamUrl,
    agent: Agent,
    answer_bytes_max: usize,
    mail: MailSender<Mail>,
    threads: Vec<SyncSender<Job>>,
    /// Threads with nothing to do; the last one has the warmest connection.
    idle: Vec<usize>,
}

impl Http {
    pub(super) fn new(
        upstream: usize,
        url: &UpstreamUrl,
        tls: Option<TlsConfig>,
        answer_bytes_max: usize,
        concurrency: usize,
        mail: MailSender<Mail>,
    ) -> Http {
        let agent = agent(tls, concurrency);
        let url = url.clone();
        Http { upstream, url, agent, answer_bytes_max, mail, threads: Vec::new(), idle: Vec::new() }
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
                    log::error!("no thread for requests to {}: {error}", self.url);
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
            url: self.url.full_text(),
            agent: self.agent.clone(),
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
    /// With its path, which may hold a key.
    url: String,
    agent: Agent,
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
        let request = self.agent.post(&self.url).config().timeout_global(Some(timeout)).build();
        let mut response = request
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .send(&body)
            .map_err(|error| failure(&error))?;
        let status = response.status().as_u16();
        if let Some(failure) = Failure::of_status(status) {
            return Err(failure);
        }
        let mut text = Vec::new();
        let limit = self.answer_bytes_max as u64 + 1;
        let body = response.body_mut().as_reader();
        body.take(limit).read_to_end(&mut text).map_err(|error| match error.kind() {
            ErrorKind::TimedOut => Failure::TimedOut,
            _ => Failure::Broken,
        })?;
        if text.len() > self.answer_bytes_max {
            return Err(Failure::TooLarge);
        }
        let no_answer = Failure::without_answer(status);
        let text = simdutf8::basic::from_utf8(&text).map_err(|_| no_answer)?;
        match Incoming::parse(text) {
            Some(Incoming::Answer(answered, outcome)) if answered == id.to_wire() => {
                outcome.map_err(Failure::from)
            }
            // Some servers send an error without the id.
            Some(Incoming::Answer(NO_ID, Ok(error @ Err(_)))) => Ok(error),
            _ => Err(no_answer),
        }
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

/// What an error says about whether the request has reached the upstream.
fn failure(error: &ureq::Error) -> Failure {
    log::debug!("upstream: {}", HttpError(error));
    match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::Tls(_) => {
            Failure::Unsent
        }
        ureq::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => Failure::Unsent,
        ureq::Error::Timeout(_) => Failure::TimedOut,
        _ => Failure::Broken,
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
