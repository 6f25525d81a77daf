//! The state of one connection, and what follows from it. No file here has an effect on the loop.

pub(super) mod batch;
pub(super) mod connection;
pub(super) mod heartbeat;
pub(super) mod interest;
pub(super) mod outbox;
pub(super) mod outboxes;
pub(super) mod pause;
pub(super) mod table;
#[cfg(feature = "deflate")]
pub(super) mod windows;
