//! The seam for a write policy of one's own: the last check of an event before it is stored.

use std::fmt;
use std::net::IpAddr;

use super::event::Event;
use super::refusal::{Prefix, Refusal};
use super::tags::PublicKey;

/// Judges events whose form, id and signature are valid: row 18 of the checks.
pub trait WritePolicy: Send + Sync {
    /// Judges an event. The reply may be sent at once or later, from any thread and in any order, but
    /// this call must not block: it runs on a thread that verifies events.
    fn judge(&self, submission: Submission<'_>, reply: Reply);
}

/// An event, and where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Submission<'a> {
    /// The event.
    pub event: &'a Event,
    /// Unix time in seconds at which the relay received it.
    pub received_at: u64,
    /// Where it comes from.
    pub source: Source,
    /// The key that the client has authenticated (NIP-42), the first one if there are several.
    pub authed: Option<&'a PublicKey>,
}

/// Where an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A client with this address.
    Client(IpAddr),
    /// The command `import`.
    Import,
    /// The command `sync`.
    Sync,
}

/// What a policy thinks of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It is stored, or sent if it is ephemeral.
    Accept,
    /// `OK` false with this reason.
    Reject(Refusal),
    /// `OK` true, but the event is neither stored nor sent.
    ShadowReject,
}

/// Takes the judgement of one event. Dropped without one, it rejects the event.
pub struct Reply(Option<Box<dyn FnOnce(Judgement) + Send>>);

impl Reply {
    /// Calls `receive` once, on the thread that sends the judgement.
    pub fn new(receive: impl FnOnce(Judgement) + Send + 'static) -> Reply {
        Reply(Some(Box::new(receive)))
    }

    /// Sends the judgement.
    pub fn send(mut self, judgement: Judgement) {
        if let Some(receive) = self.0.take() {
            receive(judgement);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(receive) = self.0.take() {
            receive(Judgement::Reject(failed()));
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reply").finish_non_exhaustive()
    }
}

/// The refusal if a policy has no judgement.
pub(super) fn failed() -> Refusal {
    Prefix::Error.text("the write policy failed")
}
