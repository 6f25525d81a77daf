//! Commands to the leader's thread: parsed on the loop, carried out on the thread.

use rand::TryRng;
use rand::rngs::SysRng;

use super::limits::BLOCK_LOGS_MAX;
use super::record::{Emitted, Transaction};
use crate::services::rpc::backend::Ticket;
use crate::services::rpc::filter::TOPICS_MAX;
use crate::services::rpc::wire::error::RpcError;
use crate::services::rpc::wire::object::Object;
use crate::services::rpc::wire::request::Call;

/// Blocks of one `weir_mine`.
const MINE_MAX: u64 = 1000;
/// Bytes of a transaction, the same limit as geth's.
const TRANSACTION_BYTES_MAX: usize = 128 * 1024;

/// A command to the leader's thread.
#[derive(Debug)]
pub(super) enum Command {
    /// Add a transaction to the mempool.
    Send(Ticket, Transaction),
    /// Make this number of blocks now.
    Mine(Ticket, u64),
}

impl Command {
    /// Parses a call.
    ///
    /// # Errors
    /// -32601: the method is not a command. -32602 or -32000: the parameters are invalid.
    pub(super) fn parse(ticket: Ticket, call: &Call<'_>) -> Result<Command, RpcError> {
        match &*call.method {
            "eth_sendRawTransaction" => {
                let (data,): (Option<String>,) = call.positional(1)?;
                let data = data.ok_or_else(|| RpcError::invalid_params("missing transaction"))?;
                Ok(Command::Send(ticket, Transaction::new(bytes(&data)?, Vec::new())))
            }
            "weir_emit" => {
                let (logs,): (Option<Vec<Object<Emitted>>>,) = call.positional(1)?;
                let logs = logs.unwrap_or_default().into_iter().map(|Object(log)| log);
                Ok(Command::Send(ticket, emit(logs.collect())?))
            }
            "weir_mine" => {
                let (count,): (Option<u64>,) = call.positional(1)?;
                match count.unwrap_or(1) {
                    count @ 1..=MINE_MAX => Ok(Command::Mine(ticket, count)),
                    _ => {
                        Err(RpcError::invalid_params("expected a number of blocks from 1 to 1000"))
                    }
                }
            }
            other => Err(RpcError::unknown_method(other)),
        }
    }
}

/// The bytes of a transaction in hexadecimal digits.
fn bytes(data: &str) -> Result<Vec<u8>, RpcError> {
    let digits = data.strip_prefix("0x").unwrap_or_default();
    if digits.len() > 2 * TRANSACTION_BYTES_MAX {
        return Err(RpcError::server("oversized data"));
    }
    let bytes = hex::decode(digits).unwrap_or_default();
    if bytes.is_empty() {
        return Err(RpcError::invalid_params("a transaction must be 0x and whole bytes"));
    }
    Ok(bytes)
}

/// A unique transaction that emits these logs.
fn emit(logs: Vec<Emitted>) -> Result<Transaction, RpcError> {
    for log in &logs {
        let digits = log.data.strip_prefix("0x").map(hex::decode);
        if log.topics.len() > TOPICS_MAX || !matches!(digits, Some(Ok(_))) {
            return Err(RpcError::invalid_params(
                "a log must have at most four topics, and data in hexadecimal",
            ));
        }
    }
    if logs.len() > BLOCK_LOGS_MAX {
        return Err(RpcError::invalid_params("a transaction emits at most 10000 logs"));
    }
    let mut nonce = vec![0; 16];
    SysRng.try_fill_bytes(&mut nonce).map_err(|_| RpcError::internal())?;
    Ok(Transaction::new(nonce, logs))
}
