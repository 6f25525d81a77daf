//! Names and HELP texts of the metrics of a gate.

use std::rc::Rc;

use weir::reactor::Context;
use weir::services::admin::{Samples, Source};
use weir::services::auth::{AuthCounts, AuthOutcome};

/// Metrics of one gate.
#[derive(Debug)]
pub(crate) struct AuthSource(Rc<AuthCounts>);

impl AuthSource {
    pub(crate) fn new(counts: Rc<AuthCounts>) -> AuthSource {
        AuthSource(counts)
    }
}

impl Source for AuthSource {
    fn collect(&self, samples: &mut Samples, _: &Context<'_>) {
        let counts = &*self.0;
        let gate = ("gate", counts.gate.as_str());
        for outcome in AuthOutcome::ALL {
            let labels = [gate, ("outcome", outcome.name())];
            let help = "Requests and tokens at a gate, by what became of them";
            samples.counter("auth", help, &labels, counts.outcome(outcome));
        }
        let help = "Time that a gate took for a verdict";
        samples.durations("auth_seconds", help, &[gate], &counts.took);
        for (hit, count) in [("true", &counts.cache_hits), ("false", &counts.cache_misses)] {
            let labels = [gate, ("hit", hit)];
            let help = "Looks for a verdict in the cache of a gate";
            samples.counter("auth_cache", help, &labels, count.get());
        }
        for (outcome, count) in [("success", &counts.keys_loaded), ("failure", &counts.keys_failed)]
        {
            let labels = [gate, ("outcome", outcome)];
            samples.counter("auth_keys", "Loads of keys, by outcome", &labels, count.get());
        }
    }
}
