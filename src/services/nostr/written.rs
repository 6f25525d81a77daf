//! What the [writer](super::writer) gets from the threads that verify and from administrators, and what
//! it sends to the loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::{Event, EventId, KIND_VANISH};
use super::manage::{Answer, Change};
use super::policy::Policy;
use super::refusal::Refusal;
use super::store::{Outcome, Table, Totals};
use super::ticket::Ticket;
use super::verify::Lists as _;

/// An event that may be stored.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) ticket: Ticket,
    pub(super) event: Event,
    /// The lists that did not refuse it. They may have changed since.
    pub(super) lists: Arc<Policy>,
}

impl Accepted {
    /// Why the present lists refuse the event. A request to vanish is exempt (NIP-62).
    pub(super) fn refusal(&self, lists: &Arc<Policy>) -> Option<Refusal> {
        if Arc::ptr_eq(&self.lists, lists) || self.event.kind() == KIND_VANISH {
            return None;
        }
        lists.refusal(&self.event)
    }
}

/// What the thread is to do.
#[derive(Debug)]
pub(super) enum WriterJob {
    /// Events that may be stored.
    Events(Vec<Accepted>),
    /// A change of the administrators' lists.
    Change(Box<Change>),
}

/// What the writer did with an event.
#[derive(Debug)]
pub(super) enum Fate {
    Committed(Outcome),
    /// The lists have changed since it was verified.
    Refused(Refusal),
    /// The store failed.
    Failed,
}

/// An event that the writer has got.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) ticket: Ticket,
    pub(super) id: EventId,
    pub(super) fate: Fate,
}

/// Mail to the loop.
#[derive(Debug)]
pub(super) enum WriterMail {
    /// A batch, in its order; its commit ended at this time, and took this long.
    Batch { written: Vec<Written>, committed: Instant, took: Duration, totals: Totals },
    /// What is stored after events were removed.
    Totals(Totals),
    /// Events of a failed batch that are stored nevertheless, with their serials.
    Found(Vec<(u64, Arc<Event>)>),
    /// A change of the lists, with the answer to its call.
    Changed(Box<Change>, Answer),
    /// Whether the store can be written; the text says why not.
    State(Result<(), String>),
    /// Bytes on disk by table.
    TableBytes([u64; Table::ALL.len()]),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::{ConnId, Time};
    use crate::services::nostr::managed::ManagedLists;
    use crate::services::nostr::policy::ListSettings;
    use crate::services::nostr::testing::{event, key};

    #[test]
    fn an_event_that_was_verified_before_a_ban_is_refused_after_it() {
        let lists = |deny_authors| {
            let settings = ListSettings { deny_authors, ..ListSettings::default() };
            Arc::new(Policy::new(settings, ManagedLists::default()))
        };
        let (before, after) = (lists(Vec::new()), lists(vec![key(1)]));
        let accepted = |author, kind| Accepted {
            ticket: Ticket {
                conn: ConnId::numbered(1),
                bytes: 1,
                verified: Duration::ZERO,
                at: Time::ZERO,
            },
            event: event(1, author, kind, 1, "[]"),
            lists: Arc::clone(&before),
        };
        let refusal = |author, kind| accepted(author, kind).refusal(&after);
        assert_eq!(refusal(1, 1).unwrap().to_string(), "blocked: the author is banned");
        assert_eq!((refusal(2, 1), refusal(1, KIND_VANISH)), (None, None));
        assert_eq!(accepted(1, 1).refusal(&before), None);
    }
}
