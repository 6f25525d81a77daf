//! Constants that several parts of a node share.
//!
//! A block must fit into one answer: a follower fetches a block with one call, and its logs with
//! another.

use std::time::Duration;

/// Bounds of the pauses of a follower whose leader does not answer, and of a leader that cannot
/// write its store.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(100);
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Blocks of one `eth_getLogs`.
pub(super) const LOG_BLOCKS_MAX: u64 = 10_000;
/// Logs of one `eth_getLogs`, and their bytes.
pub(super) const LOGS_MAX: usize = 10_000;
pub(super) const LOG_BYTES_MAX: usize = 25_000_000;

/// Transactions, logs and bytes of one block. As JSON a transaction has 700 bytes and twice its
/// own; a log has up to 700 bytes and its data.
pub(super) const BLOCK_TRANSACTIONS_MAX: usize = 1000;
pub(super) const BLOCK_LOGS_MAX: usize = 10_000;
pub(super) const BLOCK_BYTES_MAX: usize = 8 * 1024 * 1024;

const _: () = assert!(BLOCK_LOGS_MAX <= LOGS_MAX);
const _: () = assert!(700 * BLOCK_TRANSACTIONS_MAX + 2 * BLOCK_BYTES_MAX < LOG_BYTES_MAX);
const _: () = assert!(700 * BLOCK_LOGS_MAX + BLOCK_BYTES_MAX < LOG_BYTES_MAX);
