//! Writes a request's head for an upstream.
//!
//! Headers that only a trusted peer may set are removed or extended, and headers of weir's own
//! cannot be removed by the client (`Connection: X-Forwarded-For`). The target is in origin form.
//! `forwarding` has the headers about the client's connection.

mod forwarding;

use core::net::IpAddr;
use std::io::Write;

use super::super::body::Framing;
use super::super::forwarded::{is_alike, is_forwarding_header};
use super::super::path::{has_dot_segment, has_nul, normalized_path, strip_segments};
use super::super::response::{names_connection_scheme, names_essential};
use super::super::trace_parent::{self, TraceParent};
use super::changes::HeaderChanges;
use super::hop::{append_received, has_prefix, is_hop_by_hop, is_nominated, nominates_too_many};
use super::identity::IdentityHeaders;
use super::redacted::{has_used_offer, query_without_redacted, without_redacted};
use crate::protocol::handshake::field::is_host;
use crate::protocol::handshake::{FieldError, Refusal, Request, TOKEN_PROTOCOL};

/// The prefix of headers that only weir itself may send to upstreams.
const OWN_PREFIX: &str = "X-Weir-";

/// The Host that an upstream gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum HostRule {
    /// The host that the client named: upstreams compare it with `Origin`.
    #[default]
    Keep,
    /// The upstream's own host and port.
    Upstream,
    /// This host.
    Name(HostName),
}

/// A host, with its port if it has one, that is safe to write into a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(Box<str>);

impl HostName {
    /// Checks a host (RFC 9110, 7.2).
    ///
    /// # Errors
    ///
    /// [`FieldError::Host`].
    pub fn new(name: &str) -> Result<HostName, FieldError> {
        let is_valid = !name.is_empty() && is_host(name.as_bytes());
        if is_valid { Ok(HostName(name.into())) } else { Err(FieldError::Host) }
    }
}

/// The headers by which an upstream learns about the client's connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForwardedMode {
    /// `X-Forwarded-For`, `-Proto`, `-Host` and `X-Real-IP`.
    #[default]
    X,
    /// `Forwarded` (RFC 7239).
    Rfc7239,
    /// None; received ones are removed.
    Off,
}

/// A route's rules for the heads of its requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestRules {
    /// The Host that the upstream gets.
    pub host: HostRule,
    /// The headers about the client's connection.
    pub forwarded: ForwardedMode,
    /// Number of segments that are removed from the start of the path.
    pub strip_segments: usize,
    /// Headers that are set and removed, after all other rules.
    pub changes: HeaderChanges,
}

/// Where a request comes from, and where it goes.
#[derive(Debug, Clone, Copy)]
pub struct RequestOrigin<'a> {
    /// The address of the connection's other end, as a PROXY header has it.
    pub peer: IpAddr,
    /// The client's address, which differs from the peer's behind trusted proxies.
    pub client: IpAddr,
    /// Whether headers of the peer about earlier hops are believed.
    pub is_peer_trusted: bool,
    /// Whether the client's connection is secure.
    pub is_secure: bool,
    /// The upstream's host, with its port unless it is the scheme's default.
    pub upstream: &'a str,
    /// Whether the connection to the upstream may be used for further requests.
    pub keep_alive: bool,
    /// The `traceparent` that the upstream gets; `None`: as received.
    pub trace: Option<TraceParent>,
    /// The headers about the client's identity.
    pub identity: Option<&'a IdentityHeaders>,
}

/// Checks what a request must fulfil to be forwarded, beyond its syntax.
///
/// # Errors
///
/// [`Target`](Refusal::Target): CONNECT, or a target in absolute form with another authority than
/// Host. [`DotSegment`](Refusal::DotSegment), [`AmbiguousPath`](Refusal::AmbiguousPath): an encoded NUL,
/// [`Nominated`](Refusal::Nominated). An upgrade that is not valid, or a transfer coding other than `chunked`: their own refusal.
pub fn check_request(request: &Request<'_>) -> Result<(), Refusal> {
    // A target in absolute form replaces Host (RFC 9112, 3.2.2). If they differ, whoever reads only
    // one of them sees another request.
    let host = request.header("Host");
    let is_same = host
        .is_none_or(|host| request.host().is_some_and(|target| target.eq_ignore_ascii_case(host)));
    if request.method() == "CONNECT" || !is_same {
        return Err(Refusal::Target);
    }
    if has_dot_segment(request.path()) {
        return Err(Refusal::DotSegment);
    }
    if has_nul(request.path()) {
        return Err(Refusal::AmbiguousPath);
    }
    let nominates_essential = request.fields.items("Connection").any(names_essential);
    if nominates_essential || nominates_too_many(request.fields) {
        return Err(Refusal::Nominated);
    }
    if request.is_upgrade() {
        request.upgrade()?;
    }
    request.body_framing().map(|_| ())
}

/// Whether the client authenticates its connection instead of the request: the upstream connection
/// must not be used for another client.
pub fn binds_connection(request: &Request<'_>) -> bool {
    request.fields.values("Authorization").any(names_connection_scheme)
}

