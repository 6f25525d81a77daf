//! Negentropy (NIP-77): range-based set reconciliation with a client or another relay.
//!
//! NEG-OPEN makes a [`NegentropyJob`], which collects time and id of the events on the threads that scan
//! and computes the first reply there. [`Sessions`] keeps the list for the messages that follow. It
//! belongs to the loop and knows no store: each message becomes a job again.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use negentropy::Negentropy;

use super::message::SubscriptionId;
use super::reply::write_neg_msg;
use super::store::{Budget, Collect, Collected, Store};

mod error;
mod items;
mod sessions;

pub use error::SessionError;
pub use items::Items;
pub use sessions::{Reply, Sessions};

use items::Charge;

/// Bytes of a reply; twice as many in hex. With its frame it fits into 128 KiB, the largest message that
/// strfry accepts by default.
pub const REPLY_BYTES_MAX: usize = 60_000;

/// Limits of all sessions of a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegentropyLimits {
    /// Events of one session.
    pub items_max: usize,
    /// Sessions of one connection.
    pub sessions_max: usize,
    /// How long a session may be without a message.
    pub idle: Duration,
    /// Memory of the lists of all sessions.
    pub bytes_max: usize,
}

impl Default for NegentropyLimits {
    fn default() -> NegentropyLimits {
        NegentropyLimits {
            items_max: 1_000_000,
            sessions_max: 8,
            idle: Duration::from_secs(60),
            bytes_max: 256 * 1024 * 1024,
        }
    }
}

/// Identifies a session. Numbers are not reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

/// Work of a session, for a thread.
pub struct NegentropyJob {
    session: SessionId,
    /// For the reply.
    sub: SubscriptionId,
    /// Without a session, the job is dropped.
    lease: Weak<()>,
    message: Vec<u8>,
    list: List,
}

enum List {
    Wanted(Box<Collect>, Charge),
    Ready(Arc<Items>),
}

/// What follows a slice of a job.
#[derive(Debug)]
pub enum NegentropyStep {
    /// It goes on: run it again.
    Again(NegentropyJob),
    /// It has ended, for [`Sessions::finish`].
    Done(NegentropyDone),
    /// Nothing waits for it.
    Dropped,
}

/// The outcome of a job.
#[derive(Debug)]
pub struct NegentropyDone {
    session: SessionId,
    outcome: Result<Answer, SessionError>,
}

#[derive(Debug)]
struct Answer {
    items: Arc<Items>,
    /// The whole message, `["NEG-MSG",sub,hex]`.
    text: Vec<u8>,
}

impl NegentropyJob {
    /// Runs one slice. `now` is the Unix time in seconds.
    pub fn run(mut self, store: &Store, budget: Budget, now: u64) -> NegentropyStep {
        if self.lease.strong_count() == 0 {
            return NegentropyStep::Dropped;
        }
        // Unwind-safe: a job that panicked is dropped.
        let slice = catch_unwind(AssertUnwindSafe(|| self.slice(store, budget, now)));
        let outcome = slice.unwrap_or(Err(SessionError::Internal));
        match outcome {
            Ok(None) => NegentropyStep::Again(self),
            Ok(Some(answer)) => self.done(Ok(answer)),
            Err(error) => self.done(Err(error)),
        }
    }

    fn done(&self, outcome: Result<Answer, SessionError>) -> NegentropyStep {
        NegentropyStep::Done(NegentropyDone { session: self.session, outcome })
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
fn reply(items: &Items, message: &[u8]) -> Result<Vec<u8>, SessionError> {
    let state = Negentropy::borrowed(items, REPLY_BYTES_MAX as u64);
    let reply = state.and_then(|mut state| state.reconcile(message));
    reply.map_err(|_| SessionError::Malformed)
}

impl fmt::Debug for NegentropyJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NegentropyJob({:?}, {} bytes)", self.session, self.message.len())
    }
}

#[cfg(test)]
mod tests;
