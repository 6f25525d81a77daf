//! The live index: which subscriptions could match a new event.
//!
//! Owns the filters of all open subscriptions, and a value of the caller's for each subscription. A
//! filter is filed under the values of one of its members ([`Place`]). An event looks up its own id,
//! author, tags and kind, and only filters that are found there are compared with it: the cost depends
//! on how many filters could match, not on how many exist. It knows no connections, and no state of a
//! subscription: see `subscription.rs`.

use std::fmt;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use slab::Slab;

use self::place::{Hashing, Place, Value, weight};
use self::postings::{Posting, Postings};
use super::compared::Compared;
use super::event::Event;
use super::filter::{Filter, TagValueRef};

mod place;
mod postings;
#[cfg(test)]
mod tests;

/// Letters of tag names are below this number.
const LETTERS: usize = 128;
/// Slots for subscriptions that are kept.
const SLOTS_KEPT: usize = 64;

/// What the index holds at most.
#[derive(Debug, Clone, Copy)]
pub struct LiveLimits {
    /// Open subscriptions of the relay.
    pub subscriptions_max: usize,
    /// Values in all their filters: ids, authors, kinds and values of tags.
    pub values_max: usize,
}

impl Default for LiveLimits {
    fn default() -> LiveLimits {
        LiveLimits { subscriptions_max: 1_000_000, values_max: 20_000_000 }
    }
}

/// The index is full: the limit, with its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveFull {
    /// [`LiveLimits::subscriptions_max`].
    Subscriptions(usize),
    /// [`LiveLimits::values_max`].
    Values(usize),
}

impl fmt::Display for LiveFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LiveFull::Subscriptions(max) => {
                write!(f, "the relay holds its maximum of {max} subscriptions")
            }
            LiveFull::Values(max) => {
                write!(f, "the relay holds its maximum of {max} filter values")
            }
        }
    }
}

/// What the index holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LiveCounts {
    /// Open subscriptions.
    pub subscriptions: usize,
    /// Their filters.
    pub filters: usize,
    /// Values in these filters.
    pub values: usize,
}

/// The key of a subscription in the index. It is reused after the subscription was removed.
pub type LiveKey = u32;

/// The filters of all open subscriptions, and a `T` for each.
#[derive(Debug)]
pub struct LiveIndex<T> {
    hashing: Hashing,
    postings: Postings,
    subscriptions: Slab<Entry<T>>,
    /// How many filters are filed under a tag of each letter: other tags are not looked up.
    letters: [u32; LETTERS],
    filters: usize,
    /// Invariant: the sum of `Entry::weight` over `subscriptions`.
    values: usize,
    /// The number of the event that was looked up last.
    event: u64,
    /// Hashes of the tags that the event is looked up by.
    tags: Vec<u64>,
    /// Removals since slots were last released.
    removed: usize,
    limits: LiveLimits,
}

#[derive(Debug)]
struct Entry<T> {
    subscription: T,
    filters: Arc<[Filter]>,
    /// The filters that are filed, by their first ordinal.
    filed: Box<[Filed]>,
    /// The positions in the lists, by ordinal.
    positions: Box<[u32]>,
    weight: usize,
    /// The event that matched last: a subscription gets an event once.
    matched: u64,
}

/// A filter of a subscription that is filed.
#[derive(Debug)]
struct Filed {
    /// The ordinal of its first value within the subscription.
    first: u32,
    filter: u32,
    /// The event that was compared last: an event with many tags may find a filter often.
    compared: u64,
}

impl<T> LiveIndex<T> {
    /// An empty index.
    pub fn new(limits: LiveLimits) -> LiveIndex<T> {
        LiveIndex {
            hashing: Hashing::default(),
            postings: Postings::new(),
            subscriptions: Slab::new(),
            letters: [0; LETTERS],
            filters: 0,
            values: 0,
            event: 0,
            tags: Vec::new(),
            removed: 0,
            limits,
        }
    }

    /// Files the filters of a subscription.
    ///
    /// # Errors
    /// A limit is reached; nothing has changed.
    pub fn insert(&mut self, subscription: T, filters: Arc<[Filter]>) -> Result<LiveKey, LiveFull> {
        let LiveLimits { subscriptions_max, values_max } = self.limits;
        let weight: usize = filters.iter().map(weight).sum();
        if self.subscriptions.len() >= subscriptions_max.min(u32::MAX as usize) {
            return Err(LiveFull::Subscriptions(subscriptions_max));
        }
        if self.values + weight > values_max {
            return Err(LiveFull::Values(values_max));
        }
        let key = self.subscriptions.vacant_key() as u32;
        let (filed, positions) = self.file(key, &filters);
        self.filters += filters.len();
        self.values += weight;
        let matched = self.event;
        self.subscriptions.insert(Entry {
            subscription,
            filters,
            filed,
            positions,
            weight,
            matched,
        });
        Ok(key)
    }

    fn file(&mut self, key: LiveKey, filters: &[Filter]) -> (Box<[Filed]>, Box<[u32]>) {
        let places = || filters.iter().map(Place::of).enumerate();
        let count = places().map(|(_, place)| place.len()).sum();
        let (mut filed, mut positions) = (Vec::new(), Vec::with_capacity(count));
        for (filter, place) in places().filter(|(_, place)| place.len() > 0) {
            let first = positions.len() as u32;
            filed.push(Filed { first, filter: filter as u32, compared: self.event });
            self.count_letter(place, 1);
            for index in 0..place.len() {
                let posting = Posting { subscription: key, ordinal: positions.len() as u32 };
                let hash = self.hashing.of(place.value(index));
                positions.push(self.postings.push(hash, posting));
            }
        }
        (filed.into(), positions.into())
    }

