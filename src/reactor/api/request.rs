//! Requests that a service gets: upgrade requests, HTTP requests without upgrade, and both for gates.
//!
//! They borrow from the loop's buffers for one call of a handler. The protocol layer parses them;
//! [`router`](crate::reactor::parts::router) finds their route and parameters.

use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;

use super::id::RouteId;
use super::identity::{Identity, Requirement};
use super::tls_info::TlsInfo;
use crate::protocol::handshake::{self, Accept};
use crate::protocol::http::TraceParent;

/// An upgrade request, for a service.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct UpgradeRequest<'a> {
    /// The request head: path, query, headers.
    pub http: &'a handshake::Request<'a>,
    /// The bytes that `http` was parsed from.
    pub head: &'a [u8],
    /// The route that the request matches.
    pub route: RouteId,
    /// The values of the route's parameters.
    pub params: &'a Params,
    /// The subprotocol that client and service have in common and the service prefers, of those in
    /// [`Service::protocols`](crate::reactor::Service::protocols).
    pub protocol: Option<&'a str>,
    /// The client's address. If a proxy in
    /// [`trusted_proxies`](field@super::settings::Settings::trusted_proxies) stated it, its port is 0.
    pub peer: SocketAddr,
    /// The trusted proxy that the request came through: `peer` was taken from its headers.
    pub via: Option<SocketAddr>,
    /// Whether the client's connection is encrypted: by TLS to us, or as a trusted proxy states in
    /// `X-Forwarded-Proto`.
    pub is_secure: bool,
    /// The TLS session of the peer, with its certificate if it sent one; `None` without TLS.
    pub tls: Option<&'a TlsInfo>,
    /// Who the client is, if the route's gate has determined it.
    pub identity: Option<&'a Identity>,
}

impl fmt::Debug for UpgradeRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(f, "UpgradeRequest", self.http, self.route, self.peer)
    }
}

impl UpgradeRequest<'_> {
    /// The response that accepts the request, with the common [`protocol`](UpgradeRequest::protocol)
    /// if there is one. To choose another subprotocol among those that the client
    /// [offers](handshake::Request::protocols), use [`Accept::protocol`].
    pub fn accept(&self) -> Accept {
        self.protocol.map_or_else(Accept::new, |name| Accept::new().protocol(name))
    }
}

/// The head of a request of either kind, for a [`Gate`](crate::reactor::Gate).
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct GateRequest<'a> {
    /// The request head: method, path, query, headers.
    pub http: &'a handshake::Request<'a>,
    /// The bytes that `http` was parsed from.
    pub head: &'a [u8],
    /// The route that the request matches.
    pub route: RouteId,
    /// The values of the route's parameters.
    pub params: &'a Params,
    /// Whether it is a valid upgrade request.
    pub is_upgrade: bool,
    /// Whether the route's service forwards requests (`Service::streams_http`): then an upstream reads the
    /// path, too.
    pub is_forwarded: bool,
    /// What the route requires of the identity. The loop checks it after the verdict.
    pub require: &'a [Requirement],
    /// The client's address. If a proxy in
    /// [`trusted_proxies`](field@super::settings::Settings::trusted_proxies) stated it, its port is 0.
    pub peer: SocketAddr,
    /// The trusted proxy that the request came through: `peer` was taken from its headers.
    pub via: Option<SocketAddr>,
    /// Whether the client's connection is encrypted: by TLS to us, or as a trusted proxy states in
    /// `X-Forwarded-Proto`.
    pub is_secure: bool,
    /// The TLS session of the peer, with its certificate if it sent one; `None` without TLS.
    pub tls: Option<&'a TlsInfo>,
    /// The trace of the request; `None` unless the setting
    /// [`trace`](field@super::settings::Settings::trace) is on.
    pub trace: Option<TraceParent>,
}

impl fmt::Debug for GateRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(f, "GateRequest", self.http, self.route, self.peer)
    }
}

/// An HTTP request without upgrade, for a service.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct HttpRequest<'a> {
    /// The request head: method, path, query, headers.
    pub http: &'a handshake::Request<'a>,
    /// The values of the route's parameters.
    pub params: &'a Params,
    /// The whole body. It is in a buffer of the loop: copy what must be kept.
    pub body: &'a [u8],
    /// The client's address. If a proxy in
    /// [`trusted_proxies`](field@super::settings::Settings::trusted_proxies) stated it, its port is 0.
    pub peer: SocketAddr,
    /// The trusted proxy that the request came through: `peer` was taken from its headers.
    pub via: Option<SocketAddr>,
    /// Whether the client's connection is encrypted: by TLS to us, or as a trusted proxy states in
    /// `X-Forwarded-Proto`.
    pub is_secure: bool,
    /// The TLS session of the peer, with its certificate if it sent one; `None` without TLS.
    pub tls: Option<&'a TlsInfo>,
    /// Who the client is, if the route's gate has determined it.
    pub identity: Option<&'a Identity>,
}

/// The head of an HTTP request without upgrade, for a service that
/// [forwards](crate::reactor::Service::streams_http) it before its body is read.
#[cfg(feature = "proxy")]
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct RequestHead<'a> {
    /// The request head: method, path, query, headers.
    pub http: &'a handshake::Request<'a>,
    /// The bytes that `http` was parsed from.
    pub head: &'a [u8],
    /// The route that the request matches.
    pub route: RouteId,
    /// The values of the route's parameters.
    pub params: &'a Params,
    /// The client's address. If a proxy in
    /// [`trusted_proxies`](field@super::settings::Settings::trusted_proxies) stated it, its port is 0.
    pub peer: SocketAddr,
    /// The trusted proxy that the request came through: `peer` was taken from its headers.
    pub via: Option<SocketAddr>,
    /// Whether the client's connection is encrypted: by TLS to us, or as a trusted proxy states in
    /// `X-Forwarded-Proto`.
    pub is_secure: bool,
    /// The TLS session of the peer, with its certificate if it sent one; `None` without TLS.
    pub tls: Option<&'a TlsInfo>,
    /// Who the client is, if the route's gate has determined it.
    pub identity: Option<&'a Identity>,
}

#[cfg(feature = "proxy")]
impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(f, "RequestHead", self.http, self.route, self.peer)
    }
}

/// Shows a request without its head, which may contain credentials.
fn shown(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    http: &handshake::Request<'_>,
    route: RouteId,
    peer: SocketAddr,
) -> fmt::Result {
    let mut shown = f.debug_struct(name);
    shown.field("http", http).field("route", &route).field("peer", &peer).finish_non_exhaustive()
}

/// The values of a pattern's parameters, percent-decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(pub(in crate::reactor) Vec<(Rc<str>, Box<str>)>);

impl Params {
    /// The value of the parameter `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(param, _)| **param == *name);
        found.map(|(_, value)| &**value)
    }
}
