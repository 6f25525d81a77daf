//! Answers of calls, and how their results get into replies: copied into one, or shared by several.

use std::sync::Arc;

use super::answer::Outcome;
use super::error::RpcError;

/// Several replies share a result of at least this size: a copy of a smaller one costs less.
pub(crate) const SHARED_BYTES_MIN: usize = 4 * 1024;

/// The answer to one or more calls.
#[derive(Debug)]
pub(crate) enum CallAnswer {
    Own(Outcome),
    /// A result that several replies share, in the buffer that it came in.
    Shared(Arc<Box<[u8]>>),
}

impl CallAnswer {
    /// The answer to this number of calls.
    pub(crate) fn new(outcome: Outcome, calls: usize) -> CallAnswer {
        match outcome {
            Ok(result) if calls > 1 && result.get().len() >= SHARED_BYTES_MIN => {
                CallAnswer::Shared(Arc::new(Box::<str>::from(result).into_boxed_bytes()))
            }
            outcome => CallAnswer::Own(outcome),
        }
    }

    pub(crate) fn filling(&self) -> Result<Filling<'_>, &RpcError> {
        match self {
            CallAnswer::Own(outcome) => {
                outcome.as_ref().map(|result| Filling::Copied(result.get()))
            }
            CallAnswer::Shared(result) => Ok(Filling::Shared(result)),
        }
    }
}

/// A result that fills a placeholder, as JSON.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Filling<'a> {
    Copied(&'a str),
    /// Shared with other replies.
    Shared(&'a Arc<Box<[u8]>>),
}

impl Filling<'_> {
    pub(crate) fn len(self) -> usize {
        match self {
            Filling::Copied(text) => text.len(),
            Filling::Shared(bytes) => bytes.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn a_large_result_is_shared_without_a_copy() {
        let raw = RawValue::from_string(format!("\"{}\"", "x".repeat(SHARED_BYTES_MIN))).unwrap();
        let address = raw.get().as_ptr();
        let CallAnswer::Shared(result) = CallAnswer::new(Ok(raw), 2) else {
            panic!("the result is copied into each reply");
        };
        assert_eq!(result.as_ptr(), address);
    }
}
