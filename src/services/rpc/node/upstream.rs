//! Calls to another node by HTTP POST. Blocks, so it belongs on a thread.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::work::FORWARDERS;
use crate::services::rpc::wire::answer::Outcome;
use crate::services::rpc::wire::error::RpcError;
use crate::services::rpc::wire::hex::{Quantity, Word};
use crate::services::rpc::wire::object;
use crate::services::rpc::wire::object::Object;
use crate::upstream::http::agent;
use crate::upstream::url::HttpError;
use crate::upstream::url::UpstreamUrl;

/// From the first byte to the last; past it -32002.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Kept connections: one for each thread that asks.
const CONNECTIONS: usize = FORWARDERS + 1;
/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Another node.
#[derive(Debug, Clone)]
pub(super) struct Upstream {
    agent: ureq::Agent,
    url: UpstreamUrl,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    Http(ureq::Error),
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
            Unanswered::Http(error) => HttpError(error).fmt(f),
            Unanswered::Status(status) => write!(f, "the answer's HTTP status is {status}"),
            Unanswered::Malformed => f.write_str("the answer is malformed"),
            Unanswered::Unanchored => f.write_str("the leader does not have this node's head"),
        }
    }
}

impl From<serde_json::Error> for Unanswered {
    fn from(_: serde_json::Error) -> Unanswered {
        Unanswered::Malformed
    }
}

impl From<Unanswered> for RpcError {
    fn from(error: Unanswered) -> RpcError {
        match error {
            Unanswered::Http(ureq::Error::Timeout(_)) => RpcError::timed_out(),
            Unanswered::Http(_) => RpcError::server("the leader cannot be reached"),
            Unanswered::Status(status) => {
                RpcError::server(format!("the leader's answer has HTTP status {status}"))
            }
            Unanswered::Malformed => RpcError::server("the leader's answer is malformed"),
            Unanswered::Unanchored => RpcError::server("the leader does not have this node's head"),
        }
    }
}

/// A block of this node's chain. An upstream that has it is on the same chain, up to there at least.
#[derive(Debug, Clone, Copy)]
pub(super) struct Anchor {
    pub(super) number: u64,
    pub(super) hash: Word,
}

/// The members of an answer.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    result: Option<Box<RawValue>>,
    error: Option<Object<AnsweredError>>,
}

/// What of a block shows which one it is.
#[derive(Deserialize)]
struct Named {
    hash: Word,
}

/// Ids of the calls of one request.
const CALL_ID: u64 = 1;
const ANCHOR_ID: u64 = 2;

#[derive(Deserialize)]
struct AnsweredError {
    code: i64,
    message: String,
    data: Option<Box<RawValue>>,
}

/// A result that is there, `null` or not.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

impl Upstream {
    pub(super) fn new(url: &UpstreamUrl) -> Upstream {
        Upstream { agent: agent(None, CONNECTIONS), url: url.clone() }
    }

    pub(super) fn url(&self) -> &UpstreamUrl {
        &self.url
    }

    /// One call; `params` is JSON.
    pub(super) fn call(&self, method: &str, params: &str) -> Result<Outcome, Unanswered> {
        let text = self.post(&request(CALL_ID, method, params))?;
        let Object(answer): Object<Answer> = serde_json::from_str(&text)?;
        answer.outcome()
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
        if let Ok(refusal) = object::from_str::<Answer>(&text) {
            // The whole request, by an error without an id.
            return refusal.outcome();
        }
        let mut answers: Vec<Object<Answer>> = serde_json::from_str(&text)?;
        let mut take = |id| {
            let at = answers.iter().position(|Object(answer)| answer.id == Some(id));
            at.map(|at| answers.swap_remove(at).0.outcome()).ok_or(Unanswered::Malformed)
        };
        let (block, outcome) = (take(ANCHOR_ID)??, take(CALL_ID)??);
        match block.map(|block| serde_json::from_str::<Option<Object<Named>>>(block.get())) {
            Ok(Ok(Some(Object(named)))) if named.hash == anchor.hash => Ok(outcome),
            Ok(Ok(_)) => Err(Unanswered::Unanchored),
            Ok(Err(_)) => Err(Unanswered::Malformed),
            Err(error) => Ok(Err(error)),
        }
    }

    fn post(&self, text: &str) -> Result<String, Unanswered> {
        let request = self.agent.post(self.url.full_text());
        let request = request.config().timeout_global(Some(TIMEOUT)).build();
        let request = request.header("Content-Type", "application/json");
        let mut response = request.send(text).map_err(Unanswered::Http)?;
        if !response.status().is_success() {
            return Err(Unanswered::Status(response.status().as_u16()));
        }
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        body.read_to_string().map_err(Unanswered::Http)
    }
}

impl Answer {
    fn outcome(self) -> Result<Outcome, Unanswered> {
        match self {
            Answer { result: Some(result), error: None, .. } => Ok(Ok(result)),
            Answer { error: Some(Object(error)), .. } => {
                let AnsweredError { code, message, data } = error;
                Ok(Err(RpcError { code, message: message.into(), data }))
            }
            Answer { result: None, error: None, .. } => Err(Unanswered::Malformed),
        }
    }
}

/// A request of JSON-RPC; `params` is JSON.
fn request(id: u64, method: &str, params: &str) -> String {
    let method = serde_json::Value::from(method);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method},"params":{params}}}"#)
}
