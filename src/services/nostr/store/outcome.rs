//! What a commit did with each event.

use std::borrow::Cow;
use std::sync::Arc;

use crate::services::nostr::event::{Event, PublicKey};

/// What became of one event of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored, and live subscribers get it.
    Stored {
        /// Its place in the order of commits.
        serial: u64,
        /// The event.
        event: Arc<Event>,
    },
    /// It was stored before.
    Duplicate,
    /// A newer version of the replaceable or addressable event is stored.
    Newer,
    /// A deletion request (NIP-09) names it or its address.
    Deleted,
    /// Its author, or the recipient of this gift wrap, has vanished (NIP-62).
    Vanished,
    /// It was accepted, and replaced or deleted within its own batch: it has no serial and is not sent.
    Superseded,
    /// A request to vanish: recorded, not served and not sent.
    Vanishing {
        /// Who vanishes.
        author: PublicKey,
        /// Events up to this time are refused and removed.
        until: u64,
    },
    /// The disk has less room than `disk_free_min`.
    DiskFull,
    /// It cannot be stored; the text follows the prefix `invalid:`.
    Invalid(Cow<'static, str>),
}

/// The result of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// One per event, in their order.
    pub outcomes: Vec<Outcome>,
    /// The newest serial.
    pub last: u64,
}
