//! The `rpc` service: JSON-RPC over WebSocket and HTTP, valid and malformed.

mod answers;
mod calls;
mod chunked;
mod cors;
mod http;
mod limits;
mod malformed;
pub mod scripted;
mod slow;
mod subscriptions;

pub use scripted::{call, json};
