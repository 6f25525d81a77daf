//! The state of an HTTP exchange: one body from a client to its upstream, and one back.
//!
//! The request's is in the client's handshake, the response's in that of the upstream. While the
//! response's head is awaited, the client is in the phase `Deferred` and the upstream in
//! `Handshake`; after that both are in `Streaming`. [`effects::exchange`](crate::reactor::effects::exchange)
//! moves the bytes. What follows for a connection is in [`exchanging`](super::exchanging).

use std::time::Duration;

use crate::protocol::http::BodyPass;
use crate::reactor::api::id::ConnId;

/// The body of a client's request. It may be empty.
#[derive(Debug)]
pub(crate) struct RequestBody {
    pub(crate) pass: BodyPass,
    /// The upstream that the body is passed to, once the head is queued there.
    pub(crate) upstream: Option<ConnId>,
    /// The longest silence.
    pub(crate) timeout: Duration,
    /// Bytes that were read of it.
    pub(crate) bytes: u64,
    /// The client waits for a 100 before it sends the body (RFC 9110, 10.1.1).
    pub(crate) awaits_continue: bool,
    /// The rest is not read.
    pub(crate) is_stopped: bool,
    /// The head of the final response was forwarded.
    pub(crate) is_answered: bool,
}

impl RequestBody {
    pub(crate) fn new(pass: BodyPass, expects_continue: bool) -> RequestBody {
        RequestBody {
            pass,
            upstream: None,
            timeout: Duration::MAX,
            bytes: 0,
            awaits_continue: expects_continue && !pass.is_complete(),
            is_stopped: false,
            is_answered: false,
        }
    }

    /// The body of a request that has none, in an exchange that answers an upgrade.
    pub(crate) fn none() -> RequestBody {
        RequestBody::new(BodyPass::empty(), false)
    }

    /// Whether nothing more of it is read.
    pub(crate) fn is_done(&self) -> bool {
        self.pass.is_complete() || self.is_stopped
    }
}

/// The body of an upstream's response, whose head was forwarded.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    pub(crate) pass: BodyPass,
    /// Bytes that were read of it.
    pub(crate) bytes: u64,
    /// The client's connection stays open after it.
    pub(crate) keeps_client: bool,
    /// The upstream's connection may be used again after it.
    pub(crate) keeps_upstream: bool,
}
