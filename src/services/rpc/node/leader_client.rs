//! Calls to the leader by HTTP POST. They block, so they are made on threads.

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

/// Timeout of a call, from connecting to the last byte of its answer; then it gets -32002.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Ids of the calls of one request.
const CALL_ID: u64 = 1;
const ANCHOR_ID: u64 = 2;

/// The client of a follower's leader. Clones share its connections.
#[derive(Debug, Clone)]
pub(super) struct LeaderClient(HttpClient);

/// A call without a usable answer.
#[derive(Debug)]
pub(super) enum LeaderError {
    Http(HttpError),
    /// The status is not 2xx; redirects are not followed.
    Status(u16),
    /// The text is not an answer.
    Malformed,
    /// The leader's chain does not have this node's head.
    NoAnchor,
}

impl fmt::Display for LeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeaderError::Http(error) => error.fmt(f),
            LeaderError::Status(status) => write!(f, "the answer's HTTP status is {status}"),
            LeaderError::Malformed => f.write_str("the answer is malformed"),
            LeaderError::NoAnchor => f.write_str("the leader does not have this node's head"),
        }
    }
}

impl From<Malformed> for LeaderError {
    fn from(_: Malformed) -> LeaderError {
        LeaderError::Malformed
    }
}

impl From<LeaderError> for RpcError {
    fn from(error: LeaderError) -> RpcError {
        match error {
            LeaderError::Http(error) => match error.failure() {
                HttpFailure::TimedOut => RpcError::timed_out(),
                _ => RpcError::server("the leader cannot be reached"),
            },
            LeaderError::Status(status) => {
                RpcError::server(format!("the leader's answer has HTTP status {status}"))
            }
            LeaderError::Malformed => RpcError::server("the leader's answer is malformed"),
            LeaderError::NoAnchor => RpcError::server("the leader does not have this node's head"),
        }
    }
}

/// The member of a block that identifies it.
#[derive(Deserialize)]
struct BlockHash {
    hash: Word,
}

impl LeaderClient {
    /// A client that makes up to `calls_max` calls at a time.
    pub(super) fn new(url: &UpstreamUrl, calls_max: usize) -> LeaderClient {
        LeaderClient(HttpClient::new(url, None, calls_max))
    }

    pub(super) fn url(&self) -> &UpstreamUrl {
        self.0.url()
    }

    /// Makes a call; `params` is JSON.
    pub(super) fn call(&self, method: &str, params: &str) -> Result<Outcome, LeaderError> {
        let text = self.post(&request(CALL_ID, method, params))?;
        Ok(posted_answer(CALL_ID, &text).ok_or(LeaderError::Malformed)??)
    }

    /// Makes a call that counts only if the leader's chain has the `anchor`, which the same request
    /// asks for. So an answer of another chain, or of one that ends before this node's, is not
    /// used.
    pub(super) fn call_on(
        &self,
        anchor: Anchor,
        method: &str,
        params: &str,
    ) -> Result<Outcome, LeaderError> {
        let block = format!(r#"["{}",false]"#, Quantity(anchor.number));
        let block = request(ANCHOR_ID, "eth_getBlockByNumber", &block);
        let call = request(CALL_ID, method, params);
        let text = self.post(&format!("[{block},{call}]"))?;
        let Ok(answers) = serde_json::from_str::<Vec<&RawValue>>(&text) else {
            // The leader may refuse the whole request, by one error.
            return match Incoming::parse(&text) {
                Some(Incoming::Answer(_, Ok(Err(error)))) => Ok(Err(error)),
                _ => Err(LeaderError::Malformed),
            };
        };
        let find = |id| -> Result<Outcome, LeaderError> {
            let mut found =
                answers.iter().filter_map(|text| Incoming::parse(text.get())?.answer_to(id));
            Ok(found.next().ok_or(LeaderError::Malformed)??)
        };
        let (block, outcome) = (find(ANCHOR_ID)?, find(CALL_ID)?);
        match block.map(|block| serde_json::from_str::<Option<Object<BlockHash>>>(block.get())) {
            Ok(Ok(Some(Object(block)))) if block.hash == anchor.hash => Ok(outcome),
            Ok(Ok(_)) => Err(LeaderError::NoAnchor),
            Ok(Err(_)) => Err(LeaderError::Malformed),
            Err(error) => Ok(Err(error)),
        }
    }

    fn post(&self, text: &str) -> Result<String, LeaderError> {
        let answer = self.0.post(text, TIMEOUT, None).map_err(LeaderError::Http)?;
        if !(200..=299).contains(&answer.status()) {
            return Err(LeaderError::Status(answer.status()));
        }
        let text = answer.read(ANSWER_BYTES_MAX).map_err(LeaderError::Http)?;
        String::from_utf8(text).map_err(|_| LeaderError::Malformed)
    }
}
