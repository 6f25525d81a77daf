//! The lists of subscriptions by value: hash tables whose entries are found again in constant time.
//!
//! A value is a keyed 64-bit hash. Two values that collide share a list, which costs comparisons and
//! nothing else, because the index compares each filter that it finds.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Tables: a table that grows or shrinks moves all its entries at once, 20,000 of them if the relay
/// holds 20,000,000 values.
const SHARDS: usize = 256;
/// Bits of the hash that select the table. Within a table the lowest and the highest are used.
const SHARD_SHIFT: u32 = 32;
/// Tables and lists keep this capacity.
const CAPACITY_KEPT: usize = 16;

/// A value of a filter: the subscription, and the value's number within the subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Posting {
    pub(super) subscription: u32,
    pub(super) ordinal: u32,
}

/// The postings of one value. Most values occur once.
#[derive(Debug)]
enum List {
    One(Posting),
    Many(Vec<Posting>),
}

/// The hash is used as it is: it is keyed.
#[derive(Debug, Clone, Copy, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        debug_assert!(false, "only u64 is hashed");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

type Shard = HashMap<u64, List, BuildHasherDefault<Identity>>;

/// All lists.
#[derive(Debug)]
pub(super) struct Postings {
    shards: Box<[Shard]>,
}

impl Postings {
    pub(super) fn new() -> Postings {
        Postings { shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }

    pub(super) fn get(&self, hash: u64) -> &[Posting] {
        match self.shards[shard_of(hash)].get(&hash) {
            None => &[],
            Some(List::One(posting)) => std::slice::from_ref(posting),
            Some(List::Many(postings)) => postings,
        }
    }

    /// Adds a posting; returns its position in the list of `hash`.
    pub(super) fn push(&mut self, hash: u64, posting: Posting) -> u32 {
        let shard = &mut self.shards[shard_of(hash)];
        let list = match shard.get_mut(&hash) {
            None => {
                shard.insert(hash, List::One(posting));
                return 0;
            }
            Some(list) => list,
        };
        match list {
            List::One(first) => {
                *list = List::Many(vec![*first, posting]);
                1
            }
            List::Many(postings) => {
                postings.push(posting);
                (postings.len() - 1) as u32
            }
        }
    }

    /// Removes the posting at `position`. Returns the one that took its place, if any: the last of
    /// the list.
    pub(super) fn remove(&mut self, hash: u64, position: u32) -> Option<Posting> {
        let shard = &mut self.shards[shard_of(hash)];
        if let Some(List::Many(postings)) = shard.get_mut(&hash) {
            postings.swap_remove(position as usize);
            let moved = postings.get(position as usize).copied();
            match postings[..] {
                [last] => *shard.get_mut(&hash)? = List::One(last),
                _ if is_sparse(postings.len(), postings.capacity()) => {
                    postings.shrink_to(postings.len() * 2);
                }
                _ => {}
            }
            return moved;
        }
        let removed = shard.remove(&hash);
        debug_assert!(removed.is_some(), "each value of an open subscription has a posting");
        if is_sparse(shard.len(), shard.capacity()) {
            shard.shrink_to(shard.len() * 2);
        }
        None
    }

    /// How many values have postings.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(HashMap::len).sum()
    }

    /// How many postings there is room for, in tables and lists.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        let lists = self.shards.iter().flat_map(HashMap::values).map(|list| match list {
            List::One(_) => 0,
            List::Many(postings) => postings.capacity(),
        });
        self.shards.iter().map(HashMap::capacity).sum::<usize>() + lists.sum::<usize>()
    }
}

fn shard_of(hash: u64) -> usize {
    (hash >> SHARD_SHIFT) as usize % SHARDS
}

/// Whether a quarter of the capacity is used, so that shrinking to a half pays for itself before the
/// next time.
fn is_sparse(len: usize, capacity: usize) -> bool {
    capacity > CAPACITY_KEPT && len < capacity / 4
}
