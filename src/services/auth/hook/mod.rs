//! [`Hook`]: the gate that asks an HTTP server, as nginx's `auth_request` and Traefik's ForwardAuth do.
//!
//! Requests are sent by threads. The loop counts the timeout from the head of the client's request, so a
//! server that hangs delays nobody longer.

mod answer;
mod question;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use self::answer::{Answer, Undecided};
use self::question::Question;
use super::cache::{Cache, Hash};
use super::counts::{AuthCounts, AuthOutcome};
use super::settings::{HookSettings, OnFailure};
use crate::protocol::Message;
use crate::protocol::handshake::{Refusal, Response};
use crate::reactor::{
    ConnId, Context, Finished, Gate, GateRequest, Identity, More, Service, Step, Task, Time,
    TlsError, Verdict, WorkerSettings, Workers,
};
use crate::upstream::breaker::Breaker;
use crate::upstream::http::HttpClient;
use crate::upstream::tls::UpstreamTls;
use crate::upstream::upstream_counts::add;

/// Requests that wait for a thread; further ones are refused at once.
const QUEUE_MAX: usize = 1024;
/// Bytes of the requests that wait, or that a thread has: 1,024 usual ones, or 250 of the largest.
const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Requests that are refused at once because their time has passed; the next turn refuses further ones.
const EXPIRIES_PER_TURN: usize = 32;
/// TLS needs more than a minimal stack.
const STACK_BYTES: usize = 512 * 1024;
/// The only timer: the oldest request has taken too long.
const TIMEOUT_TIMER: u64 = 0;

/// A gate that asks an HTTP server.
#[derive(Debug)]
pub struct Hook {
    settings: HookSettings,
    /// Until the loop starts.
    client: Option<HttpClient>,
    threads: Option<Workers<Job, Done, Ticket>>,
    /// Bytes of the questions that the threads have not answered.
    queued_bytes: usize,
    breaker: Breaker,
    /// Requests without a verdict, by their numbers: the oldest first. At most as many as jobs.
    asked: BTreeMap<u64, Asked>,
    is_timer_set: bool,
    next: u64,
    cache: Cache<Cached>,
    counts: Rc<AuthCounts>,
}

/// Identifies a request in the hands of the threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Ticket {
    number: u64,
    /// What it counts for in `queued_bytes`.
    bytes: usize,
}

/// A request for a thread.
#[derive(Debug)]
struct Job {
    ticket: Ticket,
    question: Question,
    /// A thread does not start it later.
    deadline: Instant,
}

type Done = (Ticket, Answer);

/// A client whose request the server decides on.
#[derive(Debug)]
struct Asked {
    conn: ConnId,
    since: Time,
    started: Instant,
    /// Under which a passing answer is kept.
    key: Option<Hash>,
}

/// A passing answer.
#[derive(Debug)]
struct Cached {
    identity: Option<Identity>,
    until: Time,
}

impl Hook {
    /// A gate of this name.
    ///
    /// # Errors
    /// The file with CA certificates cannot be used.
    pub fn new(name: &str, settings: HookSettings) -> Result<Hook, TlsError> {
        let tls = UpstreamTls::new(&settings.url, settings.ca_file.as_deref())?;
        let client = HttpClient::new(&settings.url, tls, settings.concurrency);
        Ok(Hook {
            settings,
            client: Some(client),
            threads: None,
            queued_bytes: 0,
            breaker: Breaker::default(),
            asked: BTreeMap::new(),
            is_timer_set: false,
            next: 0,
            cache: Cache::default(),
            counts: Rc::new(AuthCounts::new(name)),
        })
    }

    /// The counts of the gate.
    pub fn counts(&self) -> Rc<AuthCounts> {
        Rc::clone(&self.counts)
    }

    /// A passing answer to an equal request.
    fn cached(&mut self, now: Time, key: &Hash) -> Option<Verdict> {
        let cached = self.cache.get(key)?;
        if now >= cached.until {
            self.cache.remove(key);
            return None;
        }
        Some(Verdict::Pass(cached.identity.clone().map(Box::new)))
    }

