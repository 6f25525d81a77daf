//! Mail from the threads of a gateway to its service.

use super::failure::Failure;
use super::requests::AttemptId;
use crate::services::rpc::wire::answer::Outcome;
use crate::upstream::resolve::Addresses;

/// Mail from a thread.
#[derive(Debug)]
pub(super) enum Mail {
    /// The outcome of an attempt by HTTP.
    Answer { id: AttemptId, outcome: Result<Outcome, Failure> },
    /// The addresses of an upstream's host.
    Resolved { upstream: usize, addresses: Addresses },
}
