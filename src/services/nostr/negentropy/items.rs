//! The list of a session: time and id of each event, in order, and the memory of all lists.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use negentropy::{Bound, Error, Id, Item, NegentropyStorageBase};

use super::error::SessionError;
use super::limits::NegentropyLimits;
use crate::services::nostr::event::EventId;

/// The memory of the lists of all sessions. Threads that collect charge it, too.
#[derive(Debug)]
pub(super) struct Memory {
    held: AtomicUsize,
    bytes_max: usize,
    items_max: usize,
}

impl Memory {
    pub(super) fn new(limits: &NegentropyLimits) -> Memory {
        let NegentropyLimits { bytes_max, items_max, .. } = *limits;
        Memory { held: AtomicUsize::new(0), bytes_max, items_max }
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// A part of the memory, released when it is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Charge {
    pub(super) fn new(memory: &Arc<Memory>) -> Charge {
        Charge { memory: Arc::clone(memory), bytes: 0 }
    }

    /// Changes the charge to `bytes`, if the limit allows it.
    pub(super) fn set(&mut self, bytes: usize) -> Result<(), SessionError> {
        let Memory { held, bytes_max, .. } = &*self.memory;
        let other = |all: usize| all - self.bytes;
        let changed = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |all| {
            let next = other(all).saturating_add(bytes);
            (next <= *bytes_max || bytes <= self.bytes).then_some(next)
        });
        match changed {
            Ok(_) => self.bytes = bytes,
            Err(_) => return Err(SessionError::NoMemory(*bytes_max)),
        }
        Ok(())
    }

    /// This charge; an empty one stays.
    pub(super) fn take(&mut self) -> Charge {
        let empty = Charge::new(&self.memory);
        std::mem::replace(self, empty)
    }

    pub(super) fn too_many(&self) -> SessionError {
        SessionError::TooManyEvents(self.memory.items_max)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.memory.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Time and id of each event of a session, 40 bytes an event.
#[derive(Debug)]
pub(crate) struct Items {
    /// Ascending by time, then by id; without duplicates.
    items: Vec<(u64, EventId)>,
    _charge: Charge,
}

impl Items {
    pub(super) fn new(
        mut items: Vec<(u64, EventId)>,
        mut charge: Charge,
    ) -> Result<Items, SessionError> {
        items.sort_unstable();
        items.dedup();
        items.shrink_to_fit();
        charge.set(items.capacity() * size_of::<(u64, EventId)>())?;
        Ok(Items { items, _charge: charge })
    }
}

fn item(&(time, id): &(u64, EventId)) -> Item {
    Item::with_timestamp_and_id(time, Id::from_byte_array(id))
}

impl NegentropyStorageBase for Items {
    fn size(&self) -> Result<usize, Error> {
        Ok(self.items.len())
    }

    fn get_item(&self, at: usize) -> Result<Option<Item>, Error> {
        Ok(self.items.get(at).map(item))
    }

    fn iterate(
        &self,
        begin: usize,
        end: usize,
        visit: &mut dyn FnMut(Item, usize) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let items = self.items.get(begin..end).ok_or(Error::BadRange)?;
        for (at, each) in (begin..end).zip(items) {
            if !visit(item(each), at)? {
                break;
            }
        }
        Ok(())
    }

    fn find_lower_bound(&self, first: usize, last: usize, bound: &Bound) -> usize {
        first + self.items[first..last].partition_point(|each| item(each) < bound.item)
    }
}
