//! Calls to another node by HTTP POST. Blocks, so it belongs on a thread.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::record::Anchor;
use crate::services::rpc::wire::answer::{Incoming, Malformed, Outcome, posted_answer};
use crate::services::rpc::wire::error::RpcError;
use crate::services::rpc::wire::hex::{Quantity, Word};
use crate::services::rpc::wire::object::Object;
use crate::services::rpc::wire::upstream_request::request;
use crate::upstream::http::{HttpClient, HttpError, HttpFailure};
use crate::upstream::url::UpstreamUrl;

/// From the first byte to the last; past it -32002.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Another node.
#[derive(Debug, Clone)]
pub(super) struct Upstream {
    client: HttpClient,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    Http(HttpError),
    /// Not 2xx; redirects are not followed.
    Status(u16),
    /// Something else than an answer came.
    Malformed,
    /// The leader's chain does not have the block that this node's chain ends with.
    Unanchored,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unanswered::Http(error) => error.fmt(f),
            Unanswered::Status(status) => write!(f, "the answer's HTTP status is {status}"),
            Unanswered::Malformed => f.write_str("the answer is malformed"),
            Unanswered::Unanchored => f.write_str("the leader does not have this node's head"),
        }
    }
}

impl From<Malformed> for Unanswered {
    fn from(_: Malformed) -> Unanswered {
        Unanswered::Malformed
    }
}

impl From<Unanswered> for RpcError {
    fn from(error: Unanswered) -> RpcError {
        match error {
            Unanswered::Http(error) => match error.failure() {
                HttpFailure::TimedOut => RpcError::timed_out(),
                _ => RpcError::server("the leader cannot be reached"),
            },
            Unanswered::Status(status) => {
                RpcError::server(format!("the leader's answer has HTTP status {status}"))
            }
            Unanswered::Malformed => RpcError::server("the leader's answer is malformed"),
            Unanswered::Unanchored => RpcError::server("the leader does not have this node's head"),
        }
    }
}

/// What of a block shows which one it is.
#[derive(Deserialize)]
struct Named {
    hash: Word,
}

/// Ids of the calls of one request.
const CALL_ID: u64 = 1;
const ANCHOR_ID: u64 = 2;

impl Upstream {
    /// A client that makes up to `calls_max` calls at a time.
    pub(super) fn new(url: &UpstreamUrl, calls_max: usize) -> Upstream {
        Upstream { client: HttpClient::new(url, None, calls_max) }
    }

    pub(super) fn url(&self) -> &UpstreamUrl {
        self.client.url()
    }

    /// One call; `params` is JSON.
    pub(super) fn call(&self, method: &str, params: &str) -> Result<Outcome, Unanswered> {
        let text = self.post(&request(CALL_ID, method, params))?;
        Ok(posted_answer(CALL_ID, &text).ok_or(Unanswered::Malformed)??)
    }

    /// One call to an upstream that must have the `anchor`, asked for in the same request: an answer from
    /// another chain, or from one that ends before this node's, is none.
    pub(super) fn call_on(
        &self,
        anchor: Anchor,
        method: &str,
        params: &str,
    ) -> Result<Outcome, Unanswered> {
        let block = format!(r#"["{}",false]"#, Quantity(anchor.number));
        let block = request(ANCHOR_ID, "eth_getBlockByNumber", &block);
        let call = request(CALL_ID, method, params);
        let text = self.post(&format!("[{block},{call}]"))?;
        let Ok(answers) = serde_json::from_str::<Vec<&RawValue>>(&text) else {
            // The leader may refuse the whole request, by one error.
            return match Incoming::parse(&text) {
                Some(Incoming::Answer(_, Ok(Err(error)))) => Ok(Err(error)),
                _ => Err(Unanswered::Malformed),
            };
        };
        let find = |id| -> Result<Outcome, Unanswered> {
            let mut found =
                answers.iter().filter_map(|text| Incoming::parse(text.get())?.answer_to(id));
            Ok(found.next().ok_or(Unanswered::Malformed)??)
        };
        let (block, outcome) = (find(ANCHOR_ID)?, find(CALL_ID)?);
        match block.map(|block| serde_json::from_str::<Option<Object<Named>>>(block.get())) {
            Ok(Ok(Some(Object(named)))) if named.hash == anchor.hash => Ok(outcome),
            Ok(Ok(_)) => Err(Unanswered::Unanchored),
            Ok(Err(_)) => Err(Unanswered::Malformed),
            Err(error) => Ok(Err(error)),
        }
    }

    fn post(&self, text: &str) -> Result<String, Unanswered> {
        let answer = self.client.post(text, TIMEOUT).map_err(Unanswered::Http)?;
        if !(200..=299).contains(&answer.status()) {
            return Err(Unanswered::Status(answer.status()));
        }
        let text = answer.read(ANSWER_BYTES_MAX).map_err(Unanswered::Http)?;
        String::from_utf8(text).map_err(|_| Unanswered::Malformed)
    }
}
