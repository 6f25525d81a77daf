//! The mempool: transactions that wait for a block. A known transaction is rejected. Their number
//! and their bytes are bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;

use super::limits::{BLOCK_BYTES_MAX, BLOCK_LOGS_MAX, BLOCK_TRANSACTIONS_MAX};
use super::record::Transaction;
use crate::services::rpc::wire::error::RpcError;
use crate::services::rpc::wire::hex::Word;

/// Transactions in the mempool.
const TRANSACTIONS_MAX: usize = 4096;
/// Bytes of all transactions in the mempool.
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// The transactions that wait for a block, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Mempool {
    waiting: VecDeque<Transaction>,
    by_hash: HashMap<Word, Box<RawValue>>,
    /// Invariant: the bytes of all `waiting` transactions.
    bytes: usize,
}

impl Mempool {
    /// Locks a mempool. A thread that panicked with the lock has left it consistent: no method
    /// panics between two changes.
    pub(super) fn lock(mempool: &Mutex<Mempool>) -> MutexGuard<'_, Mempool> {
        mempool.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// The transactions of the next block. They stay until they are [removed](Mempool::remove).
    pub(super) fn next(&self) -> Vec<Transaction> {
        let (mut logs, mut bytes) = (0, 0);
        let fits = |transaction: &&Transaction| {
            logs += transaction.logs.len();
            bytes += bytes_of(transaction);
            logs <= BLOCK_LOGS_MAX && bytes <= BLOCK_BYTES_MAX
        };
        self.waiting.iter().take(BLOCK_TRANSACTIONS_MAX).take_while(fits).cloned().collect()
    }

    /// Removes the `count` oldest transactions, which are in a block now.
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
