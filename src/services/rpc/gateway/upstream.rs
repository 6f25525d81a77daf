//! One upstream, as far as it decides whether it is asked: readiness, breaker, how much it works on.

use std::rc::Rc;

use super::counts::{UpstreamCounts, add};
use super::failure::Failure;
use crate::reactor::Time;
use crate::upstream::breaker::Breaker;

/// Whether an upstream can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    /// It is being connected to for the first time.
    Soon,
    Down,
}

/// What is known of one upstream.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) readiness: Readiness,
    pub(super) breaker: Breaker,
    /// Requests that it works on now.
    pub(super) in_flight: usize,
    pub(super) counts: Rc<UpstreamCounts>,
}

impl Upstream {
    /// Changes the number of requests that it works on.
    pub(super) fn set_in_flight(&mut self, in_flight: usize) {
        self.in_flight = in_flight;
        self.counts.in_flight_now.set(in_flight as u64);
    }

    /// Counts the end of a try that began at `since`, and why it failed if it did.
    pub(super) fn end(&mut self, failure: Option<Failure>, since: Time, now: Time) {
        self.set_in_flight(self.in_flight - 1);
        match failure {
            None => {
                self.counts.latency.count(now.since(since));
                self.breaker.record(true, since, now);
            }
            Some(failure) => {
                add(&self.counts.failed);
                if failure == Failure::Malformed {
                    add(&self.counts.malformed);
                }
                if failure.is_upstreams_fault() {
                    self.breaker.record(false, since, now);
                } else {
                    self.breaker.excuse(since);
                }
            }
        }
        self.counts.show(self.breaker.state());
        self.counts.opened.set(self.breaker.opened());
    }
}
