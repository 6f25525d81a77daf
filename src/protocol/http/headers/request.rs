//! Writes a request's head for an upstream.
//!
//! Headers that only a trusted peer may set are removed or extended, and headers of weir's own
//! cannot be removed by the client (`Connection: X-Forwarded-For`). The target is in origin form.

use core::net::IpAddr;
use std::io::Write;

use super::super::body::Framing;
use super::super::forwarded::{is_alike, is_forwarding_header, joined_forwarded};
use super::super::path::{has_dot_segment, has_nul, normalized_path, strip_segments};
use super::super::response::{names_connection_scheme, names_essential};
use super::super::trace_parent::{self, TraceParent};
use super::changes::HeaderChanges;
use super::hop::{append_received, has_prefix, is_hop_by_hop, is_nominated, nominates_too_many};
use super::identity::IdentityHeaders;
use super::redacted::{has_used_offer, query_without_redacted, without_redacted};
use crate::protocol::handshake::field::{is_host, is_plain};
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

    /// Whether a trusted peer's header about earlier hops is forwarded as received: those that the
    /// mode does not write.
    fn is_believed(&self, name: &str) -> bool {
        const WRITTEN: [&str; 5] =
            ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];
        self.origin.is_peer_trusted && !WRITTEN.iter().any(|own| is_alike(name, own))
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

    fn x_forwarded(&mut self) {
        let (peer, client) = self.addresses();
        if !self.drops("X-Forwarded-For") {
            self.out.extend_from_slice(b"X-Forwarded-For: ");
            if !self.append_list("X-Forwarded-For") && client != peer {
                self.append_text(format_args!("{client}, "));
            }
            self.append_text(format_args!("{peer}\r\n"));
        }
        let proto = if self.origin.is_secure { "https" } else { "http" };
        self.believed_or("X-Forwarded-Proto", Some(proto));
        self.believed_or("X-Forwarded-Host", self.request.host());
        if !self.drops("X-Real-IP") {
            self.append_text(format_args!("X-Real-IP: {client}\r\n"));
        }
    }

    /// Neither address is mapped into IPv6.
    fn addresses(&self) -> (IpAddr, IpAddr) {
        (self.origin.peer.to_canonical(), self.origin.client.to_canonical())
    }

    /// Appends the values of a trusted peer's list, each followed by a comma; whether there was one.
    fn append_list(&mut self, name: &str) -> bool {
        let start = self.out.len();
        if self.origin.is_peer_trusted {
            for value in self.request.fields.values(name).filter(|value| !value.is_empty()) {
                self.out.extend_from_slice(value);
                self.out.extend_from_slice(b", ");
            }
        }
        self.out.len() > start
    }

    /// Appends a header with the value of a trusted peer if there is exactly one, else with ours.
    fn believed_or(&mut self, name: &str, own: Option<&str>) {
        let received =
            self.request.fields.sole(name).filter(|value| {
                self.origin.is_peer_trusted && !value.is_empty() && is_plain(value)
            });
        let value = received.or(own.map(str::as_bytes));
        if let Some(value) = value.filter(|_| !self.drops(name)) {
            append_received(self.out, name, value);
        }
    }

    fn forwarded(&mut self) {
        if self.drops("Forwarded") {
            return;
        }
        let (peer, client) = self.addresses();
        self.out.extend_from_slice(b"Forwarded: ");
        // A malformed list would make ours a part of something else.
        let is_trusted = self.origin.is_peer_trusted;
        match joined_forwarded(self.request).filter(|_| is_trusted) {
            Some(list) => {
                self.out.extend_from_slice(&list);
                self.out.extend_from_slice(b", ");
            }
            None if client != peer => {
                self.append_node(client);
                self.out.extend_from_slice(b", ");
            }
            None => {}
        }
        self.append_node(peer);
        if let Some(host) = self.request.host() {
            // A valid host has neither quotes nor backslashes.
            self.append_text(format_args!(";host=\"{host}\""));
        }
        let proto = if self.origin.is_secure { "https" } else { "http" };
        self.append_text(format_args!(";proto={proto}\r\n"));
    }

    /// RFC 7239, 6: an IPv6 address is in brackets and quoted.
    fn append_node(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.append_text(format_args!("for={address}")),
            IpAddr::V6(address) => self.append_text(format_args!("for=\"[{address}]\"")),
        }
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
mod tests {
    use super::*;
    use crate::protocol::handshake::EMPTY_SLOTS;

