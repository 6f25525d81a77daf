//! The requests of one network under way: who waits for which, which upstream was asked, and what
//! happens when it fails.
//!
//! Decides and counts; does no I/O and knows no connection. What is to be sent is taken with
//! [`Calls::next`], what came back is handed to [`Calls::finish`]. The number of calls is bounded by
//! what the upstreams may work on and by the queue in front of them; a call ends by its deadline at
//! the latest.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use super::counts::GatewayCounts;
use super::failure::{Ended, Failure};
use super::question::Question;
use super::settings::CallLimits;
use crate::reactor::Time;
use crate::services::rpc::wire::answer::Outcome;
use crate::services::rpc::wire::method::Class;
use crate::services::rpc::wire::upstream_request::with_id;
use crate::upstream::counts::add;
use crate::upstream::pool::{Choice, Ending, Pool, Readiness, UpstreamSet};

/// How often a call is sent, at the most.
pub(super) const TRIES_MAX: u32 = 3;
/// How many may wait for one call that they share.
pub(super) const SHARERS_MAX: usize = 16 * 1024;

/// One try of one call: what comes back is known by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TryId {
    call: u64,
    count: u32,
}

impl TryId {
    /// As the id of a request to an upstream: 4 or more.
    pub(super) fn to_wire(self) -> u64 {
        self.call << 2 | u64::from(self.count)
    }

    /// From the id of an upstream's answer.
    pub(super) fn from_wire(id: u64) -> TryId {
        TryId { call: id >> 2, count: (id & 3) as u32 }
    }
}

const _: () = assert!(TRIES_MAX <= 3, "the count of tries has two bits of the id");

/// A call that is over, and who has waited for it.
#[derive(Debug)]
pub(super) struct Finished<W> {
    pub(super) waiters: Vec<W>,
    /// The upstream whose answer this is, unless that only says why there is none.
    pub(super) upstream: Option<usize>,
    pub(super) outcome: Result<Outcome, Ended>,
}

/// A request to be sent.
#[derive(Debug)]
pub(super) struct Send {
    pub(super) id: TryId,
    /// Its members behind the id.
    members: Rc<str>,
    /// How long the answer may take.
    pub(super) timeout: Duration,
}

impl Send {
    /// The request's text.
    pub(super) fn to_json(&self) -> String {
        with_id(self.id.to_wire(), &self.members)
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// It waits to be sent.
    Anew,
    /// It shares the answer to another one under way.
    Together,
}

#[derive(Debug)]
struct Call<W> {
    members: Rc<str>,
    reads: bool,
    class: Class,
    waiters: Vec<W>,
    deadline: Time,
    tries: u32,
    choice: Choice,
    sent: Option<Sent>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    upstream: usize,
    since: Time,
    until: Time,
}

/// The calls of one network. `W` is who waits for an answer.
#[derive(Debug)]
pub(super) struct Calls<W> {
    limits: CallLimits,
    pool: Pool,
    calls: HashMap<u64, Call<W>>,
    /// Calls that others may join.
    shared: HashMap<Rc<str>, u64>,
    queue: VecDeque<u64>,
    last: u64,
    /// An upstream has failed: what waits may have nothing left to wait for.
    has_failed: bool,
    counts: Rc<GatewayCounts>,
}

impl<W> Calls<W> {
    /// For the upstreams in `counts`, none of them ready.
    pub(super) fn new(limits: CallLimits, counts: Rc<GatewayCounts>) -> Self {
        Calls {
            limits,
            pool: Pool::new(&counts.upstreams, limits.concurrency),
            counts,
            calls: HashMap::new(),
            shared: HashMap::new(),
            queue: VecDeque::new(),
            last: 0,
            has_failed: false,
        }
    }

    /// Calls under way, those included that wait for an upstream.
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Calls that wait for an upstream.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Whether an upstream can be asked from here on.
    pub(super) fn set_readiness(&mut self, upstream: usize, readiness: Readiness) {
        self.has_failed |= readiness == Readiness::Down;
        self.pool.set_readiness(upstream, readiness);
    }

