//! Calls that the store answers: parsed on the loop, answered on a thread.
//!
//! A follower's store ends at its own head, which is `latest`, and need not start with the first
//! block. Only the leader knows blocks outside the store and unknown hashes. The answer about them
//! is [`StoreAnswer::Unknown`], never an empty result.

use std::ops::RangeInclusive;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::limits::{LOG_BLOCKS_MAX, LOG_BYTES_MAX, LOGS_MAX};
use super::mempool::Mempool;
use super::record::Anchor;
use super::shared::Shared;
use super::store::{Snapshot, StoreError};
use crate::services::rpc::filter::{FilterParams, LogFilter};
use crate::services::rpc::wire::answer::Outcome;
use crate::services::rpc::wire::error::RpcError;
use crate::services::rpc::wire::hex::{Quantity, Word};
use crate::services::rpc::wire::object::Object;
use crate::services::rpc::wire::request::Call;

/// A query of the store.
#[derive(Debug)]
pub(super) enum StoreQuery {
    Block { number: u64, full: bool },
    BlockByHash { hash: Word, full: bool },
    Transaction(Word),
    Logs { filter: LogFilter, range: LogRange },
    LogsOfBlock { filter: LogFilter, hash: Word },
}

/// The blocks of an `eth_getLogs`, both ends included. Invariant: `from` is above `to` only if `to`
/// is the node's head, given by name.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogRange {
    from: u64,
    to: u64,
}

/// The answer of the store.
#[derive(Debug)]
pub(super) enum StoreAnswer {
    Known(Outcome),
    /// The leader may have the answer. It counts if the leader's chain has this block, the store's
    /// last one.
    Unknown(Option<Anchor>),
}

/// A block by number or name. All names but `earliest` mean the head: every block is final at once.
#[derive(Debug, Clone, Copy)]
enum BlockId {
    Number(u64),
    Earliest,
    Latest,
}

impl BlockId {
    fn parse(text: &str) -> Result<BlockId, RpcError> {
        match text {
            "earliest" => Ok(BlockId::Earliest),
            "latest" | "pending" | "safe" | "finalized" => Ok(BlockId::Latest),
            _ => match Quantity::parse(text) {
                Ok(Quantity(number)) => Ok(BlockId::Number(number)),
                Err(error) => Err(RpcError::invalid_params(error.to_string())),
            },
        }
    }

    fn number(self, head: u64) -> u64 {
        match self {
            BlockId::Number(number) => number,
            BlockId::Earliest => 0,
            BlockId::Latest => head,
        }
    }
}

/// The parameter of `eth_getLogs`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogParams {
    from_block: Option<String>,
    to_block: Option<String>,
    block_hash: Option<Word>,
    #[serde(flatten)]
    filter: FilterParams,
}

impl StoreQuery {
    /// Parses a call; `None` if the store does not answer its method.
    pub(super) fn parse(call: &Call<'_>, head: u64) -> Result<Option<StoreQuery>, RpcError> {
        let missing = || RpcError::invalid_params("missing value for required argument 0");
        Ok(Some(match &*call.method {
            "eth_getBlockByNumber" => {
                let (id, full): (Option<String>, Option<bool>) = call.positional(2)?;
                let number = BlockId::parse(&id.ok_or_else(missing)?)?.number(head);
                StoreQuery::Block { number, full: full.unwrap_or(false) }
            }
            "eth_getBlockByHash" => {
                let (hash, full): (Option<Word>, Option<bool>) = call.positional(2)?;
                let hash = hash.ok_or_else(missing)?;
                StoreQuery::BlockByHash { hash, full: full.unwrap_or(false) }
            }
            "eth_getTransactionByHash" => {
                let (hash,): (Option<Word>,) = call.positional(1)?;
                StoreQuery::Transaction(hash.ok_or_else(missing)?)
            }
            "eth_getLogs" => {
                let (params,): (Option<Object<LogParams>>,) = call.positional(1)?;
                let Object(params) = params.ok_or_else(missing)?;
                logs(params, head)?
            }
            _ => return Ok(None),
        }))
    }

    /// The answer. The store `may_lack` blocks only at a follower: a leader's store has all blocks.
    pub(super) fn answer(&self, shared: &Shared, may_lack: bool) -> StoreAnswer {
        match self.look(shared, may_lack) {
            Ok(answer) => answer,
            Err(QueryError::Rpc(error)) => StoreAnswer::Known(Err(error)),
            Err(QueryError::Store(error)) => {
                // The thread that ends an outage logs it, once.
                let is_outage = matches!(error, StoreError::Closed | StoreError::Failed);
                let level = if is_outage { log::Level::Debug } else { log::Level::Error };
                log::log!(level, "the store cannot be read: {error}");
                StoreAnswer::Known(Err(RpcError::server("the store cannot be read")))
            }
        }
    }

