//! When subjects were signed out, for requests that their gates decide on meanwhile: a verdict may be
//! older than the sign-out.
//!
//! Bounded: if a subject is dropped for another one, each request as old as its sign-out counts as one
//! of a subject that was signed out.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::reactor::api::budget::SIGN_OUTS_MAX;
use crate::reactor::api::id::GateId;
use crate::reactor::api::time::Time;

/// The last [`SIGN_OUTS_MAX`] subjects that were signed out, each with the time of its last sign-out.
#[derive(Debug, Default)]
pub(crate) struct SignOuts {
    at: HashMap<(GateId, Arc<str>), Time>,
    /// Invariant: the keys of `at`, each once.
    order: VecDeque<(GateId, Arc<str>)>,
    /// The last sign-out of a subject that was dropped.
    dropped: Option<Time>,
}

impl SignOuts {
    pub(crate) fn add(&mut self, gate: GateId, subject: Arc<str>, now: Time) {
        let key = (gate, subject);
        if self.at.insert(key.clone(), now).is_some() {
            return;
        }
        if self.order.len() == SIGN_OUTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.dropped = self.dropped.max(self.at.remove(&oldest));
        }
        self.order.push_back(key);
        debug_assert_eq!(self.at.len(), self.order.len());
    }

    /// Whether the subject may have been signed out at this time or later.
    pub(crate) fn is_since(&self, time: Time, gate: GateId, subject: &Arc<str>) -> bool {
        if self.at.is_empty() {
            return false;
        }
        let at = self.at.get(&(gate, Arc::clone(subject))).copied();
        at.max(self.dropped).is_some_and(|at| at >= time)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::reactor::api::id::ServiceId;

    fn gate(number: u16) -> GateId {
        GateId(ServiceId(number))
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn requests_from_before_the_sign_out_of_their_subject_are_found() {
        let mut sign_outs = SignOuts::default();
        let ann: Arc<str> = "ann".into();
        assert!(!sign_outs.is_since(at(0), gate(0), &ann));
        sign_outs.add(gate(0), Arc::clone(&ann), at(5));
        assert!(sign_outs.is_since(at(4), gate(0), &ann));
        assert!(sign_outs.is_since(at(5), gate(0), &ann), "in the same turn");
        assert!(!sign_outs.is_since(at(6), gate(0), &ann));
        assert!(!sign_outs.is_since(at(4), gate(1), &ann), "another gate");
        assert!(!sign_outs.is_since(at(4), gate(0), &"bob".into()), "another subject");
        sign_outs.add(gate(0), Arc::clone(&ann), at(8));
        assert!(sign_outs.is_since(at(7), gate(0), &ann), "signed out again");
    }

    #[test]
    fn requests_as_old_as_a_sign_out_that_was_dropped_are_found_too() {
        let mut sign_outs = SignOuts::default();
        for number in 0..SIGN_OUTS_MAX as u64 {
            sign_outs.add(gate(0), number.to_string().into(), at(number));
        }
        let other: Arc<str> = "other".into();
        assert!(!sign_outs.is_since(at(0), gate(0), &other));
        sign_outs.add(gate(0), "one more".into(), at(9000));
        assert_eq!((sign_outs.at.len(), sign_outs.order.len()), (SIGN_OUTS_MAX, SIGN_OUTS_MAX));
        assert!(sign_outs.is_since(at(0), gate(0), &other), "it may be the one that was dropped");
        assert!(!sign_outs.is_since(at(1), gate(0), &other));
        assert!(sign_outs.is_since(at(9000), gate(0), &"one more".into()));
    }
}
