//! What becomes of an event: the checks of section 4.1, row 19, in their order.

use super::batch::{Batch, Newest};
use super::error::StoreError;
use super::index::{newest_key_of_event, recipients};
use super::outcome::Outcome;
use super::{deletion, vanish};
use crate::services::nostr::event::{
    Class, Event, KIND_DELETION, KIND_GIFT_WRAP, KIND_VANISH, PublicKey,
};

/// The first result of an event, before later events of its batch.
pub(super) enum Verdict {
    /// It takes this slot of the batch.
    Add(usize),
    /// It is not stored, or not served.
    Done(Outcome),
}

/// Applies one event to the batch. A large deletion request needs a batch of its own.
pub(super) fn apply(batch: &mut Batch<'_>, event: Event, now: u64) -> Result<Verdict, StoreError> {
    if let Some(outcome) = refusal(batch, &event, now)? {
        return Ok(Verdict::Done(outcome));
    }
    let is_large_deletion = deletion::is_large(&event);
    match event.kind() {
        KIND_VANISH => return vanish::record(batch, event).map(Verdict::Done),
        KIND_DELETION => {
            if let Some(outcome) = deletion::apply(batch, &event)? {
                return Ok(Verdict::Done(outcome));
            }
        }
        _ => {}
    }
    let key = newest_key_of_event(&event);
    if let Some(key) = &key
        && let Some(stored) = batch.newest(key)?
    {
        if !is_newer(&event, &stored) {
            return Ok(Verdict::Done(Outcome::Newer));
        }
        batch.remove(stored.place)?;
    }
    let slot = batch.add(event, key);
    if is_large_deletion {
        batch.start_deletion(slot);
    }
    Ok(Verdict::Add(slot))
}

/// Why the event is not stored; `None` if it is.
fn refusal(batch: &Batch<'_>, event: &Event, now: u64) -> Result<Option<Outcome>, StoreError> {
    if event.class() == Class::Ephemeral {
        return Ok(Some(Outcome::Invalid("ephemeral events are not stored".into())));
    }
    if event.expiration().is_some_and(|time| time <= now) {
        return Ok(Some(Outcome::Invalid("the event has expired".into())));
    }
    if is_stored(batch, event)? {
        return Ok(Some(Outcome::Duplicate));
    }
    if has_vanished(batch, event)? {
        return Ok(Some(Outcome::Vanished));
    }
    if is_deleted(batch, event)? {
        return Ok(Some(Outcome::Deleted));
    }
    Ok(None)
}

fn is_stored(batch: &Batch<'_>, event: &Event) -> Result<bool, StoreError> {
    match event.kind() {
        KIND_VANISH => batch.has_request(event.id()),
        _ => Ok(batch.find(event.id())?.is_some()),
    }
}

/// Whether the author, or the recipient of a gift wrap, has vanished (NIP-62).
fn has_vanished(batch: &Batch<'_>, event: &Event) -> Result<bool, StoreError> {
    let refused = |pubkey: &PublicKey| -> Result<bool, StoreError> {
        Ok(batch.vanished_until(pubkey)?.is_some_and(|time| event.created_at() <= time))
    };
    // A request with an earlier time changes nothing: `vanish::record` says so.
    if event.kind() != KIND_VANISH && refused(event.pubkey())? {
        return Ok(true);
    }
    if event.kind() == KIND_GIFT_WRAP {
        for recipient in recipients(event.tags()) {
            if refused(&recipient)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether a tombstone (NIP-09) refuses the event. Deletions of kinds 5 and 62 have no effect.
fn is_deleted(batch: &Batch<'_>, event: &Event) -> Result<bool, StoreError> {
    if matches!(event.kind(), KIND_DELETION | KIND_VANISH) {
        return Ok(false);
    }
    if batch.is_deleted(event.id(), event.pubkey())? {
        return Ok(true);
    }
    if event.kind() == KIND_GIFT_WRAP {
        for recipient in recipients(event.tags()) {
            if batch.is_deleted(event.id(), &recipient)? {
                return Ok(true);
            }
        }
    }
    if let Some(address) = event.address() {
        let until = batch.address_deleted_until(&address)?;
        return Ok(until.is_some_and(|until| event.created_at() <= until));
    }
    Ok(false)
}

/// NIP-01: the later one, and of two of the same second the one with the lower id.
fn is_newer(event: &Event, stored: &Newest) -> bool {
    (event.created_at(), std::cmp::Reverse(event.id()))
        > (stored.created_at, std::cmp::Reverse(&stored.id))
}
