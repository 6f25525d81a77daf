//! HTTP exchanges through an upstream: the decision on a client's request, the response that is
//! forwarded, and how the exchange ended.
//!
//! Plain values, for the handlers of [`Service`](crate::reactor::Service). The bodies are passed by
//! [`effects::exchange`](crate::reactor::effects::exchange) and never reach the service.

use super::close_reason::CloseReason;
use crate::protocol::handshake::{Refusal, Response};
use crate::protocol::http::BodyPass;

/// The decision on the head of an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadDecision {
    /// Send an HTTP response. After a request with a body the connection is closed.
    Respond(Response),
    /// Refuse: the refusal is sent, counted and logged by its reason. The connection is closed.
    Refuse(Refusal),
    /// The service will forward the request by
    /// [`Context::send_request`](crate::reactor::Context::send_request), or call
    /// [`respond`](crate::reactor::Context::respond) or
    /// [`refuse`](crate::reactor::Context::refuse), within 120 s.
    Defer,
}

/// A final response that is forwarded to the client.
#[derive(Debug)]
pub struct ForwardResponse {
    pub(in crate::reactor) head: Vec<u8>,
    pub(in crate::reactor) body: BodyPass,
    pub(in crate::reactor) keeps_client: bool,
    pub(in crate::reactor) keeps_upstream: bool,
}

impl ForwardResponse {
    /// A response with this head, as it is written for the client, and the body that follows the
    /// upstream's head. Both connections are closed after it.
    pub fn new(head: Vec<u8>, body: BodyPass) -> ForwardResponse {
        ForwardResponse { head, body, keeps_client: false, keeps_upstream: false }
    }

    /// Whether the head announces that the client's connection stays open: see
    /// [`Context::keeps_alive`](crate::reactor::Context::keeps_alive).
    #[must_use]
    pub fn keep_client(self, keeps_client: bool) -> ForwardResponse {
        ForwardResponse { keeps_client, ..self }
    }

    /// Whether the upstream's connection may be used for another request.
    #[must_use]
    pub fn keep_upstream(self, keeps_upstream: bool) -> ForwardResponse {
        ForwardResponse { keeps_upstream, ..self }
    }
}

/// How an exchange ended, and what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExchangeEnd {
    /// Whether the whole response was passed, and if not, why.
    pub outcome: ExchangeOutcome,
    /// Whether the upstream's connection is idle now and takes the next request. Otherwise it ends.
    pub is_upstream_idle: bool,
    /// Bytes of the request body, with chunk headers, as read from the client.
    pub request_bytes: u64,
    /// Bytes of the response body, with chunk headers, as read from the upstream.
    pub response_bytes: u64,
}

/// The outcome of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExchangeOutcome {
    /// The whole response was passed.
    Complete,
    /// The upstream failed inside the response, for this reason. The client's connection was reset,
    /// so that the response does not look complete.
    Cut(CloseReason),
    /// The client's connection ended inside the response, for this reason. The upstream is dropped.
    ClientLost(CloseReason),
}
