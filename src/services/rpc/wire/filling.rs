//! Results on their way into replies: copied into one, or shared by several.

use std::sync::Arc;

use super::answer::Outcome;
use super::error::RpcError;

/// Bytes of a result from which on several replies share it: below, a copy costs less.
pub(crate) const SHARED_BYTES_MIN: usize = 4 * 1024;

/// What calls are answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Own(Outcome),
    /// A result that several replies share.
    Shared(Arc<[u8]>),
}

impl Answer {
    /// For so many calls.
    pub(crate) fn new(outcome: Outcome, calls: usize) -> Answer {
        match outcome {
            Ok(result) if calls > 1 && result.get().len() >= SHARED_BYTES_MIN => {
                Answer::Shared(Box::<str>::from(result).into_boxed_bytes().into())
            }
            outcome => Answer::Own(outcome),
        }
    }

    pub(crate) fn filling(&self) -> Result<Filling<'_>, &RpcError> {
        match self {
            Answer::Own(outcome) => outcome.as_ref().map(|result| Filling::Copied(result.get())),
            Answer::Shared(result) => Ok(Filling::Shared(result)),
        }
    }
}

/// A result, as JSON.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Filling<'a> {
    Copied(&'a str),
    /// Other replies have it, too.
    Shared(&'a Arc<[u8]>),
}

impl Filling<'_> {
    pub(crate) fn len(self) -> usize {
        match self {
            Filling::Copied(text) => text.len(),
            Filling::Shared(bytes) => bytes.len(),
        }
    }
}
