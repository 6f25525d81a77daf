//! Mail from the threads of a node to its service.

use serde_json::value::RawValue;

use super::record::Record;
use super::status::NodeState;
use crate::services::rpc::backend::Ticket;
use crate::services::rpc::wire::answer::Outcome;

/// Mail from a thread.
#[derive(Debug)]
pub(super) enum NodeMail {
    Answer(Ticket, Outcome),
    /// A new block is on disk.
    Block(Box<Record>),
    /// A transaction is in the mempool.
    Pending {
        hash: Box<RawValue>,
        full: Box<RawValue>,
    },
    /// The number of the leader's head.
    LeaderHead(u64),
    /// The state of the node has changed.
    State(NodeState),
}
