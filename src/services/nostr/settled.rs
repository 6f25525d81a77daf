//! What becomes of an event that is not stored.

use std::sync::Arc;

use super::event::Event;
use super::message::event_id_of;
use super::parse::HexId;
use super::refusal::Refusal;

/// The answer to an event that is not stored.
#[derive(Debug)]
pub(super) enum Settled {
    /// `OK`
    Ok { id: HexId, accepted: bool, refusal: Option<Refusal> },
    /// The message has no id that could be named.
    Notice(Refusal),
    /// To be sent to subscribers.
    Ephemeral(Arc<Event>),
}

/// The refusal of an event of which only the id is read.
pub(super) fn refused(text: &str, refusal: Refusal) -> Settled {
    match event_id_of(text) {
        Some(id) => Settled::Ok { id, accepted: false, refusal: Some(refusal) },
        None => Settled::Notice(refusal),
    }
}