    const UPGRADE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
                           Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    /// From an untrusted client, without TLS.
    fn origin() -> RequestOrigin<'static> {
        let address = IpAddr::from([192, 0, 2, 7]);
        RequestOrigin {
            peer: address,
            client: address,
            is_peer_trusted: false,
            is_secure: false,
            upstream: "10.0.0.9:9944",
            keep_alive: true,
            trace: None,
            identity: None,
        }
    }

    /// From the client 192.0.2.7, by a trusted proxy.
    fn trusted() -> RequestOrigin<'static> {
        RequestOrigin { peer: IpAddr::from([10, 0, 0, 1]), is_peer_trusted: true, ..origin() }
    }

    fn off() -> RequestRules {
        RequestRules { forwarded: ForwardedMode::Off, ..RequestRules::default() }
    }

    fn rfc7239() -> RequestRules {
        RequestRules { forwarded: ForwardedMode::Rfc7239, ..RequestRules::default() }
    }

    fn written(
        head: &str,
        rules: &RequestRules,
        origin: &RequestOrigin<'_>,
    ) -> Result<String, Refusal> {
        let mut slots = EMPTY_SLOTS;
        let request = Request::parse(head.as_bytes(), &mut slots)?;
        let mut out = b"before".to_vec();
        let outcome = write_request(&request, rules, origin, &mut out);
        assert_eq!(check_request(&request).err(), outcome.err());
        let head = String::from_utf8(out.split_off(6)).unwrap();
        assert!(outcome.is_ok() || head.is_empty(), "written whole or not at all");
        outcome.map(|()| {
            // What is written is a valid head of the same method.
            let mut slots = EMPTY_SLOTS;
            let again = Request::parse(head.as_bytes(), &mut slots).unwrap();
            assert_eq!(again.method(), request.method());
            assert_eq!(again.body_framing(), request.body_framing());
            head
        })
    }

    /// The lines between the Host and the end, for a GET with these additional lines.
    fn lines(extra: &str, rules: &RequestRules, origin: &RequestOrigin<'_>) -> String {
        let head = format!("GET /a HTTP/1.1\r\nHost: a.example\r\n{extra}\r\n");
        let written = written(&head, rules, origin).unwrap();
        let rest = written.strip_prefix("GET /a HTTP/1.1\r\nHost: a.example\r\n").unwrap();
        rest.strip_suffix("\r\n").unwrap().to_owned()
    }

    fn refused(method: &str, target: &str, extra: &str) -> Option<Refusal> {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: a.example\r\n{extra}\r\n");
        written(&head, &off(), &origin()).err()
    }

    #[test]
    fn a_plain_request_is_written_again() {
        let head = "POST /api/items?a=%2e&b=.. HTTP/1.1\r\nhost: a.example:80\r\nCOOKIE:  a=1 \r\n\
                    Connection: keep-alive\r\nAccept: a\r\nContent-Length: 007\r\naccept: b\r\n\r\n";
        let expected = "POST /api/items?a=%2e&b=.. HTTP/1.1\r\nHost: a.example:80\r\nCOOKIE: a=1\r\n\
                        Accept: a\r\naccept: b\r\nX-Forwarded-For: 192.0.2.7\r\n\
                        X-Forwarded-Proto: http\r\nX-Forwarded-Host: a.example:80\r\n\
                        X-Real-IP: 192.0.2.7\r\nContent-Length: 7\r\n\r\n";
        assert_eq!(written(head, &RequestRules::default(), &origin()).as_deref(), Ok(expected));
    }

    #[test]
    fn an_upstream_gets_the_identity_instead_of_the_credentials() {
        let identity = IdentityHeaders::new("ann", Some(9), [("role", "admin")]);
        let known = RequestOrigin { identity: Some(&identity), ..origin() };
        let own = "X-Weir-User: ann\r\nX-Weir-Expires: 9\r\nX-Weir-Meta-role: admin\r\n";
        let used = "*".repeat(64);
        let received = format!(
            "Authorization: Bearer {used}\r\nCookie: a=1; t={used}\r\nx-weir-user: root\r\n\
             X_Weir_Meta_role: root\r\n"
        );
        assert_eq!(lines(&received, &off(), &known), format!("Cookie: a=1\r\n{own}"));
        let changes = HeaderChanges::new([("x-weir-user", "fixed")], ["X-Weir-Expires"]).unwrap();
        let expected = "X-Weir-Meta-role: admin\r\nx-weir-user: fixed\r\n";
        assert_eq!(lines("", &RequestRules { changes, ..off() }, &known), expected);
        let head = format!("GET /a?t={used}&b=2 HTTP/1.1\r\nHost: a\r\n\r\n");
        let written = written(&head, &off(), &known).unwrap();
        assert!(written.starts_with("GET /a?b=2 HTTP/1.1\r\n"), "{written}");
    }

    #[test]
    fn an_upstream_gets_one_traceparent() {
        let kept = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let traced = RequestOrigin { trace: TraceParent::parse(kept), ..origin() };
        let own = format!("traceparent: {kept}\r\n");
        let state = "tracestate: a=1\r\nTraceState: b=2\r\n";
        let later = format!("TraceParent: cc{}\r\n", &kept[2..]);
        let other = own.replace("4bf9", "4bf8");
        for (received, sent) in [
            (format!("{own}{state}"), format!("{state}{own}")),
            (format!("{later}{state}"), format!("{state}{own}")),
            (format!("{own}{own}{state}"), own.clone()),
            (format!("trace_parent: x\r\n{state}"), format!("trace_parent: x\r\n{own}")),
            (format!("traceparent: 00\r\n{state}"), own.clone()),
            (format!("{other}{state}"), own.clone()),
            (state.to_owned(), own.clone()),
        ] {
            assert_eq!(lines(&received, &off(), &traced), sent, "{received}");
            assert_eq!(lines(&received, &off(), &origin()), received, "as received");
        }
        let changes = HeaderChanges::new([], ["Traceparent"]).unwrap();
        let removing = RequestRules { changes, ..off() };
        assert_eq!(lines(&own, &removing, &traced), "");
    }

    #[test]
    fn an_upgrade_keeps_the_fields_of_its_handshake() {
        let extra = "Sec-WebSocket-Protocol: a, b\r\nsec-websocket-extensions: x; y=1\r\n\
                     Origin: http://a\r\n";
        let head = format!("GET /ws HTTP/1.1\r\nHost: a\r\n{UPGRADE}{extra}\r\n");
        let expected = format!(
            "GET /ws HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extra}\
             Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        );
        assert_eq!(written(&head, &off(), &origin()), Ok(expected.clone()));
        let close = RequestOrigin { keep_alive: false, ..origin() };
        assert_eq!(written(&head, &off(), &close), Ok(expected));
    }

    #[test]
    fn invalid_upgrades_are_refused() {
        assert_eq!(refused("GET", "/", "Upgrade: websocket\r\n"), Some(Refusal::ConnectionToken));
        assert_eq!(refused("POST", "/", UPGRADE), Some(Refusal::Method));
        let body = format!("{UPGRADE}Content-Length: 5\r\n");
        assert_eq!(refused("GET", "/", &body), Some(Refusal::Body));
        let chunked = format!("{UPGRADE}Transfer-Encoding: chunked\r\n");
        assert_eq!(refused("GET", "/", &chunked), Some(Refusal::Body));
    }

    #[test]
    fn only_an_upgrade_to_websocket_is_forwarded() {
        let h2c =
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
        assert_eq!(lines(h2c, &off(), &origin()), "");
        let unnamed =
            "Connection: Upgrade\r\nUpgrade: h2c, TLS/1.0\r\nHTTP2-Settings: AAMAAABk\r\n";
        assert_eq!(lines(unnamed, &off(), &origin()), "");
        let both = UPGRADE.replace(": WebSocket", ": h2c, websocket");
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{both}\r\n");
        let head = written(&head, &off(), &origin()).unwrap();
        assert!(head.contains("\r\nUpgrade: websocket\r\n") && !head.contains("h2c"), "{head}");
    }

    #[test]
    fn headers_of_the_client_connection_are_removed() {
        let extra = "Connection: close, X-Hop\r\nConnection: x-other,, x-missing\r\nX-Hop: a\r\n\
                     X-OTHER: b\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nTrailer: a\r\n\
                     Proxy-Connection: keep-alive\r\nProxy-Authorization: a\r\nProxy-Anything: a\r\n\
                     Transfer_Encoding: chunked\r\nContent_Length: 5\r\nUpgrade: a\r\n\
                     X-Hope: stays\r\nProxy: stays\r\n";
        assert_eq!(lines(extra, &off(), &origin()), "X-Hope: stays\r\nProxy: stays\r\n");
    }

    #[test]
    fn a_client_cannot_nominate_our_headers_away() {
        let extra = "Connection: X-Forwarded-For, x-forwarded-proto, X-Forwarded-Host, X-Real-IP, \
                     Forwarded, X-Set, traceparent\r\nX-Forwarded-For: 192.0.2.7\r\n";
        let changes = HeaderChanges::new([("X-Set", "a")], []).unwrap();
        let rules = RequestRules { changes, ..RequestRules::default() };
        let own = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n\
                   X-Forwarded-Host: a.example\r\nX-Real-IP: 192.0.2.7\r\nX-Set: a\r\n";
        assert_eq!(lines(extra, &rules, &origin()), own);
        let appended = own.replace("For: 192.0.2.7", "For: 192.0.2.7, 10.0.0.1");
        assert_eq!(lines(extra, &rules, &trusted()), appended);
    }

    #[test]
    fn connection_must_not_name_headers_that_must_be_forwarded() {
        for name in ["Host", "content-length", "Sec-WebSocket-Key", "sec-websocket-anything"] {
            let extra = format!("Connection: close\r\nConnection: a , {name}\r\n");
            assert_eq!(refused("GET", "/", &extra), Some(Refusal::Nominated), "{name}");
        }
        let items = |count: usize| format!("Connection: a{}\r\n", ",a".repeat(count - 1));
        assert_eq!(refused("GET", "/", &items(64)), None);
        assert_eq!(refused("GET", "/", &items(65)), Some(Refusal::Nominated));
    }

    #[test]
    fn headers_about_earlier_hops_of_an_untrusted_peer_are_removed() {
        let extra = "X-Forwarded-For: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2\r\nX_Forwarded_For: 3.3.3.3\r\n\
                     X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\n\
                     X-Forwarded-Prefix: /a\r\nX-Real-IP: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\n\
                     CF-Connecting-IP: 1.1.1.1\r\nTrue-Client-IP: 1.1.1.1\r\n";
        assert_eq!(lines(extra, &off(), &origin()), "");
        let own = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n\
                   X-Forwarded-Host: a.example\r\nX-Real-IP: 192.0.2.7\r\n";
        assert_eq!(lines(extra, &RequestRules::default(), &origin()), own);
        let own = "Forwarded: for=192.0.2.7;host=\"a.example\";proto=http\r\n";
        assert_eq!(lines(extra, &rfc7239(), &origin()), own);
    }

    #[test]
    fn lists_of_a_trusted_peer_are_extended() {
        let extra = "X-Forwarded-For: 9.9.9.9, 192.0.2.7\r\nA: b\r\nX-Forwarded-For: 10.0.0.2\r\n\
                     X-Forwarded-Proto: https\r\nX-Forwarded-Host: b.example\r\nX-Real-IP: 9.9.9.9\r\n\
                     X-Forwarded-Port: 443\r\nForwarded: for=9.9.9.9\r\nTrue-Client-IP: 192.0.2.7\r\n";
        let kept = "A: b\r\nX-Forwarded-Port: 443\r\nTrue-Client-IP: 192.0.2.7\r\n";
        let expected = format!(
            "{kept}X-Forwarded-For: 9.9.9.9, 192.0.2.7, 10.0.0.2, 10.0.0.1\r\n\
             X-Forwarded-Proto: https\r\nX-Forwarded-Host: b.example\r\nX-Real-IP: 192.0.2.7\r\n"
        );
        assert_eq!(lines(extra, &RequestRules::default(), &trusted()), expected);
        let expected =
            format!("{kept}Forwarded: for=9.9.9.9, for=10.0.0.1;host=\"a.example\";proto=http\r\n");
        assert_eq!(lines(extra, &rfc7239(), &trusted()), expected);
        assert_eq!(lines(extra, &off(), &trusted()), kept);

        let list = "Forwarded: for=\"[::1]\"\r\nForwarded: host=\"a,b\", for=192.0.2.7\r\n";
        let expected = "Forwarded: for=\"[::1]\", host=\"a,b\", for=192.0.2.7, \
                        for=10.0.0.1;host=\"a.example\";proto=http\r\n";
        assert_eq!(lines(list, &rfc7239(), &trusted()), expected);
    }

    #[test]
    fn missing_or_ambiguous_headers_of_a_trusted_peer_are_set() {
        let own = "X-Forwarded-For: 192.0.2.7, 10.0.0.1\r\nX-Forwarded-Proto: http\r\n\
                   X-Forwarded-Host: a.example\r\nX-Real-IP: 192.0.2.7\r\n";
        assert_eq!(lines("", &RequestRules::default(), &trusted()), own);
        let extra = "X-Forwarded-For:\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n\
                     X-Forwarded-Host:\r\n";
        assert_eq!(lines(extra, &RequestRules::default(), &trusted()), own);
        let own = "Forwarded: for=192.0.2.7, for=10.0.0.1;host=\"a.example\";proto=http\r\n";
        assert_eq!(lines("", &rfc7239(), &trusted()), own);
        for malformed in ["for=\"9.9.9.9", "for=a b", "for=a;for=b"] {
            let extra = format!("Forwarded: {malformed}\r\n");
            assert_eq!(lines(&extra, &rfc7239(), &trusted()), own, "{malformed}");
        }
        let direct = RequestOrigin { client: trusted().peer, ..trusted() };
        let own = "Forwarded: for=10.0.0.1;host=\"a.example\";proto=http\r\n";
        assert_eq!(lines("", &rfc7239(), &direct), own);
    }

    #[test]
    fn addresses_and_schemes_are_written_as_their_formats_demand() {
        let six: IpAddr = "2001:db8::1".parse().unwrap();
        let secure = RequestOrigin { peer: six, client: six, is_secure: true, ..origin() };
        let own = "X-Forwarded-For: 2001:db8::1\r\nX-Forwarded-Proto: https\r\n\
                   X-Forwarded-Host: a.example\r\nX-Real-IP: 2001:db8::1\r\n";
        assert_eq!(lines("", &RequestRules::default(), &secure), own);
        let own = "Forwarded: for=\"[2001:db8::1]\";host=\"a.example\";proto=https\r\n";
        assert_eq!(lines("", &rfc7239(), &secure), own);
        let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        let mapped = RequestOrigin { peer: mapped, client: mapped, ..origin() };
        let own = "Forwarded: for=192.0.2.7;host=\"a.example\";proto=http\r\n";
        assert_eq!(lines("", &rfc7239(), &mapped), own);
    }

    #[test]
    fn the_host_follows_its_rule() {
        let host = |rule: HostRule, head: &str| {
            let rules = RequestRules { host: rule, ..off() };
            let written = written(head, &rules, &origin()).unwrap();
            let line = written.lines().nth(1).unwrap().to_owned();
            assert_eq!(written.matches("ost: ").count(), 1, "{written}");
            line.strip_prefix("Host: ").unwrap().to_owned()
        };
        let head = "GET / HTTP/1.1\r\nX: y\r\nHost: A.example:81\r\n\r\n";
        assert_eq!(host(HostRule::Keep, head), "A.example:81");
        assert_eq!(host(HostRule::Upstream, head), "10.0.0.9:9944");
        let name = HostRule::Name(HostName::new("b.example").unwrap());
        assert_eq!(host(name, head), "b.example");
        for name in ["", "a b", "a\r\nX: y", "a/b", "u@a"] {
            assert_eq!(HostName::new(name), Err(FieldError::Host), "{name:?}");
        }
        assert_eq!(host(HostRule::Keep, "GET / HTTP/1.0\r\n\r\n"), "10.0.0.9:9944");
        assert_eq!(host(HostRule::Keep, "GET http://b.example/ HTTP/1.0\r\n\r\n"), "b.example");
    }

    #[test]
    fn targets_are_sent_in_origin_form() {
        let line = |target: &str, strip_segments: usize| {
            let rules = RequestRules { strip_segments, ..off() };
            let head = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
            let written = written(&head, &rules, &origin()).unwrap();
            let target = written.strip_prefix("GET ").unwrap().split(' ').next().unwrap();
            target.to_owned()
        };
        for (target, count, expected) in [
            ("/", 0, "/"),
            ("/a/b?c=/d", 0, "/a/b?c=/d"),
            ("/a/b?c=/d", 1, "/b?c=/d"),
            ("/a?c", 1, "/?c"),
            ("/a/", 1, "/"),
            ("/a?", 0, "/a?"),
            ("http://a.example", 0, "/"),
            ("HTTP://A.EXAMPLE?b", 0, "/?b"),
            ("wss://a.example/a/b?c", 1, "/b?c"),
            ("/a%20b/%c3%A9", 0, "/a%20b/%C3%A9"),
            ("/%61%2fb/%7Ec?%64", 1, "/~c?%64"),
        ] {
            assert_eq!(line(target, count), expected, "{target} without {count}");
        }
    }

    #[test]
    fn other_authorities_dot_segments_and_connect_are_refused() {
        for target in ["http://b.example/", "http://a.example:80/", "http://a.example.b/"] {
            assert_eq!(refused("GET", target, ""), Some(Refusal::Target), "{target}");
        }
        for target in
            ["/public/../admin", "/public/%2E%2e/admin", "/public/..%2fadmin", "/a/%5c..", "/./a"]
        {
            assert_eq!(refused("GET", target, ""), Some(Refusal::DotSegment), "{target}");
            let absolute = format!("http://a.example{target}");
            assert_eq!(refused("GET", &absolute, ""), Some(Refusal::DotSegment), "{absolute}");
        }
        for target in ["/", "a.example:443"] {
            assert_eq!(refused("CONNECT", target, ""), Some(Refusal::Target), "{target}");
        }
        assert_eq!(refused("OPTIONS", "*", ""), Some(Refusal::Target));
        assert_eq!(refused("GET", "/a%00b", ""), Some(Refusal::AmbiguousPath));
        assert_eq!(refused("GET", "/?a=/../b%00", ""), None);
    }

    #[test]
    fn the_body_has_one_framing() {
        let chunked = "transfer-encoding: Chunked\r\n";
        assert_eq!(lines(chunked, &off(), &origin()), "Transfer-Encoding: chunked\r\n");
        assert_eq!(lines("Content-Length: 0\r\n", &off(), &origin()), "Content-Length: 0\r\n");
        assert_eq!(lines("", &off(), &origin()), "");
        assert_eq!(
            refused("GET", "/", "Transfer-Encoding: gzip\r\n"),
            Some(Refusal::TransferCoding)
        );
        let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(refused("POST", "/", both), Some(Refusal::BodyLength));
    }

    #[test]
    fn expectations_are_forwarded_with_a_body_only() {
        let expect = "Expect: 100-continue\r\n";
        let with_body = format!("{expect}Content-Length: 5\r\n");
        assert_eq!(lines(&with_body, &off(), &origin()), with_body);
        assert_eq!(lines(expect, &off(), &origin()), "");
        assert_eq!(lines("Expect: other\r\n", &off(), &origin()), "Expect: other\r\n");
        let old = "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        let expected = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(written(old, &off(), &origin()).as_deref(), Ok(expected));
    }

    #[test]
    fn connections_that_are_not_reused_are_closed() {
        let close = RequestOrigin { keep_alive: false, ..origin() };
        assert_eq!(lines("Connection: keep-alive\r\n", &off(), &close), "Connection: close\r\n");
        assert_eq!(lines("Connection: close\r\n", &off(), &origin()), "");
    }

    #[test]
    fn headers_of_weir_are_not_accepted_from_clients() {
        let extra =
            "X-Weir-User: admin\r\nx-weir-meta-a: b\r\nX_Weir_User: admin\r\nX-Weird: stays\r\n";
        for origin in [origin(), trusted()] {
            assert_eq!(lines(extra, &off(), &origin), "X-Weird: stays\r\n");
        }
    }

    #[test]
    fn set_and_removed_headers_come_last() {
        let set =
            [("X-Forwarded-Proto", "wss"), ("Accept", "a"), ("X-Weir-User", "b"), ("accept", "c")];
        let changes = HeaderChanges::new(set, ["cookie", "x-real-ip", "x-forwarded-host"]).unwrap();
        let rules = RequestRules { changes, ..RequestRules::default() };
        let extra = "Cookie: a\r\nACCEPT: z\r\nCookies: b\r\nX-Weir-User: c\r\n";
        let expected = "Cookies: b\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: wss\r\n\
                        Accept: a\r\nX-Weir-User: b\r\naccept: c\r\n";
        assert_eq!(lines(extra, &rules, &origin()), expected);
        let changes = HeaderChanges::new([], ["Forwarded", "X-Forwarded-For"]).unwrap();
        let rules = RequestRules { changes, ..rfc7239() };
        assert_eq!(lines("Forwarded: for=1.1.1.1\r\n", &rules, &trusted()), "");
    }

    #[test]
    fn authenticated_connections_are_found() {
        let binds = |extra: &str| {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{extra}\r\n");
            let mut slots = EMPTY_SLOTS;
            binds_connection(&Request::parse(head.as_bytes(), &mut slots).unwrap())
        };
        assert!(binds("Authorization: NTLM TlRM\r\n") && binds("authorization: negotiate YII\r\n"));
        assert!(!binds("Authorization: Basic NTLM\r\n") && !binds(""));
    }
}