    fn look(&self, shared: &Shared, may_lack: bool) -> Result<StoreAnswer, QueryError> {
        let snapshot = shared.store.read()?;
        let found = match self {
            StoreQuery::Block { number, full } => {
                snapshot.block(*number)?.map(|block| block.block(*full))
            }
            StoreQuery::BlockByHash { hash, full } => {
                snapshot.block_by_hash(*hash)?.map(|block| block.block(*full))
            }
            StoreQuery::Transaction(hash) => match snapshot.transaction(*hash)? {
                Some((block, index)) => {
                    block.transactions.get(index).map(|found| found.json.get().to_owned())
                }
                None => {
                    Mempool::lock(&shared.mempool).find(*hash).map(|found| found.get().to_owned())
                }
            },
            StoreQuery::Logs { filter, range } => match snapshot.numbers()? {
                Some(stored) if !may_lack || range.is_within(&stored) => {
                    Some(matching(&snapshot, filter, range.stored(*stored.end())?)?)
                }
                _ => None,
            },
            StoreQuery::LogsOfBlock { filter, hash } => match snapshot.block_by_hash(*hash)? {
                Some(block) => Some(matching(&snapshot, filter, block.number..=block.number)?),
                None => None,
            },
        };
        match found {
            Some(json) => {
                let json = RawValue::from_string(json).map_err(|error| {
                    log::error!("an answer is not JSON: {error}");
                    QueryError::Rpc(RpcError::internal())
                })?;
                Ok(StoreAnswer::Known(Ok(json)))
            }
            None if may_lack => {
                Ok(StoreAnswer::Unknown(snapshot.last()?.map(|head| head.anchor())))
            }
            None => Ok(StoreAnswer::Known(self.absent())),
        }
    }

    /// The answer if the block or transaction does not exist.
    fn absent(&self) -> Outcome {
        match self {
            StoreQuery::LogsOfBlock { .. } => Err(RpcError::server("unknown block")),
            StoreQuery::Block { .. }
            | StoreQuery::BlockByHash { .. }
            | StoreQuery::Transaction(_)
            | StoreQuery::Logs { .. } => Ok(RawValue::NULL.to_owned()),
        }
    }

    /// The parameters for the leader, whose `latest` can differ, instead of those that the client
    /// sent; `None` if they need no change.
    pub(super) fn leader_params(&self, sent: &str) -> Option<String> {
        let StoreQuery::Logs { range, .. } = self else {
            return None;
        };
        let mut params: Vec<Map<String, Value>> = serde_json::from_str(sent).ok()?;
        let filter = params.first_mut()?;
        filter.insert("fromBlock".to_owned(), Value::from(Quantity(range.from).to_string()));
        if range.from <= range.to {
            filter.insert("toBlock".to_owned(), Value::from(Quantity(range.to).to_string()));
        }
        serde_json::to_string(&params).ok()
    }
}

impl LogRange {
    fn is_within(self, stored: &RangeInclusive<u64>) -> bool {
        stored.contains(&self.from) && stored.contains(&self.to)
    }

    /// The blocks of the range that exist, if the last block is `last`.
    fn stored(self, last: u64) -> Result<RangeInclusive<u64>, RpcError> {
        let to = self.to.min(last);
        if to.saturating_sub(self.from) >= LOG_BLOCKS_MAX {
            return Err(RpcError::limit("query exceeds 10000 blocks"));
        }
        Ok(self.from..=to)
    }
}

/// A query without an answer.
enum QueryError {
    Store(StoreError),
    Rpc(RpcError),
}

impl From<StoreError> for QueryError {
    fn from(error: StoreError) -> QueryError {
        QueryError::Store(error)
    }
}

impl From<RpcError> for QueryError {
    fn from(error: RpcError) -> QueryError {
        QueryError::Rpc(error)
    }
}

fn logs(params: LogParams, head: u64) -> Result<StoreQuery, RpcError> {
    let LogParams { from_block, to_block, block_hash, filter } = params;
    let filter = LogFilter::try_from(filter).map_err(RpcError::invalid_params)?;
    if let Some(hash) = block_hash {
        if from_block.is_some() || to_block.is_some() {
            let both = "cannot specify both blockHash and fromBlock/toBlock";
            return Err(RpcError::invalid_params(both));
        }
        return Ok(StoreQuery::LogsOfBlock { filter, hash });
    }
    let id = |id: Option<String>| id.map_or(Ok(BlockId::Latest), |id| BlockId::parse(&id));
    let (from, to) = (id(from_block)?.number(head), id(to_block)?);
    let range = LogRange { from, to: to.number(head) };
    // A range from the next block to `latest` is valid and still empty: clients poll with it.
    if range.from > range.to && !matches!(to, BlockId::Latest) {
        return Err(RpcError::invalid_params("invalid block range params"));
    }
    Ok(StoreQuery::Logs { filter, range })
}

/// The matching logs of these blocks, as a JSON array.
fn matching(
    snapshot: &Snapshot,
    filter: &LogFilter,
    numbers: RangeInclusive<u64>,
) -> Result<String, QueryError> {
    let mut out = "[".to_owned();
    let mut count = 0;
    let mut refusal = None;
    snapshot.scan(numbers, |block| {
        for log in block.logs.iter().filter(|log| filter.matches(&log.address, &log.topics)) {
            if count > 0 {
                out.push(',');
            }
            count += 1;
            out += log.json.get();
        }
        if count > LOGS_MAX {
            refusal = Some(RpcError::limit("query returned more than 10000 results"));
        } else if out.len() > LOG_BYTES_MAX {
            refusal = Some(RpcError::too_large());
        }
        refusal.is_none()
    })?;
    match refusal {
        Some(error) => Err(QueryError::Rpc(error)),
        None => {
            out.push(']');
            Ok(out)
        }
    }
}
