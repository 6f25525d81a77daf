//! The pending requests of one network: their waiters, the upstream that each is sent to, and what
//! follows when an attempt fails.
//!
//! Decides and counts; does no I/O and knows no connection. [`UpstreamRequests::next_attempt`]
//! returns what to send, [`UpstreamRequests::finish`] takes its outcome. The number of requests is
//! bounded by the concurrency of the upstreams and by the queue in front of them. Each request ends
//! at its deadline at the latest.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use super::failure::{Ended, Failure};
use super::gateway_counts::GatewayCounts;
use super::outgoing::OutgoingRequest;
use super::settings::RequestLimits;
use crate::protocol::http::TraceParent;
use crate::reactor::Time;
use crate::services::rpc::wire::answer::Outcome;
use crate::services::rpc::wire::method::Class;
use crate::services::rpc::wire::upstream_request::with_id;
use crate::upstream::pool::{Choice, Ending, Readiness, UpstreamPool, UpstreamSet};
use crate::upstream::upstream_counts::add;

/// Attempts at one request.
pub(super) const ATTEMPTS_MAX: u32 = 3;
/// Calls that share one request.
pub(super) const WAITERS_MAX: usize = 16 * 1024;

/// The id of one attempt at one request, by which its answer is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct AttemptId {
    request: u64,
    /// The number of the attempt, from 1.
    count: u32,
}

impl AttemptId {
    /// The id of the request to an upstream, 4 or more.
    pub(super) fn to_wire(self) -> u64 {
        self.request << 2 | u64::from(self.count)
    }

    /// The attempt with this id of an upstream's answer.
    pub(super) fn from_wire(id: u64) -> AttemptId {
        AttemptId { request: id >> 2, count: (id & 3) as u32 }
    }
}

const _: () = assert!(ATTEMPTS_MAX <= 3, "the number of an attempt has two bits of the id");

/// A request that has ended.
#[derive(Debug)]
pub(super) struct Finished<W> {
    pub(super) waiters: Vec<W>,
    /// The upstream that answered; `None` if no upstream did, or its error led to no answer.
    pub(super) upstream: Option<usize>,
    pub(super) outcome: Result<Outcome, Ended>,
}

/// An attempt that has to be sent.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) id: AttemptId,
    /// The members of the request except for its id.
    members: Rc<str>,
    /// The timeout of the answer.
    pub(super) timeout: Duration,
    /// The trace of the first client that waits for it.
    pub(super) trace: Option<TraceParent>,
}

impl Attempt {
    /// The text of the request.
    pub(super) fn to_json(&self) -> String {
        with_id(self.id.to_wire(), &self.members)
    }
}

/// The effect of submitting a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Submitted {
    /// The request is queued.
    New,
    /// It shares the answer to an equal pending request.
    Joined,
}

#[derive(Debug)]
struct PendingRequest<W> {
    members: Rc<str>,
    is_read: bool,
    class: Class,
    waiters: Vec<W>,
    deadline: Time,
    trace: Option<TraceParent>,
    attempts: u32,
    /// The upstreams that may take it. A request about state at one upstream is pinned to it.
    choice: Choice,
    sent: Option<SentAttempt>,
}

#[derive(Debug, Clone, Copy)]
struct SentAttempt {
    upstream: usize,
    since: Time,
    until: Time,
}

/// The pending requests of one network. `W` stands for the receiver of an answer.
#[derive(Debug)]
pub(super) struct UpstreamRequests<W> {
    limits: RequestLimits,
    pool: UpstreamPool,
    pending: HashMap<u64, PendingRequest<W>>,
    /// Pending requests that equal ones may join (coalescing, deduplication), by their members.
    joinable: HashMap<Rc<str>, u64>,
    /// Requests that wait for an upstream.
    queue: VecDeque<u64>,
    /// The number of the last request.
    last: u64,
    /// An attempt has failed or an upstream is down: queued requests may have no upstream left.
    has_failed: bool,
    counts: Rc<GatewayCounts>,
}

impl<W> UpstreamRequests<W> {
    /// No requests, to the upstreams in `counts`, none of which is ready.
    pub(super) fn new(limits: RequestLimits, counts: Rc<GatewayCounts>) -> Self {
        UpstreamRequests {
            limits,
            pool: UpstreamPool::new(&counts.upstreams, limits.concurrency),
            counts,
            pending: HashMap::new(),
            joinable: HashMap::new(),
            queue: VecDeque::new(),
            last: 0,
            has_failed: false,
        }
    }