    /// Takes a request. It joins the same one under way if its method allows that.
    ///
    /// # Errors
    /// It was not taken; `waiter` comes back.
    pub(super) fn ask(
        &mut self,
        question: &Question,
        waiter: W,
        pinned: Option<usize>,
        now: Time,
    ) -> Result<Asked, (Ended, W)> {
        let &Question { ref members, reads, class } = question;
        let shares = pinned.is_none() && reads;
        if shares
            && let Some(call) = self.shared.get(members.as_str())
            && let Some(call) = self.calls.get_mut(call)
            && call.waiters.len() < SHARERS_MAX
        {
            call.waiters.push(waiter);
            add(&self.counts.joined, 1);
            return Ok(Asked::Together);
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
        if shares {
            self.shared.insert(Rc::clone(&members), self.last);
        }
        let deadline = now + self.limits.timeout;
        let waiters = vec![waiter];
        let (tries, sent) = (0, None);
        let call = Call { members, reads, class, waiters, deadline, tries, choice, sent };
        self.calls.insert(self.last, call);
        self.queue.push_back(self.last);
        Ok(Asked::Anew)
    }

    /// The next request to be sent, and to which upstream.
    pub(super) fn next(&mut self, now: Time) -> Option<(usize, Send)> {
        // Only calls that failed somewhere, or are pinned, can be unable to go where others can.
        for at in 0..self.queue.len() {
            let id = self.queue[at];
            let Some(call) = self.calls.get(&id) else {
                continue;
            };
            let Some(upstream) = self.pool.choose(call.choice, now) else {
                if call.choice.failed.is_empty() && call.choice.pinned.is_none() {
                    return None;
                }
                continue;
            };
            self.queue.remove(at);
            return self.send(id, upstream, now);
        }
        None
    }

    fn send(&mut self, id: u64, upstream: usize, now: Time) -> Option<(usize, Send)> {
        let call = self.calls.get_mut(&id)?;
        let others = Choice { failed: call.choice.failed.with(upstream), pinned: None };
        let has_other = self.pool.has_candidate(others, now);
        let left = call.deadline.since(now);
        let may_retry = has_other && call.choice.pinned.is_none() && call.reads;
        // While another could still be asked in time, this one has only half of it.
        let timeout = if may_retry { left / 2 } else { left };
        call.tries += 1;
        call.sent = Some(Sent { upstream, since: now, until: now + timeout });
        let id = TryId { call: id, count: call.tries };
        self.pool.start(upstream, now);
        Some((upstream, Send { id, members: Rc::clone(&call.members), timeout }))
    }

    /// What became of a try. One that is over already changes nothing.
    pub(super) fn finish(
        &mut self,
        id: TryId,
        outcome: Result<Outcome, Failure>,
        now: Time,
    ) -> Option<Finished<W>> {
        let call = self.calls.get_mut(&id.call).filter(|call| call.tries == id.count)?;
        let sent = call.sent.take()?;
        let failure = match &outcome {
            Ok(answer) => Failure::of_answer(answer),
            Err(failure) => Some(*failure),
        };
        let ending = match failure {
            None => Ending::Answered,
            Some(failure) if failure.is_upstreams_fault() => Ending::Failed,
            Some(_) => Ending::Excused,
        };
        self.pool.end(sent.upstream, ending, sent.since, now);
        if failure == Some(Failure::Malformed) {
            add(&self.counts.upstreams[sent.upstream].malformed, 1);
        }
        let Some(failure) = failure else {
            self.counts.latency[call.class as usize].count(now.since(sent.since));
            return self.end(id.call, Some(sent.upstream), outcome.map_err(Ended::Failed));
        };
        self.has_failed = true;
        call.choice.failed = call.choice.failed.with(sent.upstream);
        self.retry(id.call, failure, outcome.ok(), now)
    }

    /// Has a call sent to another upstream, if that may help. Otherwise the call ends with the error
    /// that the last upstream has `sent`, or with one of ours.
    fn retry(
        &mut self,
        id: u64,
        failure: Failure,
        sent: Option<Outcome>,
        now: Time,
    ) -> Option<Finished<W>> {
        let call = self.calls.get(&id)?;
        let choice = call.choice;
        let may_go_on =
            call.tries < TRIES_MAX && now < call.deadline && failure.may_go_on(call.reads);
        let has_other = self.pool.has_candidate(choice, now);
        // A kept connection that the upstream has just closed is no reason to give up on it.
        let all = Choice { failed: UpstreamSet::default(), ..choice };
        let has_same = failure == Failure::Broken && self.pool.has_candidate(all, now);
        if may_go_on && (has_other || has_same) {
            if let Some(call) = self.calls.get_mut(&id).filter(|_| !has_other) {
                call.choice = all;
            }
            // Ahead of those that came later. It was counted when it came, so the limit holds for it.
            self.queue.push_front(id);
            return None;
        }
        self.end(id, None, sent.ok_or(Ended::Failed(failure)))
    }

    fn end(
        &mut self,
        id: u64,
        upstream: Option<usize>,
        outcome: Result<Outcome, Ended>,
    ) -> Option<Finished<W>> {
        let call = self.calls.remove(&id)?;
        if !call.reads {
            self.part();
        }
        if self.shared.get(&call.members) == Some(&id) {
            self.shared.remove(&call.members);
        }
        Some(Finished { waiters: call.waiters, upstream, outcome })
    }

    /// From here on nobody joins a call that is under way already: what it reads may be from before what
    /// is told now, a new head or the answer to a transaction.
    pub(super) fn part(&mut self) {
        self.shared.clear();
    }

    /// Ends or retries what has waited too long.
    pub(super) fn expire(&mut self, now: Time) -> Vec<Finished<W>> {
        let is_due = |call: &Call<W>| {
            now >= call.deadline || call.sent.is_some_and(|sent| now >= sent.until)
        };
        let due: Vec<u64> =
            self.calls.iter().filter(|(_, call)| is_due(call)).map(|(id, _)| *id).collect();
        due.into_iter().filter_map(|id| self.time_out(id, now)).collect()
    }

    fn time_out(&mut self, id: u64, now: Time) -> Option<Finished<W>> {
        let call = self.calls.get_mut(&id)?;
        if let Some(sent) = call.sent.take() {
            call.choice.failed = call.choice.failed.with(sent.upstream);
            self.has_failed = true;
            self.pool.end(sent.upstream, Ending::Failed, sent.since, now);
        } else {
            self.queue.retain(|queued| *queued != id);
        }
        self.retry(id, Failure::TimedOut, None, now)
    }

    /// Fails all that an upstream works on: its connection is lost.
    pub(super) fn fail_all(&mut self, upstream: usize, now: Time) -> Vec<Finished<W>> {
        let ours = |call: &Call<W>| call.sent.is_some_and(|sent| sent.upstream == upstream);
        let lost = self.calls.iter().filter(|(_, call)| ours(call));
        let lost: Vec<TryId> =
            lost.map(|(id, call)| TryId { call: *id, count: call.tries }).collect();
        let failed = |id| self.finish(id, Err(Failure::Broken), now);
        lost.into_iter().filter_map(failed).collect()
    }

    /// Fails all that waits for an upstream though none can be asked any more.
    pub(super) fn give_up(&mut self, now: Time) -> Vec<Finished<W>> {
        let mut ended = Vec::new();
        if !std::mem::take(&mut self.has_failed) {
            return ended;
        }
        for id in std::mem::take(&mut self.queue) {
            let Some(call) = self.calls.get(&id) else {
                continue;
            };
            if self.pool.has_candidate(call.choice, now) {
                self.queue.push_back(id);
            } else {
                let is_new = call.tries == 0;
                let why = if is_new { Ended::NoUpstream } else { Ended::Failed(Failure::Broken) };
                ended.extend(self.end(id, None, Err(why)));
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests;
