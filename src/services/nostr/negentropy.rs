//! Negentropy (NIP-77): range-based set reconciliation with a client or another relay.
//!
//! NEG-OPEN makes a [`NegentropyJob`], which collects time and id of the events on the threads that scan
//! and computes the first reply there. [`Sessions`] keeps the list for the messages that follow. It
//! belongs to the loop and knows no store: each message becomes a job again.

mod error;
mod items;
mod job;
mod limits;
mod sessions;
#[cfg(test)]
mod tests;

pub use error::SessionError;
pub use items::Items;
pub use job::{NegentropyDone, NegentropyJob, REPLY_BYTES_MAX, SessionId};
pub use limits::NegentropyLimits;
pub use sessions::{Reply, Sessions};
