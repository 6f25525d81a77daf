//! Calls to another node by HTTP POST. Blocks, so it belongs on a thread.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::agent::agent;
use super::super::backend::Outcome;
use super::super::object::Object;
use super::super::url::HttpError;
use super::super::{RpcError, UpstreamUrl, object};
use super::FORWARDERS;

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
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unanswered::Http(error) => HttpError(error).fmt(f),
            Unanswered::Status(status) => write!(f, "the answer's HTTP status is {status}"),
            Unanswered::Malformed => f.write_str("the answer is malformed"),
        }
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
        }
    }
}

/// The members of an answer.
#[derive(Deserialize)]
struct Answer {
    #[serde(default, deserialize_with = "present")]
    result: Option<Box<RawValue>>,
    error: Option<Object<AnsweredError>>,
}

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
        let name = serde_json::Value::from(method);
        let call = format!(r#"{{"jsonrpc":"2.0","id":1,"method":{name},"params":{params}}}"#);
        let request = self.agent.post(self.url.full_text());
        let request = request.config().timeout_global(Some(TIMEOUT)).build();
        let request = request.header("Content-Type", "application/json");
        let mut response = request.send(&call).map_err(Unanswered::Http)?;
        if !response.status().is_success() {
            return Err(Unanswered::Status(response.status().as_u16()));
        }
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let text = body.read_to_string().map_err(Unanswered::Http)?;
        match object::from_str(&text) {
            Ok(Answer { result: Some(result), error: None }) => Ok(Ok(result)),
            Ok(Answer { error: Some(Object(error)), .. }) => {
                let AnsweredError { code, message, data } = error;
                Ok(Err(RpcError { code, message: message.into(), data }))
            }
            _ => Err(Unanswered::Malformed),
        }
    }
}
