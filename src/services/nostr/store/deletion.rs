//! Deletion requests (NIP-09, kind 5).
//!
//! A request with many targets is carried out in steps: its first transaction stores it with all its
//! tombstones, and each of those that follow removes some targets. The writer does the steps before it
//! acknowledges the request, and the sweep does those that a crash has left.

use std::borrow::Cow;

use super::batch::Batch;
use super::error::StoreError;
use super::key::newest_key;
use super::outcome::Outcome;
use crate::services::nostr::event::{Class, Event, Fields, KIND_DELETION};
use crate::services::nostr::tags::{Address, hex_32};

/// Tags of a deletion request that count as one event of a batch.
const TAGS_PER_EVENT: usize = 50;
/// Targets that one transaction removes.
pub(super) const TARGETS_MAX: usize = 500;

/// Events that this event counts as in a batch: the work of a deletion request grows with its tags.
pub fn batch_weight(event: &Event) -> usize {
    if event.kind() != KIND_DELETION {
        return 1;
    }
    1 + targets(event).count() / TAGS_PER_EVENT
}

/// Whether the event is a request that is carried out in steps.
pub(super) fn is_large(event: &Event) -> bool {
    event.kind() == KIND_DELETION && targets(event).nth(TARGETS_MAX).is_some()
}

/// The `e` and `a` tags of a request.
fn targets(request: &impl Fields) -> impl Iterator<Item = (u8, Cow<'_, str>)> {
    request.tags().letters().filter(|(letter, _)| matches!(letter, b'e' | b'a'))
}

/// What a tag of a request names.
enum Target {
    Id([u8; 32]),
    Address(Address),
    /// An address of another author.
    Foreign,
    /// No id.
    Malformed,
}

impl Target {
    fn of(request: &impl Fields, letter: u8, value: &str) -> Option<Target> {
        match letter {
            b'e' => Some(hex_32(value).map_or(Target::Malformed, Target::Id)),
            _ => Address::parse(value).map(|address| match address.pubkey == *request.pubkey() {
                true => Target::Address(address),
                false => Target::Foreign,
            }),
        }
    }

    /// Leaves a tombstone, in any case: the event may come later.
    fn bury(&self, batch: &mut Batch<'_>, request: &impl Fields) -> Result<(), StoreError> {
        match self {
            Target::Id(id) => batch.bury(id, request.pubkey(), request.created_at()),
            Target::Address(address) if newest_key_of(address).is_some() => {
                let mut address = address.clone();
                if Class::of(address.kind) == Class::Replaceable {
                    address.identifier.clear();
                }
                batch.bury_address(&address, request.created_at())?;
            }
            Target::Address(_) | Target::Foreign | Target::Malformed => {}
        }
        Ok(())
    }

    /// Removes an event that the deleter may delete, or the version of an address up to the request's time.
    fn remove(&self, batch: &mut Batch<'_>, request: &impl Fields) -> Result<(), StoreError> {
        match self {
            Target::Id(id) => match batch.find(id)? {
                Some(place) if batch.is_deletable(place, request.pubkey())? => batch.remove(place),
                _ => Ok(()),
            },
            Target::Address(address) => {
                let Some(key) = newest_key_of(address) else {
                    return Ok(());
                };
                match batch.newest(&key)? {
                    Some(newest) if newest.created_at <= request.created_at() => {
                        batch.remove(newest.place)
                    }
                    _ => Ok(()),
                }
            }
            Target::Foreign | Target::Malformed => Ok(()),
        }
    }
}

/// The key in `newest` of an address; `None` if its kind has none.
fn newest_key_of(address: &Address) -> Option<Vec<u8>> {
    let identifier = match Class::of(address.kind) {
        Class::Replaceable => None,
        Class::Addressable => Some(&*address.identifier),
        Class::Regular | Class::Ephemeral => return None,
    };
    Some(newest_key(&address.pubkey, address.kind, identifier))
}

/// Leaves the tombstones of a request, and removes what it names unless it is large. Returns the outcome of
/// an invalid request.
pub(super) fn apply(batch: &mut Batch<'_>, request: &Event) -> Result<Option<Outcome>, StoreError> {
    let is_large = is_large(request);
    let (mut own, mut foreign) = (0, 0);
    for (letter, value) in targets(request) {
        let Some(target) = Target::of(request, letter, &value) else {
            continue;
        };
        match target {
            Target::Foreign => foreign += 1,
            _ => own += 1,
        }
        target.bury(batch, request)?;
        if !is_large {
            target.remove(batch, request)?;
        }
    }
    let invalid = own == 0 && foreign > 0;
    Ok(invalid.then(|| Outcome::Invalid("the deletion names other authors' events only".into())))
}

/// Removes some targets of a large request, from the tag at `position` on. Returns where to go on; `None`
/// at the end. Steps that are done again change nothing.
pub(super) fn step(
    batch: &mut Batch<'_>,
    request: &impl Fields,
    position: usize,
) -> Result<Option<usize>, StoreError> {
    for (index, (letter, value)) in targets(request).enumerate().skip(position) {
        if index == position + TARGETS_MAX {
            return Ok(Some(index));
        }
        if let Some(target) = Target::of(request, letter, &value) {
            target.remove(batch, request)?;
        }
    }
    Ok(None)
}
