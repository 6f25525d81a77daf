//! Transactions that wait for their block. Those that are known are not taken twice; how many wait is
//! bounded by their number and their bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;

use super::limits::{BLOCK_BYTES_MAX, BLOCK_LOGS_MAX, BLOCK_TRANSACTIONS_MAX};
use super::record::Transaction;
use crate::services::rpc::wire::error::RpcError;
use crate::services::rpc::wire::hex::Word;

/// Transactions that wait.
const TRANSACTIONS_MAX: usize = 4096;
/// Bytes of all of them.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// The transactions that wait, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Pool {
    waiting: VecDeque<Transaction>,
    by_hash: HashMap<Word, Box<RawValue>>,
    bytes: usize,
}

impl Pool {
    /// The pool behind its lock; a thread that died with it has left it whole.
    pub(super) fn of(pool: &Mutex<Pool>) -> MutexGuard<'_, Pool> {
        pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(
        &mut self,
        transaction: Transaction,
        json: Box<RawValue>,
    ) -> Result<(), RpcError> {
        if self.by_hash.contains_key(&transaction.hash) {
            return Err(RpcError::server("already known"));
        }
        let bytes = bytes_of(&transaction);
        if bytes > BLOCK_BYTES_MAX {
            return Err(RpcError::server("oversized data"));
        }
        if self.waiting.len() >= TRANSACTIONS_MAX || self.bytes + bytes > BYTES_MAX {
            return Err(RpcError::server("txpool is full"));
        }
        self.bytes += bytes;
        self.by_hash.insert(transaction.hash, json);
        self.waiting.push_back(transaction);
        Ok(())
    }

    /// Those for the next block. They wait until that is [done](Pool::remove).
    pub(super) fn next(&self) -> Vec<Transaction> {
        let (mut logs, mut bytes) = (0, 0);
        let fits = |transaction: &&Transaction| {
            logs += transaction.logs.len();
            bytes += bytes_of(transaction);
            logs <= BLOCK_LOGS_MAX && bytes <= BLOCK_BYTES_MAX
        };
        self.waiting.iter().take(BLOCK_TRANSACTIONS_MAX).take_while(fits).cloned().collect()
    }

    /// Takes out the oldest so many: they are in a block.
    pub(super) fn remove(&mut self, count: usize) {
        for transaction in self.waiting.drain(..count.min(self.waiting.len())) {
            self.bytes -= bytes_of(&transaction);
            self.by_hash.remove(&transaction.hash);
        }
    }

    pub(super) fn find(&self, hash: Word) -> Option<&RawValue> {
        self.by_hash.get(&hash).map(|json| &**json)
    }
}

fn bytes_of(transaction: &Transaction) -> usize {
    let logs = transaction.logs.iter().map(|log| 20 + 32 * log.topics.len() + log.data.len());
    transaction.raw.len() + logs.sum::<usize>()
}