    fn count_letter(&mut self, place: Place<'_>, change: i32) {
        if let Place::Tag(letter, _) = place {
            let count = &mut self.letters[usize::from(letter) % LETTERS];
            *count = count.wrapping_add_signed(change);
        }
    }

    /// Removes a subscription; the cost is linear in its values.
    ///
    /// # Panics
    /// There is no subscription with this key.
    pub fn remove(&mut self, key: LiveKey) -> T {
        let filters = Arc::clone(&self.subscriptions[key as usize].filters);
        let mut ordinal = 0;
        for place in filters.iter().map(Place::of) {
            if place.len() > 0 {
                self.count_letter(place, -1);
            }
            for index in 0..place.len() {
                self.remove_posting(key, ordinal, place.value(index));
                ordinal += 1;
            }
        }
        let entry = self.subscriptions.remove(key as usize);
        self.filters -= filters.len();
        self.values -= entry.weight;
        self.removed += 1;
        self.release_slots();
        entry.subscription
    }

    /// Releases unused slots, except below one in use. This visits each slot, so it waits for as many
    /// removals as a quarter of the slots.
    fn release_slots(&mut self) {
        let few = SLOTS_KEPT.max(self.subscriptions.capacity() / 4);
        if self.subscriptions.len() < few && self.removed > few {
            self.subscriptions.shrink_to_fit();
            self.removed = 0;
        }
    }

    fn remove_posting(&mut self, key: LiveKey, ordinal: usize, value: Value<'_>) {
        let position = self.subscriptions[key as usize].positions[ordinal];
        let moved = self.postings.remove(self.hashing.of(value), position);
        if let Some(Posting { subscription, ordinal }) = moved {
            self.subscriptions[subscription as usize].positions[ordinal as usize] = position;
        }
    }

    /// Calls `found` once for each subscription with a filter that matches the event.
    pub fn matching(&mut self, event: &Event, mut found: impl FnMut(LiveKey, &mut T)) {
        self.event += 1;
        let compared = Compared::new(event);
        let fixed = [
            Value::All,
            Value::Id(event.id()),
            Value::Author(event.pubkey()),
            Value::Kind(event.kind()),
        ];
        for value in fixed {
            self.look_up(self.hashing.of(value), &compared, &mut found);
        }
        let mut tags = std::mem::take(&mut self.tags);
        tags.clear();
        tags.extend(self.hashes_of_tags(event));
        // An event may repeat a tag 10,000 times.
        tags.sort_unstable();
        tags.dedup();
        for hash in &tags {
            self.look_up(*hash, &compared, &mut found);
        }
        self.tags = tags;
    }

    /// Hashes of the tags with a letter that filters are filed under.
    fn hashes_of_tags(&self, event: &Event) -> impl Iterator<Item = u64> {
        event.tags().iter().filter_map(|tag| {
            let letter =
                tag.letter().filter(|letter| self.letters[usize::from(*letter) % LETTERS] > 0)?;
            let value = tag.value()?;
            Some(self.hashing.of(Value::Tag(letter, TagValueRef::of(&value))))
        })
    }

    /// Compares the filters that are filed under a value.
    fn look_up(
        &mut self,
        hash: u64,
        event: &Compared<'_, Event>,
        found: &mut impl FnMut(LiveKey, &mut T),
    ) {
        for posting in self.postings.get(hash) {
            let entry = &mut self.subscriptions[posting.subscription as usize];
            if entry.matched != self.event && entry.compare(posting.ordinal, event, self.event) {
                entry.matched = self.event;
                found(posting.subscription, &mut entry.subscription);
            }
        }
    }

    /// The values in the filters of the subscription with this key; 0 if there is none.
    pub fn values(&self, key: LiveKey) -> usize {
        self.subscriptions.get(key as usize).map_or(0, |entry| entry.weight)
    }

    /// The subscription with this key, and its filters.
    pub fn get(&self, key: LiveKey) -> Option<(&T, &Arc<[Filter]>)> {
        self.subscriptions.get(key as usize).map(|entry| (&entry.subscription, &entry.filters))
    }

    /// What the index holds.
    pub fn counts(&self) -> LiveCounts {
        let subscriptions = self.subscriptions.len();
        LiveCounts { subscriptions, filters: self.filters, values: self.values }
    }
}

/// Panics if there is no subscription with this key.
impl<T> Index<LiveKey> for LiveIndex<T> {
    type Output = T;

    fn index(&self, key: LiveKey) -> &T {
        &self.subscriptions[key as usize].subscription
    }
}

/// Panics if there is no subscription with this key.
impl<T> IndexMut<LiveKey> for LiveIndex<T> {
    fn index_mut(&mut self, key: LiveKey) -> &mut T {
        &mut self.subscriptions[key as usize].subscription
    }
}

impl<T> Entry<T> {
    /// Whether the filter that the ordinal belongs to matches. Each filter is compared once with an
    /// event.
    fn compare(&mut self, ordinal: u32, event: &Compared<'_, Event>, number: u64) -> bool {
        let index = self.filed.partition_point(|filed| filed.first <= ordinal) - 1;
        let filed = &mut self.filed[index];
        if filed.compared == number {
            return false;
        }
        filed.compared = number;
        event.matches(&self.filters[filed.filter as usize])
    }
}
