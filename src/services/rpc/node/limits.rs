//! Limits of blocks and of answers. A block must fit into one answer: a follower asks for a block and for its
//! logs with one call each.

/// Blocks of one `eth_getLogs`.
pub(super) const LOG_BLOCKS_MAX: u64 = 10_000;
/// Logs of one `eth_getLogs`, and their bytes.
pub(super) const LOGS_MAX: usize = 10_000;
pub(super) const LOG_BYTES_MAX: usize = 25_000_000;

/// Transactions, logs and bytes of one block: no more than one answer can tell, for a follower asks for a
/// block and for its logs with one call each. As JSON a transaction has 700 bytes and twice its own, a log
/// up to 700 and its data.
pub(super) const BLOCK_TRANSACTIONS_MAX: usize = 1000;
pub(super) const BLOCK_LOGS_MAX: usize = 10_000;
pub(super) const BLOCK_BYTES_MAX: usize = 8 * 1024 * 1024;

const _: () = assert!(BLOCK_LOGS_MAX <= LOGS_MAX);
const _: () = assert!(700 * BLOCK_TRANSACTIONS_MAX + 2 * BLOCK_BYTES_MAX < LOG_BYTES_MAX);
const _: () = assert!(700 * BLOCK_LOGS_MAX + BLOCK_BYTES_MAX < LOG_BYTES_MAX);
