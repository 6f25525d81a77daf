//! The arguments and the result of a publication: target, payload, options, counts.
//!
//! [`publish`](crate::reactor::effects::publish) delivers it.

use super::id::ConnId;
use super::outcome::SendOutcome;
use super::record::Record;
use crate::protocol::{CloseFrame, Message, SharedFrame};

/// The receivers. Only open connections of the publishing service count, whatever the target.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Target<'a> {
    /// Every connection of the service.
    All,
    /// The members of a topic.
    Topic(&'a str),
    /// The listed connections.
    List(&'a [ConnId]),
}

/// The payload to send.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Payload<'a> {
    /// A message.
    Message(Message<'a>),
    /// A frame that is encoded already: from a topic's history, or for several targets.
    Frame(&'a SharedFrame),
    /// A ping with a payload of the service, of at most 125 bytes.
    Ping(&'a [u8]),
    /// A Close: ends each of the connections.
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

/// A predicate on connections: by metadata, [subject](Record::subject), address, round trip or other
/// data of the record.
pub type Filter<'a> = &'a dyn Fn(&Record<'_>) -> bool;

/// Which receivers are left out, and how much is reported. By default no receiver is left out.
///
/// ```
/// use weir::prelude::*;
///
/// fn relay(cx: &mut Context<'_>, sender: ConnId, message: Message<'_>) {
///     let options = PublishOptions::default();
///     let outcome = cx.publish(Target::Topic("lobby"), message, options.except(&[sender]));
///     println!("{} received it", outcome.sent);
/// }
/// ```
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub struct PublishOptions<'a> {
    /// Connections to leave out; fastest if short.
    pub except: &'a [ConnId],
    /// Only connections that pass the filter. Checked last, so it may be expensive.
    pub filter: Option<Filter<'a>>,
    /// Stop at the first connection that refuses the message.
    pub fail_fast: bool,
    /// Report the outcome for each connection.
    pub track: bool,
}

impl<'a> PublishOptions<'a> {
    /// Leaves these connections out.
    #[must_use]
    pub fn except(mut self, except: &'a [ConnId]) -> PublishOptions<'a> {
        self.except = except;
        self
    }

    /// Sends only to connections that pass the filter.
    #[must_use]
    pub fn filter(mut self, filter: Filter<'a>) -> PublishOptions<'a> {
        self.filter = Some(filter);
        self
    }

    /// Sets whether to stop at the first connection that refuses the message.
    #[must_use]
    pub fn fail_fast(mut self, fail_fast: bool) -> PublishOptions<'a> {
        self.fail_fast = fail_fast;
        self
    }

    /// Sets whether the outcome for each connection is reported.
    #[must_use]
    pub fn track(mut self, track: bool) -> PublishOptions<'a> {
        self.track = track;
        self
    }

    /// Whether a batch may deliver the message: no option needs a look at each connection.
    pub(in crate::reactor) fn allow_batch(&self) -> bool {
        self.filter.is_none() && !self.fail_fast && !self.track
    }
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

/// The outcome of a publication.
#[must_use]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// Connections that the message was queued for.
    pub sent: usize,
    /// Open connections that the message could not be queued for:
    /// [`Full`](SendOutcome::Full), [`Overloaded`](SendOutcome::Overloaded) or
    /// [`TooLarge`](SendOutcome::TooLarge).
    pub refused: usize,
    /// Connections of the target that were left out or are not open.
    pub skipped: usize,
    /// The outcome for each connection, if `track` is set, in the order of the attempts.
    pub outcomes: Vec<(ConnId, SendOutcome)>,
}

impl Published {
    pub(in crate::reactor) fn count(&mut self, id: ConnId, outcome: SendOutcome, track: bool) {
        if outcome.is_queued() {
            self.sent += 1;
        } else if outcome.is_refused() {
            self.refused += 1;
        } else {
            self.skipped += 1;
        }
        if track {
            self.outcomes.push((id, outcome));
        }
    }
}
