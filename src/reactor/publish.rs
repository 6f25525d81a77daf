//! One message to many: who gets it, and what became of it.
//!
//! The frame is encoded once and queued per member. Nothing is retried: who was refused is counted,
//! and told by the route's policy for slow peers.

use super::{ConnId, Record, SendOutcome};
use crate::protocol::{CloseFrame, Message, SharedFrame};

/// Who is meant. Only open connections of the publishing service count, whatever the target.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// Every connection of the service.
    All,
    /// The members of a topic.
    Topic(&'a str),
    /// These.
    List(&'a [ConnId]),
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub enum Payload<'a> {
    /// A message.
    Message(Message<'a>),
    /// A frame encoded before: a topic's history, or the same news for several targets.
    Frame(&'a SharedFrame),
    /// A ping of the service's own, of at most 125 bytes.
    Ping(&'a [u8]),
    /// The end of each of these connections.
    Close(CloseFrame<'a>),
}

impl<'a, T: Into<Message<'a>>> From<T> for Payload<'a> {
    fn from(message: T) -> Payload<'a> {
        Payload::Message(message.into())
    }
}

impl<'a> From<&'a SharedFrame> for Payload<'a> {
    fn from(frame: &'a SharedFrame) -> Payload<'a> {
        Payload::Frame(frame)
    }
}

/// A predicate on connections: by metadata, address, round trip, anything of the record.
pub type Filter<'a> = &'a dyn Fn(&Record<'_>) -> bool;

/// Who is left out, and how much is reported. The default leaves out nobody.
#[derive(Clone, Copy, Default)]
pub struct PublishOptions<'a> {
    /// These are left out; cheapest when short.
    pub except: &'a [ConnId],
    /// Only those that pass. Asked last, so it may cost something.
    pub filter: Option<Filter<'a>>,
    /// Stop at the first connection that refuses.
    pub fail_fast: bool,
    /// Report the outcome of every connection.
    pub track: bool,
}

impl std::fmt::Debug for PublishOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublishOptions")
            .field("except", &self.except)
            .field("filter", &self.filter.map(|_| ".."))
            .field("fail_fast", &self.fail_fast)
            .field("track", &self.track)
            .finish()
    }
}

/// What became of a message to many.
#[must_use]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// Queued for so many.
    pub sent: usize,
    /// So many had no room.
    pub refused: usize,
    /// So many were meant by the target, but left out or not open.
    pub skipped: usize,
    /// Each outcome, if `track` asked for it, in the order of the attempts.
    pub outcomes: Vec<(ConnId, SendOutcome)>,
}

impl Published {
    pub(super) fn count(&mut self, id: ConnId, outcome: SendOutcome, track: bool) {
        match outcome {
            SendOutcome::Queued | SendOutcome::Congested => self.sent += 1,
            SendOutcome::Refused => self.refused += 1,
            SendOutcome::Gone => self.skipped += 1,
        }
        if track {
            self.outcomes.push((id, outcome));
        }
    }
}
