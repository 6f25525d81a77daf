//! The upstreams of one service: which of them can take a request.
//!
//! They are tried in their order: the first that is ready, that its circuit breaker admits and that
//! has room. The pool sends nothing and decides on no retry.

use std::rc::Rc;

use super::breaker::{Breaker, State};
use super::upstream_counts::{UpstreamCounts, add};
use crate::reactor::Time;

/// Whether requests can be sent to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    /// Its first connection is being made.
    Connecting,
    Down,
}

/// The end of a request to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Answered,
    /// The upstream is to blame: the circuit breaker counts it.
    Failed,
    /// A client can cause this failure: the circuit breaker does not count it.
    ClientFault,
}

/// A set of upstreams of a pool, by their indices below 64.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct UpstreamSet(u64);

impl UpstreamSet {
    pub(crate) fn with(self, upstream: usize) -> UpstreamSet {
        UpstreamSet(self.0 | 1 << upstream)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn contains(self, upstream: usize) -> bool {
        self.0 & 1 << upstream != 0
    }
}

/// The upstreams that may take a request.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Choice {
    /// Upstreams that have failed it already.
    pub(crate) failed: UpstreamSet,
    /// The only one that may take it, if there is one.
    pub(crate) pinned: Option<usize>,
}

/// The upstreams of one service.
#[derive(Debug)]
pub(crate) struct UpstreamPool {
    upstreams: Vec<Upstream>,
    /// Requests that each upstream works on at a time.
    concurrency: usize,
}

#[derive(Debug)]
struct Upstream {
    readiness: Readiness,
    breaker: Breaker,
    /// Requests that wait for their answer.
    in_flight: usize,
    counts: Rc<UpstreamCounts>,
}

impl UpstreamPool {
    /// One upstream for each of the `counts`, at most 64. None of them is ready.
    pub(crate) fn new(counts: &[Rc<UpstreamCounts>], concurrency: usize) -> UpstreamPool {
        debug_assert!(counts.len() <= u64::BITS as usize);
        let upstream = |counts: &Rc<UpstreamCounts>| Upstream {
            readiness: Readiness::Connecting,
            breaker: Breaker::default(),
            in_flight: 0,
            counts: Rc::clone(counts),
        };
        UpstreamPool { upstreams: counts.iter().map(upstream).collect(), concurrency }
    }

    pub(crate) fn set_readiness(&mut self, upstream: usize, readiness: Readiness) {
        let upstream = &mut self.upstreams[upstream];
        upstream.readiness = readiness;
        upstream.counts.ready.set(u64::from(readiness == Readiness::Ready));
    }

    /// The first upstream that can take a request now.
    pub(crate) fn choose(&self, choice: Choice, now: Time) -> Option<usize> {
        let has_room = |upstream: &Upstream| {
            upstream.readiness == Readiness::Ready && upstream.in_flight < self.concurrency
        };
        let mut candidates = self.candidates(choice, now);
        candidates.find(|(_, upstream)| has_room(upstream)).map(|(index, _)| index)
    }

    /// Whether any upstream can take a request, now or soon.
    pub(crate) fn has_candidate(&self, choice: Choice, now: Time) -> bool {
        self.candidates(choice, now).next().is_some()
    }

    fn candidates(&self, choice: Choice, now: Time) -> impl Iterator<Item = (usize, &Upstream)> {
        let Choice { failed, pinned } = choice;
        self.upstreams.iter().enumerate().filter(move |(index, upstream)| {
            !failed.contains(*index)
                && pinned.is_none_or(|pinned| pinned == *index)
                && upstream.readiness != Readiness::Down
                && upstream.breaker.is_admitting(now)
        })
    }

    /// A request is sent to an upstream that [`UpstreamPool::choose`] has returned.
    pub(crate) fn start(&mut self, upstream: usize, now: Time) {
        let upstream = &mut self.upstreams[upstream];
        upstream.breaker.admit(now);
        upstream.set_in_flight(upstream.in_flight + 1);
        add(&upstream.counts.sent, 1);
        upstream.show_breaker();
    }

