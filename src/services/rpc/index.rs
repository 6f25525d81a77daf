//! Finds the filters that may match a log without trying all of them: there can be many
//! subscribers, each with a filter of its own, and many logs in a block.
//!
//! A filter is filed under its addresses, without addresses under its first topics, without either
//! under [`Key::Any`]. The index knows only the numbers of filters; the caller decides whether one
//! matches.

use std::collections::{BTreeSet, HashMap};

use super::filter::{Log, LogFilter};
use super::wire::hex::{Address, Word};

/// The key that a filter is filed under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Address(Address),
    /// The topic at the first position.
    Topic(Word),
    Any,
}

/// Filters by address and topic.
#[derive(Debug, Default)]
pub(super) struct FilterIndex(HashMap<Key, BTreeSet<u32>>);

impl FilterIndex {
    /// Adds a filter.
    pub(super) fn insert(&mut self, filter: &LogFilter, number: u32) {
        for key in keys(filter) {
            self.0.entry(key).or_default().insert(number);
        }
    }

    /// Removes a filter.
    pub(super) fn remove(&mut self, filter: &LogFilter, number: u32) {
        for key in keys(filter) {
            if let Some(numbers) = self.0.get_mut(&key) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    self.0.remove(&key);
                }
            }
        }
    }

    /// The filters that may match the log, each once.
    pub(super) fn candidates(&self, log: &Log) -> impl Iterator<Item = u32> {
        let topic = log.topics.first().copied().map(Key::Topic);
        let keys = [Some(Key::Address(log.address)), topic, Some(Key::Any)];
        keys.into_iter().flatten().filter_map(|key| self.0.get(&key)).flatten().copied()
    }
}

fn keys(filter: &LogFilter) -> impl Iterator<Item = Key> {
    let addresses = filter.addresses();
    let topics = if addresses.is_empty() { filter.first_topics() } else { &[] };
    let is_any = addresses.is_empty() && topics.is_empty();
    let addresses = addresses.iter().copied().map(Key::Address);
    let topics = topics.iter().copied().map(Key::Topic);
    addresses.chain(topics).chain(is_any.then_some(Key::Any))
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::super::Bytes;
    use super::*;

    fn log(address: u8, topics: &[u8]) -> Log {
        let topics = topics.iter().map(|&byte| Bytes([byte; 32])).collect();
        Log { address: Bytes([address; 20]), topics, json: RawValue::NULL.to_owned() }
    }

    fn filter(addresses: &[u8], topics: &[&[u8]]) -> LogFilter {
        let word = |byte: &u8| Bytes([*byte; 32]);
        let addresses = addresses.iter().map(|&byte| Bytes([byte; 20])).collect();
        let topics = topics.iter().map(|any| any.iter().map(word).collect()).collect();
        LogFilter::new(addresses, topics).unwrap()
    }

    /// All filters of up to two addresses and two positions of topics, out of three values each.
    fn all_filters() -> Vec<LogFilter> {
        let sets: [&[u8]; 6] = [&[], &[1], &[2], &[3], &[1, 2], &[2, 3]];
        let positions = sets.into_iter().flat_map(|first| sets.map(|second| [first, second]));
        positions.flat_map(|topics| sets.map(|addresses| filter(addresses, &topics))).collect()
    }

    #[test]
    fn every_matching_filter_is_found_once() {
        let filters = all_filters();
        let mut index = FilterIndex::default();
        for (number, filter) in filters.iter().enumerate() {
            index.insert(filter, number as u32);
        }
        for address in 1..=4 {
            for topics in [&[][..], &[1], &[2], &[4], &[1, 2], &[2, 1], &[4, 3], &[1, 2, 3]] {
                let log = log(address, topics);
                let matches =
                    |number: &u32| filters[*number as usize].matches(&log.address, &log.topics);
                let expected: Vec<u32> = (0..filters.len() as u32).filter(matches).collect();
                let mut found: Vec<u32> = index.candidates(&log).filter(matches).collect();
                found.sort_unstable();
                assert_eq!(found, expected, "{address} {topics:?}");
            }
        }
        for (number, filter) in filters.iter().enumerate() {
            index.remove(filter, number as u32);
        }
        assert!(index.0.is_empty(), "filters are left");
    }

    #[test]
    fn filters_under_other_keys_are_not_candidates() {
        let mut index = FilterIndex::default();
        for number in 0..200 {
            index.insert(&filter(&[number], &[]), u32::from(number));
        }
        index.insert(&filter(&[], &[&[7]]), 1000);
        index.insert(&filter(&[], &[&[], &[7]]), 1001);
        assert_eq!(index.candidates(&log(5, &[8])).collect::<Vec<_>>(), [5, 1001]);
        assert_eq!(index.candidates(&log(250, &[7])).collect::<Vec<_>>(), [1000, 1001]);
    }
}
