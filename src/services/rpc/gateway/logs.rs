//! The logs of announced blocks: one query for all subscribers, and the logs to announce as removed
//! when a block is undone.
//!
//! All filters are merged into one query per block. The subscriptions decide which log each of them
//! gets.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::chain::REMEMBERED_MAX;
use crate::services::rpc::filter::{Log, LogFilter, TOPICS_MAX};
use crate::services::rpc::wire::hex::{Address, Word};
use crate::services::rpc::wire::object;

/// Addresses, and topics, of one query. With more of them it asks for all logs.
const NAMED_MAX: usize = 256;
/// Memory for the logs of all remembered blocks.
pub(super) const REMEMBERED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The logs to fetch of each block.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct LogQuery {
    /// Any of these; `None`: any address.
    addresses: Option<BTreeSet<Address>>,
    /// Any of these at the first position; `None`: any topic.
    topics: Option<BTreeSet<Word>>,
}

impl LogQuery {
    /// A query for all logs that any of these filters matches; `None` without filters. Stops at the
    /// filter that makes it a query for all logs.
    pub(super) fn merge<'a>(filters: impl Iterator<Item = &'a LogFilter>) -> Option<LogQuery> {
        let mut filters = filters.peekable();
        filters.peek()?;
        let mut query =
            LogQuery { addresses: Some(BTreeSet::new()), topics: Some(BTreeSet::new()) };
        while let Some(filter) = filters.next_if(|_| query != LogQuery::default()) {
            add(&mut query.addresses, filter.addresses());
            add(&mut query.topics, filter.first_topics());
        }
        Some(query)
    }

    /// The parameters of `eth_getLogs` for one block.
    pub(super) fn params(&self, block: Word) -> String {
        let mut params = format!(r#"[{{"blockHash":"{block}""#);
        if let Some(any) = &self.addresses {
            let _ = write!(params, r#","address":{}"#, Value::from_iter(any.iter().map(text)));
        }
        if let Some(any) = &self.topics {
            let _ = write!(params, r#","topics":[{}]"#, Value::from_iter(any.iter().map(text)));
        }
        params + "}]"
    }
}

fn text(value: &impl ToString) -> Value {
    Value::from(value.to_string())
}

/// Adds alternatives. `None` stands for any value, and so does an empty `more`.
fn add<T: Ord + Copy>(any: &mut Option<BTreeSet<T>>, more: &[T]) {
    if let Some(named) = any {
        named.extend(more);
        if more.is_empty() || named.len() > NAMED_MAX {
            *any = None;
        }
    }
}

/// The members of a log that filters use.
#[derive(Deserialize)]
struct LogMembers {
    address: Address,
    topics: Vec<Word>,
}

/// Reads the result of `eth_getLogs`; `None` if it is not a list of logs.
pub(super) fn read(result: &RawValue) -> Option<Vec<Log>> {
    let logs: Vec<&RawValue> = serde_json::from_str(result.get()).ok()?;
    logs.into_iter().map(read_one).collect()
}

fn read_one(json: &RawValue) -> Option<Log> {
    let LogMembers { address, topics } = object::from_str(json.get()).ok()?;
    (topics.len() <= TOPICS_MAX).then(|| Log { address, topics, json: json.to_owned() })
}

/// The log with `removed: true`.
fn removed(log: &Log) -> Option<Log> {
    let mut members: Map<String, Value> = serde_json::from_str(log.json.get()).ok()?;
    members.insert("removed".to_owned(), Value::Bool(true));
    Some(Log { json: serde_json::value::to_raw_value(&members).ok()?, ..log.clone() })
}

/// The announced logs of the remembered blocks.
#[derive(Debug, Default)]
pub(super) struct AnnouncedLogs {
    /// The oldest block first. `None`: its logs were dropped, to save memory.
    blocks: VecDeque<(Word, Option<Vec<Log>>)>,
    bytes: usize,
}

impl AnnouncedLogs {
    /// Remembers the announced logs of a block, and drops the oldest ones beyond the limit.
    pub(super) fn remember(&mut self, block: Word, logs: Vec<Log>) {
        if self.blocks.len() == REMEMBERED_MAX
            && let Some((_, Some(logs))) = self.blocks.pop_front()
        {
            self.bytes -= bytes(&logs);
        }
        self.bytes += bytes(&logs);
        self.blocks.push_back((block, Some(logs)));
        let mut oldest = self.blocks.iter_mut();
        while self.bytes > REMEMBERED_BYTES_MAX
            && let Some((_, logs)) = oldest.next()
        {
            self.bytes -= logs.take().map_or(0, |logs| bytes(&logs));
        }
    }

    /// Forgets a block and returns its logs as removed ones, the last one first. `None`: they were
    /// dropped. A block without announced logs has none.
    pub(super) fn undo(&mut self, block: Word) -> Option<Vec<Log>> {
        let Some(at) = self.blocks.iter().rposition(|(hash, _)| *hash == block) else {
            return Some(Vec::new());
        };
        let logs = self.blocks.remove(at)?.1?;
        self.bytes -= bytes(&logs);
        logs.iter().rev().map(removed).collect()
    }
}

fn bytes(logs: &[Log]) -> usize {
    logs.iter().map(|log| log.json.get().len() + size_of::<Log>()).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::Bytes;
    use super::*;

    const NO_TOPICS: [Vec<Word>; 0] = [];

    fn filter(addresses: &[u8], topics: &[Vec<Word>]) -> LogFilter {
        let addresses = addresses.iter().map(|&byte| Bytes([byte; 20])).collect();
        LogFilter::new(addresses, topics.to_vec()).unwrap()
    }

    fn word(byte: u8) -> Word {
        Bytes([byte; 32])
    }

    fn params(filters: &[LogFilter]) -> Value {
        serde_json::from_str(&LogQuery::merge(filters.iter()).unwrap().params(word(7))).unwrap()
    }

    fn logs(count: u64, padding: usize) -> Vec<Log> {
        let log = |index| {
            json!({"address": Bytes([1; 20]), "topics": [word(2)], "logIndex": index,
                "removed": false, "data": "0".repeat(padding)})
        };
        let all: Vec<Value> = (0..count).map(log).collect();
        read(&serde_json::value::to_raw_value(&all).unwrap()).unwrap()
    }

    #[test]
    fn filters_merge_into_one_query() {
        let block = word(7);
        assert_eq!(LogQuery::merge([].iter()), None);
        assert_eq!(params(&[filter(&[], &NO_TOPICS)]), json!([{"blockHash": block}]));
        let a = filter(&[1, 2], &[vec![word(1)]]);
        let b = filter(&[2, 3], &[vec![word(2)], vec![word(9)]]);
        let addresses = [1, 2, 3].map(|byte| Bytes([byte; 20]));
        assert_eq!(
            params(&[a.clone(), b.clone()]),
            json!([{"blockHash": block, "address": addresses, "topics": [[word(1), word(2)]]}])
        );
        let everywhere = filter(&[], &[vec![word(1)]]);
        assert_eq!(
            params(&[a.clone(), everywhere]),
            json!([{"blockHash": block, "topics": [[word(1)]]}])
        );
        assert_eq!(
            params(&[a, b, filter(&[1], &NO_TOPICS)]),
            json!([{"blockHash": block, "address": addresses}])
        );
    }

    #[test]
    fn a_query_beyond_its_limit_asks_for_all_logs() {
        let many =
            |count: u8| (0..count).map(|byte| filter(&[byte], &NO_TOPICS)).collect::<Vec<_>>();
        assert!(params(&many(255))[0].get("address").is_some());
        let topics =
            (0..=NAMED_MAX as u64).map(|number| Word::parse(&format!("0x{number:064x}")).unwrap());
        let topics: Vec<Word> = topics.collect();
        let most = filter(&[], &[topics[1..].to_vec()]);
        assert!(params(&[most])[0].get("topics").is_some());
        let more = filter(&[], &[topics]);
        assert!(params(&[more])[0].get("topics").is_none());
    }

    #[test]
    fn announced_logs_are_removed_the_last_one_first() {
        let mut announced = AnnouncedLogs::default();
        announced.remember(word(1), logs(2, 0));
        announced.remember(word(2), logs(1, 0));
        let undone = announced.undo(word(1)).unwrap();
        let shown: Vec<Value> =
            undone.iter().map(|log| serde_json::from_str(log.json.get()).unwrap()).collect();
        let of = |name: &str| shown.iter().map(|log| log[name].clone()).collect::<Vec<_>>();
        assert_eq!(of("logIndex"), [1, 0]);
        assert_eq!(of("removed"), [true, true]);
        assert_eq!(undone[0].address, Bytes([1; 20]));
        assert!(announced.undo(word(1)).unwrap().is_empty(), "once");
        assert!(announced.undo(word(9)).unwrap().is_empty(), "its logs were not announced");
    }

    #[test]
    fn the_memory_of_logs_is_bounded() {
        let mut announced = AnnouncedLogs::default();
        announced.remember(word(1), logs(1, REMEMBERED_BYTES_MAX / 2));
        announced.remember(word(2), logs(1, REMEMBERED_BYTES_MAX / 2));
        assert!(announced.bytes <= REMEMBERED_BYTES_MAX);
        assert!(announced.undo(word(1)).is_none(), "its logs were dropped");
        assert!(announced.undo(word(2)).is_some());
        assert_eq!(announced.bytes, 0);
        for number in 0..=REMEMBERED_MAX {
            announced.remember(word(number as u8), logs(1, 0));
        }
        assert_eq!(announced.blocks.len(), REMEMBERED_MAX);
        assert_eq!(announced.bytes, REMEMBERED_MAX * bytes(&logs(1, 0)));
    }

    #[test]
    fn malformed_logs_are_rejected() {
        let array = format!(r#"[["{}",[]]]"#, Bytes([1; 20]));
        for text in ["null", "{}", "[1]", r#"[{"address":"0x1","topics":[]}]"#, &array] {
            assert!(read(&RawValue::from_string(text.to_owned()).unwrap()).is_none(), "{text}");
        }
    }

    #[test]
    fn no_more_filters_are_merged_than_a_query_can_name() {
        let filters: Vec<LogFilter> = (0..10_000_u32)
            .map(|number| {
                let mut address = Bytes([0; 20]);
                address.0[..4].copy_from_slice(&number.to_be_bytes());
                LogFilter::new(vec![address], Vec::new()).unwrap()
            })
            .collect();
        let mut seen = 0;
        let query = LogQuery::merge(filters.iter().inspect(|_| seen += 1)).unwrap();
        assert_eq!(query, LogQuery::default());
        assert!((NAMED_MAX..NAMED_MAX + 3).contains(&seen), "{seen}");
    }
}