    /// The number of pending requests, queued ones included.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// The number of requests that wait for an upstream.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn set_readiness(&mut self, upstream: usize, readiness: Readiness) {
        self.has_failed |= readiness == Readiness::Down;
        self.pool.set_readiness(upstream, readiness);
    }

    /// Submits a request. It joins an equal pending one if its method allows that.
    ///
    /// # Errors
    /// The request is not accepted. Returns the waiter.
    pub(super) fn submit(
        &mut self,
        request: &OutgoingRequest,
        waiter: W,
        pinned: Option<usize>,
        now: Time,
    ) -> Result<Submitted, (Ended, W)> {
        let &OutgoingRequest { ref members, is_read, class, trace } = request;
        let is_joinable = pinned.is_none() && is_read;
        if is_joinable
            && let Some(number) = self.joinable.get(members.as_str())
            && let Some(pending) = self.pending.get_mut(number)
            && pending.waiters.len() < WAITERS_MAX
        {
            pending.waiters.push(waiter);
            add(&self.counts.joined, 1);
            return Ok(Submitted::Joined);
        }
        let choice = Choice { pinned, ..Choice::default() };
        if !self.pool.has_candidate(choice, now) {
            return Err((Ended::NoUpstream, waiter));
        }
        if self.queue.len() >= self.limits.queue_max {
            add(&self.counts.refused, 1);
            return Err((Ended::Busy, waiter));
        }
        self.last += 1;
        let members = Rc::<str>::from(members.as_str());
        if is_joinable {
            self.joinable.insert(Rc::clone(&members), self.last);
        }
        let pending = PendingRequest {
            members,
            is_read,
            class,
            waiters: vec![waiter],
            deadline: now + self.limits.timeout,
            trace,
            attempts: 0,
            choice,
            sent: None,
        };
        self.pending.insert(self.last, pending);
        self.queue.push_back(self.last);
        Ok(Submitted::New)
    }

    /// The next attempt to send, and its upstream.
    pub(super) fn next_attempt(&mut self, now: Time) -> Option<(usize, Attempt)> {
        // Only a request that failed somewhere or is pinned can have to wait while a later one can
        // be sent.
        for at in 0..self.queue.len() {
            let number = self.queue[at];
            let Some(pending) = self.pending.get(&number) else {
                continue;
            };
            let Choice { failed, pinned } = pending.choice;
            let Some(upstream) = self.pool.choose(pending.choice, now) else {
                if failed.is_empty() && pinned.is_none() {
                    return None;
                }
                continue;
            };
            self.queue.remove(at);
            return self.start_attempt(number, upstream, now);
        }
        None
    }

    fn start_attempt(
        &mut self,
        number: u64,
        upstream: usize,
        now: Time,
    ) -> Option<(usize, Attempt)> {
        let pending = self.pending.get_mut(&number)?;
        let others = Choice { failed: pending.choice.failed.with(upstream), pinned: None };
        let has_other = self.pool.has_candidate(others, now);
        let left = pending.deadline.since(now);
        let may_retry = has_other && pending.choice.pinned.is_none() && pending.is_read;
        // The second half of the time is kept for another upstream, if one can be asked.
        let timeout = if may_retry { left / 2 } else { left };
        pending.attempts += 1;
        pending.sent = Some(SentAttempt { upstream, since: now, until: now + timeout });
        let id = AttemptId { request: number, count: pending.attempts };
        self.pool.start(upstream, now);
        let (members, trace) = (Rc::clone(&pending.members), pending.trace);
        Some((upstream, Attempt { id, members, timeout, trace }))
    }

    /// Takes the outcome of an attempt. The outcome of an earlier attempt is ignored.
    pub(super) fn finish(
        &mut self,
        id: AttemptId,
        outcome: Result<Outcome, Failure>,
        now: Time,
    ) -> Option<Finished<W>> {
        let pending = self.pending.get_mut(&id.request);
        let pending = pending.filter(|pending| pending.attempts == id.count)?;
        let sent = pending.sent.take()?;
        let failure = match &outcome {
            Ok(answer) => Failure::of_answer(answer),
            Err(failure) => Some(*failure),
        };
        let ending = match failure {
            None => Ending::Answered,
            Some(failure) if failure.is_upstreams_fault() => Ending::Failed,
            Some(_) => Ending::ClientFault,
        };
        self.pool.end(sent.upstream, ending, sent.since, now);
        if failure == Some(Failure::Malformed) {
            add(&self.counts.upstreams[sent.upstream].malformed, 1);
        }
        let Some(failure) = failure else {
            self.counts.latency[pending.class as usize].count(now.since(sent.since));
            return self.end(id.request, Some(sent.upstream), outcome.map_err(Ended::Failed));
        };
        self.has_failed = true;
        pending.choice.failed = pending.choice.failed.with(sent.upstream);
        self.retry(id.request, failure, outcome.ok(), now)
    }

    /// Queues a request for another attempt, if that may help. Otherwise it ends: with the `answer`
    /// of the upstream, which is an error, or with one of ours.
    fn retry(
        &mut self,
        number: u64,
        failure: Failure,
        answer: Option<Outcome>,
        now: Time,
    ) -> Option<Finished<W>> {
        let pending = self.pending.get(&number)?;
        let choice = pending.choice;
        let may_retry = pending.attempts < ATTEMPTS_MAX
            && now < pending.deadline
            && failure.may_retry(pending.is_read);
        let has_other = self.pool.has_candidate(choice, now);
        // The upstream may just have closed an idle connection: it can be asked again.
        let all = Choice { failed: UpstreamSet::default(), ..choice };
        let has_same = failure == Failure::Broken && self.pool.has_candidate(all, now);
        if may_retry && (has_other || has_same) {
            if let Some(pending) = self.pending.get_mut(&number).filter(|_| !has_other) {
                pending.choice = all;
            }
            // Before later requests. The limit of the queue was checked when it was submitted.
            self.queue.push_front(number);
            return None;
        }
        self.end(number, None, answer.ok_or(Ended::Failed(failure)))
    }

    fn end(
        &mut self,
        number: u64,
        upstream: Option<usize>,
        outcome: Result<Outcome, Ended>,
    ) -> Option<Finished<W>> {
        let pending = self.pending.remove(&number)?;
        if !pending.is_read {
            self.stop_joining();
        }
        if self.joinable.get(&pending.members) == Some(&number) {
            self.joinable.remove(&pending.members);
        }
        Some(Finished { waiters: pending.waiters, upstream, outcome })
    }

    /// Makes no later request join one that is pending now. What that one reads may be older than
    /// what clients learn now: a new head, or the answer to a transaction.
    pub(super) fn stop_joining(&mut self) {
        self.joinable.clear();
    }

    /// Retries or ends requests whose attempt or deadline has timed out.
    pub(super) fn expire(&mut self, now: Time) -> Vec<Finished<W>> {
        let is_due = |pending: &PendingRequest<W>| {
            now >= pending.deadline || pending.sent.is_some_and(|sent| now >= sent.until)
        };
        let due = self.pending.iter().filter(|(_, pending)| is_due(pending));
        let due: Vec<u64> = due.map(|(number, _)| *number).collect();
        due.into_iter().filter_map(|number| self.time_out(number, now)).collect()
    }

    fn time_out(&mut self, number: u64, now: Time) -> Option<Finished<W>> {
        let pending = self.pending.get_mut(&number)?;
        if let Some(sent) = pending.sent.take() {
            pending.choice.failed = pending.choice.failed.with(sent.upstream);
            self.has_failed = true;
            self.pool.end(sent.upstream, Ending::Failed, sent.since, now);
        } else {
            self.queue.retain(|queued| *queued != number);
        }
        self.retry(number, Failure::TimedOut, None, now)
    }

    /// Fails all attempts at an upstream whose connection is lost.
    pub(super) fn fail_all(&mut self, upstream: usize, now: Time) -> Vec<Finished<W>> {
        let is_lost = |pending: &PendingRequest<W>| {
            pending.sent.is_some_and(|sent| sent.upstream == upstream)
        };
        let lost = self.pending.iter().filter(|(_, pending)| is_lost(pending));
        let lost: Vec<AttemptId> = lost
            .map(|(&request, pending)| AttemptId { request, count: pending.attempts })
            .collect();
        lost.into_iter().filter_map(|id| self.finish(id, Err(Failure::Broken), now)).collect()
    }

    /// Fails queued requests that no upstream can take any longer.
    pub(super) fn fail_unroutable(&mut self, now: Time) -> Vec<Finished<W>> {
        let mut ended = Vec::new();
        if !std::mem::take(&mut self.has_failed) {
            return ended;
        }
        for number in std::mem::take(&mut self.queue) {
            let Some(pending) = self.pending.get(&number) else {
                continue;
            };
            if self.pool.has_candidate(pending.choice, now) {
                self.queue.push_back(number);
            } else {
                let was_sent = pending.attempts > 0;
                let why = if was_sent { Ended::Failed(Failure::Broken) } else { Ended::NoUpstream };
                ended.extend(self.end(number, None, Err(why)));
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests;
