//! The state of a connection that is not open: the head or the body that arrives, the request that
//! waits for its service, and our own request.

use crate::protocol::deflate::Agreement;
use crate::protocol::handshake::{Expected, HeadScan, Refusal, Request};
use crate::protocol::http::BodyDecoder;
use crate::reactor::api::time::Time;
use crate::reactor::parts::cors::Cors;
use crate::reactor::parts::pages::Pages;

/// What a connection needs until it is open, and not after.
#[derive(Debug)]
pub(crate) struct Handshake {
    /// From when the deadline counts.
    pub(crate) since: Time,
    pub(crate) scan: HeadScan,
    /// The part of a head that has arrived, or the head of a request whose body is awaited.
    pub(crate) head: Pages,
    /// What admission said instead of yes.
    pub(crate) refused: Option<Refusal>,
    /// Plain requests answered.
    pub(crate) answered: u8,
    /// The Origin of the last request, cut, for a log line.
    pub(crate) origin: Option<Box<str>>,
    /// Which routes the connection finds.
    pub(crate) site: u16,
    /// The part of a request's body that has arrived; its head is in `head`.
    pub(crate) body: Option<PartialBody>,
    /// A plain request that waits for its service's answer.
    pub(crate) plain: Option<Plain>,
    /// What is answered to a request once its service has decided.
    pub(crate) deferred: Option<Deferred>,
    /// Client role: our request, and what its answer must be.
    pub(crate) awaited: Option<Awaited>,
}

impl Handshake {
    pub(crate) fn new(since: Time) -> Handshake {
        Handshake {
            since,
            scan: HeadScan::default(),
            head: Pages::default(),
            refused: None,
            answered: 0,
            origin: None,
            site: 0,
            body: None,
            plain: None,
            deferred: None,
            awaited: None,
        }
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.head.held_bytes() + self.body.as_ref().map_or(0, PartialBody::held_bytes)
    }

    /// Whether a client waits for an answer, or will: only one that was answered before may be
    /// silent.
    pub(crate) fn awaits_answer(&self) -> bool {
        self.answered == 0 || !self.head.is_empty() || self.plain.is_some()
    }

    /// Whether the answer that it waits for has no body.
    pub(crate) fn is_head_only(&self) -> bool {
        self.plain.as_ref().is_some_and(Plain::is_head_only)
    }
}

/// A sound request that waits for its service's decision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deferred {
    /// The answer to its key.
    pub(crate) accept: [u8; 28],
    /// What may be agreed to of its offers.
    pub(crate) deflate: Option<Agreement>,
}

/// The received part of a request body.
#[derive(Debug)]
pub(crate) struct PartialBody {
    pub(crate) decoder: BodyDecoder,
    pub(crate) bytes: Vec<u8>,
    /// The response has no body (RFC 9110, 9.3.2).
    pub(crate) head_only: bool,
}

impl PartialBody {
    pub(crate) fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

/// What the response needs to know of its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plain {
    pub(crate) head_only: bool,
    /// The client supports a further request on this connection.
    pub(crate) keep_alive: bool,
    pub(crate) cors: Cors,
}

impl Plain {
    pub(crate) fn of(request: &Request<'_>, cors: Cors) -> Plain {
        Plain { head_only: request.method() == "HEAD", keep_alive: request.keep_alive(), cors }
    }

    /// Whether the response has no body (RFC 9110, 9.3.2).
    pub(crate) fn is_head_only(&self) -> bool {
        self.head_only
    }
}

/// A request of ours under way.
#[derive(Debug)]
pub(crate) struct Awaited {
    /// The request, until it is queued.
    pub(crate) request: Vec<u8>,
    pub(crate) expected: Expected,
    /// For each subprotocol offered, its index in the service's list.
    pub(crate) protocols: Vec<Option<u8>>,
}
