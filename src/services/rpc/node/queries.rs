//! Questions that need the store: read on the loop, answered on a thread beside it.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::backend::Outcome;
use super::super::filter::{FilterParams, LogFilter};
use super::super::hex::{Quantity, Word};
use super::super::object::Object;
use super::super::{Call, RpcError};
use super::pool::Pool;
use super::store::{Store, StoreError};

/// Blocks of one `eth_getLogs`.
const LOG_BLOCKS_MAX: u64 = 10_000;
/// Logs of one `eth_getLogs`, and their bytes.
pub(super) const LOGS_MAX: usize = 10_000;
pub(super) const LOG_BYTES_MAX: usize = 25_000_000;

/// What is asked of the store.
#[derive(Debug)]
pub(super) enum Query {
    Block { number: u64, full: bool },
    BlockByHash { hash: Word, full: bool },
    Transaction(Word),
    Logs { filter: LogFilter, numbers: RangeInclusive<u64> },
    LogsOfBlock { filter: LogFilter, hash: Word },
}

/// A block by number or name. Nothing here is final before or after anything else.
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

impl Query {
    /// Reads a call to one of the methods that need the store; `None` for any other method.
    pub(super) fn parse(call: &Call<'_>, head: u64) -> Result<Option<Query>, RpcError> {
        let missing = || RpcError::invalid_params("missing value for required argument 0");
        Ok(Some(match &*call.method {
            "eth_getBlockByNumber" => {
                let (id, full): (Option<String>, Option<bool>) = call.positional(2)?;
                let number = BlockId::parse(&id.ok_or_else(missing)?)?.number(head);
                Query::Block { number, full: full.unwrap_or(false) }
            }
            "eth_getBlockByHash" => {
                let (hash, full): (Option<Word>, Option<bool>) = call.positional(2)?;
                let hash = hash.ok_or_else(missing)?;
                Query::BlockByHash { hash, full: full.unwrap_or(false) }
            }
            "eth_getTransactionByHash" => {
                let (hash,): (Option<Word>,) = call.positional(1)?;
                Query::Transaction(hash.ok_or_else(missing)?)
            }
            "eth_getLogs" => {
                let (params,): (Option<Object<LogParams>>,) = call.positional(1)?;
                let Object(params) = params.ok_or_else(missing)?;
                logs(params, head)?
            }
            _ => return Ok(None),
        }))
    }

    /// The answer; `None` if what is asked for is not there.
    pub(super) fn answer(&self, store: &Store, pool: &Mutex<Pool>) -> Option<Outcome> {
        match self.look(store, pool) {
            Ok(found) => found.map(|json| {
                RawValue::from_string(json).map_err(|error| {
                    log::error!("an answer is no JSON: {error}");
                    RpcError::internal()
                })
            }),
            Err(Unanswered::Refused(error)) => Some(Err(error)),
            Err(Unanswered::Store(error)) => {
                log::error!("the store cannot be read: {error}");
                Some(Err(RpcError::internal()))
            }
        }
    }

    fn look(&self, store: &Store, pool: &Mutex<Pool>) -> Result<Option<String>, Unanswered> {
        Ok(match self {
            Query::Block { number, full } => store.block(*number)?.map(|block| block.block(*full)),
            Query::BlockByHash { hash, full } => match store.number(*hash)? {
                Some(number) => store.block(number)?.map(|block| block.block(*full)),
                None => None,
            },
            Query::Transaction(hash) => match store.transaction(*hash)? {
                Some((block, index)) => {
                    block.transactions.get(index).map(|found| found.json.get().to_owned())
                }
                None => Pool::of(pool).find(*hash).map(|found| found.get().to_owned()),
            },
            Query::Logs { filter, numbers } => match store.first_number()? {
                Some(first) if first <= *numbers.start() => {
                    Some(matching(store, filter, numbers.clone())?)
                }
                _ => None,
            },
            Query::LogsOfBlock { filter, hash } => match store.number(*hash)? {
                Some(number) => Some(matching(store, filter, number..=number)?),
                None => None,
            },
        })
    }
}

/// Why there is no answer.
enum Unanswered {
    Store(StoreError),
    Refused(RpcError),
}

impl From<StoreError> for Unanswered {
    fn from(error: StoreError) -> Unanswered {
        Unanswered::Store(error)
    }
}

fn logs(params: LogParams, head: u64) -> Result<Query, RpcError> {
    let LogParams { from_block, to_block, block_hash, filter } = params;
    let filter = LogFilter::try_from(filter).map_err(RpcError::invalid_params)?;
    if let Some(hash) = block_hash {
        if from_block.is_some() || to_block.is_some() {
            let both = "cannot specify both blockHash and fromBlock/toBlock";
            return Err(RpcError::invalid_params(both));
        }
        return Ok(Query::LogsOfBlock { filter, hash });
    }
    let number = |id: Option<String>| match id {
        Some(id) => BlockId::parse(&id).map(|id| id.number(head)),
        None => Ok(head),
    };
    let (from, to) = (number(from_block)?, number(to_block)?.min(head));
    if to.saturating_sub(from) >= LOG_BLOCKS_MAX {
        return Err(RpcError::limit("query exceeds 10000 blocks"));
    }
    Ok(Query::Logs { filter, numbers: from..=to })
}

/// The logs of these blocks that match, as a JSON array.
fn matching(
    store: &Store,
    filter: &LogFilter,
    numbers: RangeInclusive<u64>,
) -> Result<String, Unanswered> {
    let mut out = "[".to_owned();
    let mut count = 0;
    let mut refusal = None;
    store.scan(numbers, |block| {
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
        Some(error) => Err(Unanswered::Refused(error)),
        None => {
            out.push(']');
            Ok(out)
        }
    }
}

/// What the threads of a node share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) store: Arc<Store>,
    pub(super) pool: Arc<Mutex<Pool>>,
}
