//! The work of a session on a thread: collects its list, and computes replies.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use negentropy::Negentropy;

use super::error::SessionError;
use super::items::{Charge, Items};
use crate::services::nostr::message::SubscriptionId;
use crate::services::nostr::reply::write_neg_msg;
use crate::services::nostr::store::{Budget, Collect, Collected, Store};

/// Bytes of a reply; twice as many in hex. With its frame it fits into 128 KiB, the largest message that
/// strfry accepts by default.
pub(crate) const REPLY_BYTES_MAX: usize = 60_000;

/// Identifies a session. Numbers are not reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionId(pub(super) u64);

/// Work of a session, for a thread.
pub(crate) struct NegentropyJob {
    pub(super) session: SessionId,
    /// For the reply.
    pub(super) sub: SubscriptionId,
    /// Without a session, the job is dropped.
    pub(super) lease: Weak<()>,
    pub(super) message: Vec<u8>,
    pub(super) list: List,
}

pub(super) enum List {
    Wanted(Box<Collect>, Charge),
    Ready(Arc<Items>),
}

/// The outcome of a job.
#[derive(Debug)]
pub(crate) struct NegentropyDone {
    pub(super) session: SessionId,
    pub(super) outcome: Result<Answer, SessionError>,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) items: Arc<Items>,
    /// The whole message, `["NEG-MSG",sub,hex]`.
    pub(super) text: Vec<u8>,
}

impl NegentropyJob {
    /// Lives as long as the session waits for the job.
    pub(crate) fn lease(&self) -> Weak<()> {
        Weak::clone(&self.lease)
    }

    /// Runs one slice; `None` if the job goes on. `now` is the Unix time in seconds.
    pub(crate) fn run(
        &mut self,
        store: &Store,
        budget: Budget,
        now: u64,
    ) -> Option<NegentropyDone> {
        // Unwind-safe: a job that panicked has ended.
        let slice = catch_unwind(AssertUnwindSafe(|| self.slice(store, budget, now)));
        let outcome = slice.unwrap_or(Err(SessionError::Internal)).transpose()?;
        Some(NegentropyDone { session: self.session, outcome })
    }

    fn slice(
        &mut self,
        store: &Store,
        budget: Budget,
        now: u64,
    ) -> Result<Option<Answer>, SessionError> {
        let items = match &mut self.list {
            List::Ready(items) => Arc::clone(items),
            List::Wanted(collect, charge) => {
                let collected = collect.slice(store, budget, now);
                let collected =
                    collected.map_err(|error| SessionError::Store(error.to_string()))?;
                charge.set(collect.bytes())?;
                match collected {
                    Collected::OutOfBudget => return Ok(None),
                    Collected::TooMany => return Err(charge.too_many()),
                    Collected::TooLong => return Err(SessionError::TooLong),
                    Collected::Items(items) => Arc::new(Items::new(items, charge.take())?),
                }
            }
        };
        let reply = reply(&items, &self.message)?;
        let mut text = Vec::with_capacity(2 * reply.len() + self.sub.json().len() + 16);
        write_neg_msg(&mut text, &self.sub, &reply);
        Ok(Some(Answer { items, text }))
    }
}

/// The reply to a message of a client.
pub(super) fn reply(items: &Items, message: &[u8]) -> Result<Vec<u8>, SessionError> {
    let state = Negentropy::borrowed(items, REPLY_BYTES_MAX as u64);
    let reply = state.and_then(|mut state| state.reconcile(message));
    reply.map_err(|_| SessionError::Malformed)
}

impl fmt::Debug for NegentropyJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NegentropyJob({:?}, {} bytes)", self.session, self.message.len())
    }
}
