//! Transactions that wait for their block. Those that are known are not taken twice; how many wait is
//! bounded by their number and their bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;

use super::super::RpcError;
use super::super::hex::Word;
use super::record::Transaction;

/// Transactions that wait.
const TRANSACTIONS_MAX: usize = 4096;
/// Bytes of all of them.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// Transactions of one block.
const BLOCK_MAX: usize = 1000;

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
        self.waiting.iter().take(BLOCK_MAX).cloned().collect()
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
    let logs = transaction.logs.iter().map(|log| log.data.len() + 32 * log.topics.len());
    transaction.raw.len() + logs.sum::<usize>()
}
