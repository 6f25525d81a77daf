//! Where a filter is filed: the values of one of its members.

use std::hash::{BuildHasher, RandomState};

use crate::services::nostr::filter::{Filter, TagValue, TagValueRef};

/// A text value counts as one more value per this many bytes.
const TEXT_BYTES_PER_VALUE: usize = 64;

/// A value that filters are filed under, and that an event looks up.
#[derive(Debug, Clone, Copy, Hash)]
pub(super) enum Value<'a> {
    /// All filters without ids, authors, tags and kinds.
    All,
    Id(&'a [u8; 32]),
    Author(&'a [u8; 32]),
    Kind(u16),
    Tag(u8, TagValueRef<'a>),
}

/// Hashes values with a key of its own.
#[derive(Debug, Default)]
pub(super) struct Hashing(RandomState);

impl Hashing {
    pub(super) fn of(&self, value: Value<'_>) -> u64 {
        self.0.hash_one(value)
    }
}

/// The member of a filter whose values it is filed under: an event that the filter matches has one of
/// them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    /// An empty list, or an empty range of time: the filter matches nothing.
    Nowhere,
    All,
    Ids(&'a [[u8; 32]]),
    Authors(&'a [[u8; 32]]),
    Tag(u8, &'a [TagValue]),
    Kinds(&'a [u16]),
}

impl<'a> Place<'a> {
    /// The ids; else the smaller of the authors and each tag; else the kinds; else all. A home feed
    /// of 500 authors and two kinds belongs under its authors: under its kinds, each note would be
    /// compared with each home feed.
    pub(super) fn of(filter: &'a Filter) -> Place<'a> {
        if filter.matches_nothing() {
            return Place::Nowhere;
        }
        if let Some(ids) = filter.ids() {
            return Place::Ids(ids);
        }
        let authors = filter.authors().map(Place::Authors);
        let tags = filter.tags().iter().map(|(letter, values)| Place::Tag(*letter, values));
        if let Some(smallest) = authors.into_iter().chain(tags).min_by_key(Place::len) {
            return smallest;
        }
        filter.kinds().map_or(Place::All, Place::Kinds)
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Place::Nowhere => 0,
            Place::All => 1,
            Place::Ids(keys) | Place::Authors(keys) => keys.len(),
            Place::Tag(_, values) => values.len(),
            Place::Kinds(kinds) => kinds.len(),
        }
    }

    /// The value at `index`, below [`len`](Place::len).
    pub(super) fn value(&self, index: usize) -> Value<'a> {
        match *self {
            Place::Nowhere | Place::All => Value::All,
            Place::Ids(ids) => Value::Id(&ids[index]),
            Place::Authors(authors) => Value::Author(&authors[index]),
            Place::Kinds(kinds) => Value::Kind(kinds[index]),
            Place::Tag(letter, values) => Value::Tag(letter, values[index].borrow()),
        }
    }
}

/// How many values a filter counts as: all that it holds, since they are kept for comparison, not only
/// those that it is filed under. A filter without any counts as one.
pub(super) fn weight(filter: &Filter) -> usize {
    let texts = filter.tags().iter().flat_map(|(_, values)| values).map(|value| match value {
        TagValue::Hex(_) => 0,
        TagValue::Text(text) => text.len() / TEXT_BYTES_PER_VALUE,
    });
    (filter.values() + texts.sum::<usize>()).max(1)
}