/// Appends the head of `request` as an upstream gets it. A body follows by
/// [`body_framing`](Request::body_framing); an upgrade has none.
///
/// # Errors
///
/// Those of [`check_request`]. `out` is then unchanged.
pub fn write_request(
    request: &Request<'_>,
    rules: &RequestRules,
    origin: &RequestOrigin<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    check_request(request)?;
    let framing = request.body_framing()?;
    let mut head = Head { request, rules, origin, out };
    head.request_line();
    head.host();
    head.received_headers();
    match rules.forwarded {
        ForwardedMode::X => head.x_forwarded(),
        ForwardedMode::Rfc7239 => head.forwarded(),
        ForwardedMode::Off => {}
    }
    if let Some(identity) = origin.identity {
        identity.append(head.out, |name| rules.changes.drops(name));
    }
    head.trace();
    head.body(framing);
    head.connection();
    out.extend_from_slice(&rules.changes.lines);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Whether the client has offered `weir.token` for a token that a gate has used: it needs that as its
/// subprotocol if the upstream selects none.
pub fn offers_used_token(request: &Request<'_>) -> bool {
    has_used_offer(request.fields) && request.has_token("Sec-WebSocket-Protocol", TOKEN_PROTOCOL)
}

/// A head that is being written.
struct Head<'h, 'r> {
    request: &'h Request<'r>,
    rules: &'h RequestRules,
    origin: &'h RequestOrigin<'h>,
    out: &'h mut Vec<u8>,
}

impl Head<'_, '_> {
    /// The target in origin form (RFC 9112, 3.2.1). The path is in its normal form, as routes have
    /// compared it: an upstream that does not decode it must not see another one.
    fn request_line(&mut self) {
        let path = normalized_path(self.request.path());
        let path = strip_segments(&path, self.rules.strip_segments);
        let query = self.request.query().and_then(query_without_redacted);
        let (mark, query) = query.as_deref().map_or(("", ""), |query| ("?", query));
        for part in [self.request.method(), " ", path, mark, query, " HTTP/1.1\r\n"] {
            self.out.extend_from_slice(part.as_bytes());
        }
    }

    fn host(&mut self) {
        let upstream = self.origin.upstream;
        let host = match &self.rules.host {
            // Only HTTP/1.0 may lack a host.
            HostRule::Keep => self.request.host().unwrap_or(upstream),
            HostRule::Upstream => upstream,
            HostRule::Name(HostName(name)) => name,
        };
        debug_assert!(is_host(host.as_bytes()), "{host}");
        append_received(self.out, "Host", host.as_bytes());
    }

    fn received_headers(&mut self) {
        for (name, value) in self.request.all_headers() {
            if self.is_forwarded(name)
                && let Some(value) = without_redacted(self.request.fields, name, value)
            {
                append_received(self.out, name, &value);
            }
        }
    }

    /// Whether a header is forwarded as received.
    fn is_forwarded(&self, name: &str) -> bool {
        let is_written_here = is_alike(name, "Host") || is_alike(name, "Content-Length");
        let is_of_this_hop = is_hop_by_hop(name) || is_nominated(self.request.fields, name);
        let is_kept = if is_forwarding_header(name) {
            self.is_believed(name)
        } else {
            !is_of_this_hop && !has_prefix(name, OWN_PREFIX)
        };
        is_kept
            && !is_written_here
            && !self.drops_expectation(name)
            && !self.drops_trace(name)
            && !self.drops(name)
    }

    /// An expectation of status 100 without a body, or with HTTP/1.0, would never be fulfilled (RFC
    /// 9110, 10.1.1).
    fn drops_expectation(&self, name: &str) -> bool {
        name.eq_ignore_ascii_case("Expect")
            && self.request.has_token("Expect", "100-continue")
            && !(self.request.expects_continue() && self.request.has_body())
    }

    /// `traceparent` is written here. `tracestate` belongs to the one that was received (W3C Trace
    /// Context, 3.3.1.1): it is dropped if that is replaced.
    fn drops_trace(&self, name: &str) -> bool {
        let Some(trace) = self.origin.trace else {
            return false;
        };
        is_alike(name, TraceParent::NAME)
            || is_alike(name, trace_parent::STATE_NAME)
                && TraceParent::of(self.request) != Some(trace)
    }

    fn trace(&mut self) {
        if let Some(trace) = self.origin.trace
            && !self.drops(TraceParent::NAME)
        {
            self.append_text(format_args!("{}: {trace}\r\n", TraceParent::NAME));
        }
    }

    fn drops(&self, name: &str) -> bool {
        self.rules.changes.drops(name)
    }

    fn append_text(&mut self, text: std::fmt::Arguments<'_>) {
        self.out.write_fmt(text).expect("writing to a Vec does not fail");
    }

    /// RFC 9110, 8.6: a length of 0 is sent only if the client has sent it.
    fn body(&mut self, framing: Framing) {
        match framing {
            Framing::Length(length) if self.request.has_header("Content-Length") => {
                self.append_text(format_args!("Content-Length: {length}\r\n"));
            }
            Framing::Chunked => append_received(self.out, "Transfer-Encoding", b"chunked"),
            Framing::Length(_) | Framing::UntilClose => {}
        }
    }

    fn connection(&mut self) {
        if self.request.is_upgrade() {
            append_received(self.out, "Connection", b"Upgrade");
            append_received(self.out, "Upgrade", b"websocket");
        } else if !self.origin.keep_alive {
            append_received(self.out, "Connection", b"close");
        }
    }
}

#[cfg(test)]
mod tests;
