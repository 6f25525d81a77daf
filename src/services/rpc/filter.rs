//! Filters of logs: addresses, and topics by position with alternatives.
//!
//! Two filters with the same meaning are equal, however they were written, so that equal
//! subscriptions share one feed. Reads the parameter of `eth_subscribe`, and that of `eth_getLogs`,
//! which has the same members and a range of blocks.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::wire::hex::{Address, Word};

/// Positions of topics in a log.
pub const TOPICS_MAX: usize = 4;
/// Addresses and alternatives of one filter.
const ENTRIES_MAX: usize = 1024;

/// A condition on logs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct LogFilter {
    /// Any of these; empty: any address. Invariant: sorted, without duplicates.
    addresses: Box<[Address]>,
    /// Any of these at each position; empty: any topic. Invariant: sorted, without duplicates; the
    /// last position is not empty.
    topics: Box<[Box<[Word]>]>,
}

/// A log.
#[derive(Debug, Clone)]
pub struct Log {
    /// The contract that emitted it.
    pub address: Address,
    /// Its topics, at most [`TOPICS_MAX`].
    pub topics: Vec<Word>,
    /// The log as subscribers receive it. `removed` is true if a reorganisation has undone it.
    pub json: Box<RawValue>,
}

impl LogFilter {
    /// A filter for any of these addresses, and for each position any of these topics.
    ///
    /// # Errors
    /// The filter has too many entries or positions.
    pub fn new(addresses: Vec<Address>, topics: Vec<Vec<Word>>) -> Result<LogFilter, &'static str> {
        let entries = addresses.len() + topics.iter().map(Vec::len).sum::<usize>();
        if entries > ENTRIES_MAX {
            return Err("too many addresses and topics");
        }
        let positions = topics.iter().rposition(|any| !any.is_empty()).map_or(0, |last| last + 1);
        if positions > TOPICS_MAX {
            return Err("a log has no more than four topics");
        }
        Ok(LogFilter {
            addresses: set(addresses),
            topics: topics.into_iter().take(positions).map(set).collect(),
        })
    }

    /// Whether a log with this address and these topics matches.
    pub fn matches(&self, address: &Address, topics: &[Word]) -> bool {
        let is_any = |any: &[Word], topic| any.is_empty() || any.binary_search(topic).is_ok();
        (self.addresses.is_empty() || self.addresses.binary_search(address).is_ok())
            && self.topics.len() <= topics.len()
            && self.topics.iter().zip(topics).all(|(any, topic)| is_any(any, topic))
    }

    /// The addresses; empty: any address.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The topics for each position; empty: any topic.
    pub fn topics(&self) -> &[Box<[Word]>] {
        &self.topics
    }

    /// The topics for the first position; empty: any topic.
    pub(super) fn first_topics(&self) -> &[Word] {
        self.topics.first().map_or(&[], |any| any)
    }
}

fn set<T: Ord>(mut values: Vec<T>) -> Box<[T]> {
    values.sort_unstable();
    values.dedup();
    values.into()
}

/// One value or several, as clients write addresses and topics.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<Option<T>>),
}

impl<T> OneOrMany<T> {
    /// The alternatives; none if one of them is `null`, which stands for any value.
    fn alternatives(self) -> Vec<T> {
        match self {
            OneOrMany::One(value) => vec![value],
            OneOrMany::Many(values) => {
                values.into_iter().collect::<Option<_>>().unwrap_or_default()
            }
        }
    }
}

/// A filter as clients write it: `{"address": A or [A, ..], "topics": [T, null, [T, T], ..]}`.
#[derive(Deserialize, Default)]
pub struct FilterParams {
    #[serde(default)]
    address: Option<OneOrMany<Address>>,
    #[serde(default)]
    topics: Option<Vec<Option<OneOrMany<Word>>>>,
}

impl TryFrom<FilterParams> for LogFilter {
    type Error = &'static str;

    fn try_from(params: FilterParams) -> Result<LogFilter, &'static str> {
        let addresses = params.address.map_or_else(Vec::new, OneOrMany::alternatives);
        let position =
            |any: Option<OneOrMany<Word>>| any.map_or_else(Vec::new, OneOrMany::alternatives);
        let topics = params.topics.unwrap_or_default().into_iter().map(position).collect();
        LogFilter::new(addresses, topics)
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::hex::Bytes;
    use super::*;

    fn word(last: u8) -> Word {
        let mut word = [0; 32];
        word[31] = last;
        Bytes(word)
    }

    fn filter(json: &str) -> LogFilter {
        serde_json::from_str::<FilterParams>(json).unwrap().try_into().unwrap()
    }

    fn matches(json: &str, address: u8, topics: &[u8]) -> bool {
        let topics: Vec<Word> = topics.iter().copied().map(word).collect();
        filter(json).matches(&Bytes([address; 20]), &topics)
    }

    #[test]
    fn a_filter_has_one_several_or_no_addresses() {
        let a = Bytes([1; 20]).to_string();
        let b = Bytes([2; 20]).to_string();
        assert!(matches("{}", 9, &[]) && matches(r#"{"address":null,"topics":null}"#, 9, &[1]));
        assert!(matches(&format!(r#"{{"address":"{a}"}}"#), 1, &[]));
        assert!(!matches(&format!(r#"{{"address":"{a}"}}"#), 2, &[]));
        assert!(matches(&format!(r#"{{"address":["{a}","{b}"]}}"#), 2, &[]));
        assert!(matches(r#"{"address":[]}"#, 7, &[]));
    }

    #[test]
    fn topics_have_positions_alternatives_and_gaps() {
        let (a, b) = (word(1), word(2));
        let second = format!(r#"{{"topics":[null,"{b}"]}}"#);
        assert!(matches(&second, 0, &[9, 2]) && !matches(&second, 0, &[2]));
        let either = format!(r#"{{"topics":[["{a}","{b}"]]}}"#);
        assert!(matches(&either, 0, &[1]) && matches(&either, 0, &[2, 5]));
        assert!(!matches(&either, 0, &[3]) && !matches(&either, 0, &[]));
        let any = format!(r#"{{"topics":[["{a}",null],[],null]}}"#);
        assert!(matches(&any, 0, &[]) && matches(&any, 0, &[7]));
    }

    #[test]
    fn filters_with_the_same_meaning_are_equal() {
        let (a, b) = (word(1), word(2));
        let one = filter(&format!(r#"{{"topics":[["{a}","{b}","{a}"],null]}}"#));
        let other = filter(&format!(r#"{{"address":[],"topics":[["{b}","{a}"]]}}"#));
        assert_eq!(one, other);
        assert_eq!(filter("{}"), filter(r#"{"topics":[null,[],null,null,null]}"#));
    }

    #[test]
    fn the_entries_of_a_filter_are_bounded() {
        let many = |count: usize| LogFilter::new(vec![Bytes([0; 20]); count], Vec::new());
        assert!(many(ENTRIES_MAX).is_ok() && many(ENTRIES_MAX + 1).is_err());
        assert!(LogFilter::new(Vec::new(), vec![vec![word(1)]; TOPICS_MAX]).is_ok());
        assert!(LogFilter::new(Vec::new(), vec![vec![word(1)]; TOPICS_MAX + 1]).is_err());
    }
}
