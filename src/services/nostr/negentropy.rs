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

pub(super) use error::SessionError;
pub(super) use job::{NegentropyDone, NegentropyJob};
pub(super) use limits::NegentropyLimits;
pub(super) use sessions::{Reply, Sessions};
