//! The state of a connection before it is open: an incomplete head or body, a request that waits
//! for its service's decision, and our own request in the client's role.
//!
//! [`upgrade`](crate::reactor::effects::upgrade), [`http`](crate::reactor::effects::http) and
//! [`connect`](crate::reactor::effects::connect) act on it.

use std::net::SocketAddr;
use std::time::Duration;

#[cfg(feature = "proxy")]
use super::exchange::{RequestBody, ResponseBody};
use super::gated::AwaitedVerdict;
use crate::protocol::deflate::Agreement;
use crate::protocol::handshake::{Expected, HeadScan, Refusal, Request};
use crate::protocol::http::BodyDecoder;
use crate::protocol::secret::Secret;
use crate::reactor::api::id::RouteId;
use crate::reactor::api::request::Params;
use crate::reactor::api::time::Time;
#[cfg(feature = "proxy")]
use crate::reactor::api::upstream::UpstreamRequest;
use crate::reactor::parts::cors::Cors;
#[cfg(feature = "proxy")]
use crate::reactor::parts::relayed::Relayed;

/// The state of a connection until it is open.
#[derive(Debug)]
pub(crate) struct Handshake {
    /// Start of the handshake timeout; [`Time::MAX`] while a forwarded response is written.
    pub(crate) since: Time,
    pub(crate) scan: HeadScan,
    /// The received part of a head, or the head of a request whose body is incomplete.
    pub(crate) head: Secret<Vec<u8>>,
    /// Admission's refusal, if the connection was not admitted.
    pub(crate) refused: Option<Refusal>,
    /// The time until a rate of requests or of calls admits the next one, after a refusal by it.
    pub(crate) requests_wait: Duration,
    /// HTTP requests answered on this connection.
    pub(crate) answered: u8,
    /// The PROXY header that must come first; `None` after it, and at listeners without.
    pub(crate) proxy_header: Option<AwaitedProxyHeader>,
    /// The peer, if it may state the addresses of its clients.
    pub(crate) proxy: Option<TrustedProxy>,
    /// The Origin of the last request, truncated, for a log line.
    pub(crate) origin: Option<Box<str>>,
    /// The route of the last request, if it has one and there is an observer.
    pub(crate) route: Option<RouteId>,
    /// The listener group: which routes its requests can find.
    pub(crate) listener_group: u16,
    /// The received part of a request body; its head is in `head`.
    pub(crate) body: Option<PartialBody>,
    /// A request that waits for the verdict of its gate; its head is in `head`.
    pub(crate) gated: Option<Box<AwaitedVerdict>>,
    /// A request without upgrade whose response is deferred.
    pub(crate) pending_http: Option<PendingHttp>,
    /// The body of a request that is forwarded, until its exchange has ended.
    #[cfg(feature = "proxy")]
    pub(crate) request_body: Option<Box<RequestBody>>,
    /// The prepared 101 response, until the service has decided.
    pub(crate) deferred: Option<Deferred>,
    /// Client role: our request, and the expected response.
    pub(crate) awaited: Option<Awaited>,
    /// Client role: a connection to an HTTP upstream.
    #[cfg(feature = "proxy")]
    pub(crate) dialed: Option<Dialed>,
    /// Whether the request was forwarded to an upstream: the end of the stream ends it.
    #[cfg(feature = "proxy")]
    pub(crate) is_forwarded: bool,
    /// What the connection is counted with while it has a part in an exchange.
    #[cfg(feature = "proxy")]
    pub(crate) relayed: Relayed,
}

impl Handshake {
    pub(crate) fn new(since: Time) -> Handshake {
        Handshake {
            since,
            scan: HeadScan::default(),
            head: Secret::default(),
            refused: None,
            requests_wait: Duration::ZERO,
            answered: 0,
            proxy_header: None,
            proxy: None,
            origin: None,
            route: None,
            listener_group: 0,
            body: None,
            gated: None,
            pending_http: None,
            #[cfg(feature = "proxy")]
            request_body: None,
            deferred: None,
            awaited: None,
            #[cfg(feature = "proxy")]
            dialed: None,
            #[cfg(feature = "proxy")]
            is_forwarded: false,
            #[cfg(feature = "proxy")]
            relayed: Relayed::default(),
        }
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.head.capacity()
            + self.body.as_ref().map_or(0, PartialBody::held_bytes)
            + self.deferred.as_ref().map_or(0, Deferred::held_bytes)
            + self.dialed_bytes()
    }

    fn dialed_bytes(&self) -> usize {
        #[cfg(feature = "proxy")]
        return self.dialed.as_ref().map_or(0, Dialed::held_bytes);
        #[cfg(not(feature = "proxy"))]
        0
    }

