//! Deletion requests (NIP-09, kind 5).

use super::batch::Batch;
use super::error::StoreError;
use super::key::newest_key;
use super::outcome::Outcome;
use crate::services::nostr::event::{Class, Event, KIND_DELETION};
use crate::services::nostr::tags::{Address, hex_32};

/// Tags of a deletion request that count as one event of a batch.
const TAGS_PER_EVENT: usize = 50;

/// Events that this event counts as in a batch: the work of a deletion request grows with its tags.
pub fn batch_weight(event: &Event) -> usize {
    if event.kind() != KIND_DELETION {
        return 1;
    }
    let targets = event.tags().letters().filter(|(letter, _)| matches!(letter, b'e' | b'a'));
    1 + targets.count() / TAGS_PER_EVENT
}

/// Removes what the request names, and leaves tombstones. Returns the outcome of an invalid request.
pub(super) fn apply(batch: &mut Batch<'_>, request: &Event) -> Result<Option<Outcome>, StoreError> {
    let mut own = 0;
    let mut foreign = 0;
    for (letter, value) in request.tags().letters() {
        match letter {
            b'e' => {
                own += 1;
                if let Some(id) = hex_32(&value) {
                    delete_id(batch, request, id)?;
                }
            }
            b'a' => match Address::parse(&value) {
                Some(address) if address.pubkey == *request.pubkey() => {
                    own += 1;
                    delete_address(batch, request, address)?;
                }
                Some(_) => foreign += 1,
                None => {}
            },
            _ => {}
        }
    }
    let invalid = own == 0 && foreign > 0;
    Ok(invalid.then(|| Outcome::Invalid("the deletion names other authors' events only".into())))
}

/// The event goes if the deleter may delete it. The tombstone stays in any case: the event may come later.
fn delete_id(batch: &mut Batch<'_>, request: &Event, id: [u8; 32]) -> Result<(), StoreError> {
    let deleter = request.pubkey();
    batch.bury(&id, deleter, request.created_at());
    match batch.find(&id)? {
        Some(place) if batch.is_deletable(place, deleter)? => batch.remove(place),
        _ => Ok(()),
    }
}

/// All versions up to the request's time go, and none of them comes back.
fn delete_address(
    batch: &mut Batch<'_>,
    request: &Event,
    mut address: Address,
) -> Result<(), StoreError> {
    let identifier = match Class::of(address.kind) {
        Class::Replaceable => {
            address.identifier.clear();
            None
        }
        Class::Addressable => Some(&*address.identifier),
        Class::Regular | Class::Ephemeral => return Ok(()),
    };
    let key = newest_key(&address.pubkey, address.kind, identifier);
    batch.bury_address(&address, request.created_at())?;
    if let Some(newest) = batch.newest(&key)?
        && newest.created_at <= request.created_at()
    {
        batch.remove(newest.place)?;
    }
    Ok(())
}
