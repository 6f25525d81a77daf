//! Answers that are used again: a bounded map by SHA-256, the oldest of which is dropped.

use std::collections::{HashMap, VecDeque};

/// Maximum number of entries.
const ENTRIES_MAX: usize = 4096;

/// A hash of everything that an answer depends on.
pub(super) type Hash = [u8; 32];

/// The last [`ENTRIES_MAX`] answers.
#[derive(Debug)]
pub(super) struct Cache<T> {
    entries: HashMap<Hash, T>,
    /// The keys in the order in which they were put, also of entries that were removed. Invariant: it
    /// has every key of `entries`, and at most [`ENTRIES_MAX`].
    order: VecDeque<Hash>,
}

impl<T> Default for Cache<T> {
    fn default() -> Cache<T> {
        Cache { entries: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> Cache<T> {
    pub(super) fn get(&self, key: &Hash) -> Option<&T> {
        self.entries.get(key)
    }

    pub(super) fn put(&mut self, key: Hash, value: T) {
        if self.entries.insert(key, value).is_some() {
            return;
        }
        if self.order.len() == ENTRIES_MAX
            && let Some(oldest) = self.order.pop_front()
            && oldest != key
        {
            self.entries.remove(&oldest);
        }
        self.order.push_back(key);
        debug_assert!(self.entries.len() <= self.order.len());
    }

    pub(super) fn remove(&mut self, key: &Hash) {
        self.entries.remove(key);
    }

    pub(super) fn retain(&mut self, mut is_kept: impl FnMut(&T) -> bool) {
        self.entries.retain(|_, value| is_kept(value));
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Hash {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        key
    }

    #[test]
    fn the_oldest_entry_makes_room_for_a_new_one() {
        let mut cache = Cache::default();
        for number in 0..ENTRIES_MAX + 3 {
            cache.put(key(number), number);
            cache.put(key(number), number);
        }
        assert_eq!(cache.entries.len(), ENTRIES_MAX);
        assert_eq!((cache.get(&key(2)), cache.get(&key(3))), (None, Some(&3)));
        cache.retain(|number| number % 2 == 0);
        assert_eq!((cache.get(&key(3)), cache.get(&key(4))), (None, Some(&4)));
        cache.clear();
        assert!(cache.entries.is_empty() && cache.order.is_empty());
    }

    #[test]
    fn removed_entries_leave_nothing_that_grows() {
        let mut cache = Cache::default();
        for round in 0..5 * ENTRIES_MAX {
            cache.put(key(round % 7), round);
            cache.remove(&key(round % 7));
            assert!(cache.order.len() <= ENTRIES_MAX && cache.entries.is_empty());
        }
        // Its place in the order is an old one, and it is the entry that is dropped.
        cache.put(key(0), 1);
        assert_eq!(cache.get(&key(0)), Some(&1));
    }
}