    fn ask(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        question: Question,
        started: Instant,
    ) -> Verdict {
        let now = cx.now();
        let key = self.settings.cache.map(|_| question.hash());
        if let Some(key) = &key {
            let cached = self.cached(now, key);
            add(
                if cached.is_some() { &self.counts.cache_hits } else { &self.counts.cache_misses },
                1,
            );
            if let Some(verdict) = cached {
                self.count(AuthOutcome::Ok, started);
                return verdict;
            }
        }
        if !self.breaker.admit(now) {
            return self.failed(started);
        }
        let number = self.next;
        self.next += 1;
        if !self.put(number, question) {
            self.breaker.cancel(now, now);
            self.count(AuthOutcome::HookFull, started);
            return Verdict::Refuse(Refusal::GateFailed, None);
        }
        self.asked.insert(number, Asked { conn, since: now, started, key });
        self.set_timer(cx);
        Verdict::Later
    }

    /// Gives a question to the threads; false if too many wait, or if they are too large.
    fn put(&mut self, number: u64, question: Question) -> bool {
        let bytes = question.bytes();
        if self.queued_bytes + bytes > QUEUE_BYTES_MAX {
            return false;
        }
        let ticket = Ticket { number, bytes };
        let deadline = Instant::now() + self.settings.timeout;
        let task = Task::new(ticket, Job { ticket, question, deadline });
        let is_put = self.threads.as_ref().is_some_and(|threads| threads.try_put(task).is_ok());
        if is_put {
            self.queued_bytes += bytes;
        }
        is_put
    }

    /// When the oldest request has taken too long.
    fn timeout(&self) -> Option<Time> {
        let (_, oldest) = self.asked.first_key_value()?;
        Some(oldest.since + self.settings.timeout)
    }

    fn set_timer(&mut self, cx: &mut Context<'_>) {
        if let Some(at) = self.timeout().filter(|_| !self.is_timer_set) {
            // Without a timer the deadline of the handshake ends the request: refused as well.
            self.is_timer_set = cx.schedule(at.since(cx.now()), TIMEOUT_TIMER).is_some();
        }
    }

    fn count(&self, outcome: AuthOutcome, started: Instant) {
        self.counts.count(outcome);
        self.counts.took.count(started.elapsed());
    }

    /// The verdict if the hook fails.
    fn failed(&self, started: Instant) -> Verdict {
        self.count(AuthOutcome::HookFailed, started);
        match self.settings.on_failure {
            OnFailure::Refuse => Verdict::Refuse(Refusal::GateFailed, None),
            OnFailure::Pass => Verdict::Pass(None),
        }
    }

    fn record(&mut self, cx: &mut Context<'_>, has_succeeded: bool, since: Time) {
        let before = self.breaker.opened();
        self.breaker.record(has_succeeded, since, cx.now());
        if self.breaker.opened() > before && cx.may_log(log::Level::Error, "hook_failing") {
            let gate = self.counts.gate.as_str();
            log::error!(gate = gate, url:% = self.settings.url; "the hook fails: it is not asked for some seconds");
        }
    }

    /// Gives the verdict that follows from an answer.
    fn answer(&mut self, cx: &mut Context<'_>, ticket: Ticket, answer: Answer) {
        self.queued_bytes -= ticket.bytes;
        // Otherwise its timeout has passed, and counted as a failure.
        let Some(Asked { conn, since, started, key }) = self.asked.remove(&ticket.number) else {
            return;
        };
        let now = cx.now();
        self.record(cx, !matches!(answer, Answer::Failed), since);
        let verdict = match answer {
            Answer::Failed => self.failed(started),
            Answer::Undecided(why) => {
                self.count(AuthOutcome::HookFailed, started);
                self.log_undecided(cx, conn, why);
                Verdict::Refuse(Refusal::GateFailed, None)
            }
            Answer::Pass(passed) => {
                self.count(AuthOutcome::Ok, started);
                let identity = passed.map(|passed| passed.identity(now));
                self.remember(key, identity.as_ref(), now);
                Verdict::Pass(identity.map(Box::new))
            }
            Answer::Refuse(refusal, response) => {
                self.count(AuthOutcome::HookNo, started);
                Verdict::Refuse(refusal, Some(response))
            }
        };
        cx.verdict(conn, verdict);
    }

