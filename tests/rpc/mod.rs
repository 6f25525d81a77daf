//! The `rpc` service: JSON-RPC as clients of the field speak it, and as they should not.

mod answers;
mod chunked;
mod cors;
mod http;
mod limits;
mod malformed;
pub mod scripted;
mod slow;
mod subscriptions;

pub use scripted::{call, json};
