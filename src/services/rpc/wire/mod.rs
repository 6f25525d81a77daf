//! The text of JSON-RPC 2.0: reads the calls of clients and the answers of upstreams, writes
//! replies.
//!
//! Knows no connection, backend or subscriber. Ids, parameters and results stay the bytes that a
//! peer sent. What is collected from a message is bounded.

pub(super) mod answer;
pub(super) mod error;
pub(super) mod filling;
pub(super) mod hex;
pub(super) mod method;
pub(super) mod object;
pub(super) mod reply;
pub(super) mod request;
pub(super) mod subscription;
pub(super) mod upstream_request;