    fn log_undecided(&self, cx: &mut Context<'_>, conn: ConnId, why: Undecided) {
        if cx.may_log(log::Level::Warn, "hook_undecided") {
            let gate = self.counts.gate.as_str();
            log::warn!(conn:% = conn, gate = gate; "refused after an answer of the hook: {why}");
        }
    }

    /// Gives a verdict on requests whose time has passed, the oldest first.
    fn expire(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        let is_due = |hook: &Hook| hook.timeout().is_some_and(|at| at <= now);
        for _ in 0..EXPIRIES_PER_TURN {
            if !is_due(self) {
                break;
            }
            if let Some((_, Asked { conn, since, started, .. })) = self.asked.pop_first() {
                self.record(cx, false, since);
                let verdict = self.failed(started);
                cx.verdict(conn, verdict);
            }
        }
        match is_due(self) {
            true => cx.wake(),
            false => self.set_timer(cx),
        }
    }

    fn remember(&mut self, key: Option<Hash>, identity: Option<&Identity>, now: Time) {
        let (Some(key), Some(most)) = (key, self.settings.cache) else {
            return;
        };
        let end = identity.and_then(|identity| identity.expires).unwrap_or(Time::MAX);
        let until = end.min(now + most);
        self.cache.put(key, Cached { identity: identity.cloned(), until });
    }
}

impl Gate for Hook {
    fn on_gate(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &GateRequest<'_>,
    ) -> Verdict {
        let started = Instant::now();
        match Question::new(request, &self.settings.headers) {
            Ok(question) => self.ask(cx, conn, question, started),
            Err(refusal) => {
                self.count(AuthOutcome::Malformed, started);
                Verdict::Refuse(refusal, None)
            }
        }
    }

    fn on_forbidden(&mut self, _: &mut Context<'_>, _: ConnId) -> Option<Box<Response>> {
        self.counts.count(AuthOutcome::Require);
        None
    }

    /// The server is asked again. The loop refuses the subject's requests that wait for an answer now; none
    /// of these answers is kept, since any of them may name the subject.
    fn on_signed_out(&mut self, _: &mut Context<'_>, subject: &str) {
        let is_other = |identity: &Identity| identity.subject() != subject;
        self.cache.retain(|cached| cached.identity.as_ref().is_none_or(is_other));
        self.asked.values_mut().for_each(|asked| asked.key = None);
    }
}

impl Service for Hook {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        let Some(client) = self.client.take() else {
            return;
        };
        let threads = self.settings.concurrency;
        let mut settings = WorkerSettings::new("hook", threads, threads + QUEUE_MAX);
        settings.stack_bytes = STACK_BYTES;
        let work = move |job: Job| Step::Done((job.ticket, send(&client, job)));
        self.threads = Some(cx.workers(settings, work));
    }

    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        let finished = self.threads.as_mut().and_then(Workers::take);
        match finished {
            None => {
                if !self.is_timer_set {
                    self.expire(cx);
                }
                return More::No;
            }
            Some(Finished::Done((ticket, answer))) => self.answer(cx, ticket, answer),
            Some(Finished::Lost(ticket)) => self.answer(cx, ticket, Answer::Failed),
        }
        More::Yes
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _: u64) {
        self.is_timer_set = false;
        self.expire(cx);
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

/// Asks the server.
fn send(client: &HttpClient, job: Job) -> Answer {
    let left = job.deadline.saturating_duration_since(Instant::now());
    if left == Duration::ZERO {
        return Answer::Failed;
    }
    match client.get(&job.question.into_headers(), left) {
        Ok(answer) => Answer::read(answer),
        Err(error) => {
            log::debug!("hook: {error}");
            Answer::without(&error)
        }
    }
}

#[cfg(test)]
mod tests;
