//! The text of JSON-RPC 2.0: reads the calls of clients and the answers of upstreams, writes replies.
//!
//! Knows no connection, no backend and no subscriber. Whatever a peer sent is borrowed or kept as the
//! bytes that it was, and checked against bounds before anything is collected from it.

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