    /// Whether it is that of a connection of ours: a response is awaited, not a request.
    pub(crate) fn is_ours(&self) -> bool {
        #[cfg(feature = "proxy")]
        if self.dialed.is_some() {
            return true;
        }
        self.awaited.is_some()
    }

    /// Whether the client waits for a response or will: only a client that got one may be silent.
    pub(crate) fn awaits_answer(&self) -> bool {
        self.answered == 0 || !self.head.is_empty() || self.pending_http.is_some()
    }

    /// Whether the pending response has no body.
    pub(crate) fn is_head_only(&self) -> bool {
        self.pending_http.as_ref().is_some_and(PendingHttp::is_head_only)
    }
}

/// A PROXY header that has not arrived: what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AwaitedProxyHeader {
    BeforeHttp,
    BeforeTls,
}

/// A peer in `trusted_proxies`, and what it states about the client of the last request.
#[derive(Debug)]
pub(crate) struct TrustedProxy {
    /// Its address; the connection's is the client's.
    pub(crate) address: SocketAddr,
    /// The client itself is trusted: no limit per address applies.
    pub(crate) is_client_exempt: bool,
    /// Whether the client's connection is encrypted, if the proxy states it.
    pub(crate) is_client_secure: Option<bool>,
}

impl TrustedProxy {
    pub(crate) fn new(address: SocketAddr) -> TrustedProxy {
        TrustedProxy { address, is_client_exempt: true, is_client_secure: None }
    }
}

/// A valid upgrade request that waits for its service's decision.
#[derive(Debug)]
pub(crate) struct Deferred {
    /// The value of `Sec-WebSocket-Accept`.
    pub(crate) digest: [u8; 28],
    /// The offered subprotocols; not allocated if there are none.
    pub(crate) offered: Secret<Vec<Box<str>>>,
    /// The agreement on permessage-deflate, if it was offered.
    pub(crate) deflate: Option<Agreement>,
}

impl Deferred {
    /// Whether the client offered this subprotocol.
    pub(crate) fn offers(&self, name: &str) -> bool {
        self.offered.iter().any(|offered| **offered == *name)
    }

    fn held_bytes(&self) -> usize {
        self.offered.iter().map(|name| name.len()).sum()
    }
}

/// The received part of a request body.
#[derive(Debug)]
pub(crate) struct PartialBody {
    pub(crate) route: RouteId,
    pub(crate) params: Params,
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

/// An HTTP request without upgrade whose response is pending: what the response depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PendingHttp {
    pub(crate) head_only: bool,
    /// The client supports a further request on this connection.
    pub(crate) keep_alive: bool,
    /// The client can read a body in chunks (RFC 9112, 7.1).
    pub(crate) takes_chunks: bool,
    pub(crate) cors: Cors,
}

impl PendingHttp {
    pub(crate) fn of(request: &Request<'_>, cors: Cors) -> PendingHttp {
        PendingHttp {
            head_only: request.method() == "HEAD",
            keep_alive: request.keep_alive(),
            takes_chunks: request.minor_version() >= 1,
            cors,
        }
    }

    /// Whether the response has no body (RFC 9110, 9.3.2).
    pub(crate) fn is_head_only(&self) -> bool {
        self.head_only
    }
}

/// A request of ours whose response is pending.
#[derive(Debug)]
pub(crate) struct Awaited {
    /// The request bytes, until they are queued.
    pub(crate) request: Secret<Vec<u8>>,
    pub(crate) expected: Expected,
}

/// A connection to an HTTP upstream that is not joined.
#[cfg(feature = "proxy")]
#[derive(Debug)]
pub(crate) struct Dialed {
    /// Until then it must be connected, get a response, or, while it is idle, get a request.
    pub(crate) until: Time,
    /// Bytes to send before TLS and HTTP: a PROXY header.
    pub(crate) preface: Vec<u8>,
    /// Connected, TLS handshake included.
    pub(crate) is_connected: bool,
    /// The service knows that it is connected.
    pub(crate) is_reported: bool,
    /// The request that waits for the connection, or whose exchange has not ended.
    pub(crate) request: Option<UpstreamRequest>,
    /// Interim responses to it.
    pub(crate) interims: u8,
    /// The body of its response, once the head was forwarded.
    pub(crate) response: Option<Box<ResponseBody>>,
    /// A write has reported that the peer reset the connection.
    pub(crate) was_reset: bool,
}

#[cfg(feature = "proxy")]
impl Dialed {
    /// A connection that must be established until then.
    pub(crate) fn new(until: Time, preface: &[u8]) -> Dialed {
        Dialed {
            until,
            preface: preface.to_vec(),
            is_connected: false,
            is_reported: false,
            request: None,
            interims: 0,
            response: None,
            was_reset: false,
        }
    }

    fn held_bytes(&self) -> usize {
        let request = self.request.as_ref();
        self.preface.capacity() + request.map_or(0, |request| request.head.capacity())
    }
}