    /// A request that was sent at `since` has ended.
    pub(crate) fn end(&mut self, upstream: usize, ending: Ending, since: Time, now: Time) {
        let upstream = &mut self.upstreams[upstream];
        upstream.set_in_flight(upstream.in_flight - 1);
        match ending {
            Ending::Answered => {
                upstream.counts.latency.count(now.since(since));
                upstream.breaker.record(true, since, now);
            }
            Ending::Failed => {
                add(&upstream.counts.failed, 1);
                upstream.breaker.record(false, since, now);
            }
            Ending::ClientFault => {
                add(&upstream.counts.failed, 1);
                upstream.breaker.record_client_fault(since);
            }
        }
        upstream.show_breaker();
    }
}

impl Upstream {
    fn set_in_flight(&mut self, in_flight: usize) {
        self.in_flight = in_flight;
        self.counts.in_flight_now.set(in_flight as u64);
    }

    fn show_breaker(&self) {
        let state = match self.breaker.state() {
            State::Closed => 0,
            State::HalfOpen { .. } => 1,
            State::Open { .. } => 2,
        };
        self.counts.breaker.set(state);
        self.counts.opened.set(self.breaker.opened());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(upstreams: usize, concurrency: usize) -> UpstreamPool {
        let counts: Vec<_> = (0..upstreams).map(|_| Rc::default()).collect();
        let mut pool = UpstreamPool::new(&counts, concurrency);
        (0..upstreams).for_each(|upstream| pool.set_readiness(upstream, Readiness::Ready));
        pool
    }

    fn choose(pool: &UpstreamPool, choice: Choice) -> Option<usize> {
        pool.choose(choice, Time::ZERO)
    }

    #[test]
    fn the_first_upstream_with_room_is_chosen() {
        let mut pool = pool(2, 1);
        let any = Choice::default();
        assert_eq!(choose(&pool, any), Some(0));
        pool.start(0, Time::ZERO);
        assert_eq!(choose(&pool, any), Some(1));
        pool.start(1, Time::ZERO);
        assert_eq!(choose(&pool, any), None);
        assert!(pool.has_candidate(any, Time::ZERO), "both may have room soon");
        pool.end(0, Ending::ClientFault, Time::ZERO, Time::ZERO);
        assert_eq!(choose(&pool, any), Some(0));
        let counts = &pool.upstreams[0].counts;
        assert_eq!((counts.sent.get(), counts.failed.get(), counts.in_flight_now.get()), (1, 1, 0));
    }

    #[test]
    fn failed_and_unpinned_upstreams_are_passed_over() {
        let pool = pool(3, 1);
        let failed = UpstreamSet::default().with(0);
        assert_eq!(choose(&pool, Choice { failed, pinned: None }), Some(1));
        assert_eq!(choose(&pool, Choice { failed, pinned: Some(2) }), Some(2));
        let pinned = Choice { failed, pinned: Some(0) };
        assert!(!pool.has_candidate(pinned, Time::ZERO));
    }

    #[test]
    fn an_upstream_that_connects_is_a_candidate_and_one_that_is_down_is_not() {
        let mut pool = pool(1, 1);
        let any = Choice::default();
        pool.set_readiness(0, Readiness::Connecting);
        assert!(choose(&pool, any).is_none() && pool.has_candidate(any, Time::ZERO));
        pool.set_readiness(0, Readiness::Down);
        assert!(!pool.has_candidate(any, Time::ZERO));
    }

    #[test]
    fn an_upstream_whose_breaker_is_open_is_passed_over() {
        let mut pool = pool(2, 16);
        for _ in 0..16 {
            pool.start(0, Time::ZERO);
        }
        for _ in 0..16 {
            pool.end(0, Ending::Failed, Time::ZERO, Time::ZERO);
        }
        assert_eq!(choose(&pool, Choice::default()), Some(1));
        let counts = &pool.upstreams[0].counts;
        assert_eq!((counts.breaker.get(), counts.opened.get()), (2, 1));
    }
}
