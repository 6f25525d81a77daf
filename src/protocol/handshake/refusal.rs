//! Every reason to refuse a request before it becomes a WebSocket.
//!
//! One table: the status, a name for metrics and a line for the client. The line is precise about
//! protocol errors, and vague where details would help an attacker or reveal the number of other
//! clients.

use std::fmt;

use super::key::VERSION;

macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident = $status:literal $name:literal $reason:literal;)+) => {
        /// Why a request was refused. The connection is closed after the response.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Refusal {
            $($(#[$doc])* $variant,)+
        }

        impl Refusal {
            /// All refusals.
            pub const ALL: &'static [Refusal] = &[$(Refusal::$variant),+];

            /// The HTTP status of the response.
            pub const fn status(self) -> u16 {
                match self { $(Refusal::$variant => $status,)+ }
            }

            /// A unique name in snake case, used as a metric's label.
            pub const fn name(self) -> &'static str {
                match self { $(Refusal::$variant => $name,)+ }
            }

            /// One line for the client: the body, and the value of `X-WebSocket-Error`.
            pub const fn reason(self) -> &'static str {
                match self { $(Refusal::$variant => $reason,)+ }
            }
        }
    };
}

refusals! {
    /// The first byte cannot start a request: TLS on a plaintext port, or not HTTP.
    NotHttp = 400 "not_http" "not an HTTP request";
    /// A plaintext request on a TLS port.
    TlsExpected = 400 "tls_expected" "this port speaks TLS: wss:// or https://";
    /// A line that ends in LF without CR (RFC 9112, 2.2).
    BareLf = 400 "bare_lf" "line ends without CR LF";
    /// The request line is not method, target, version with one space between (RFC 9112, 3).
    RequestLine = 400 "request_line" "malformed request line";
    /// Neither HTTP/1.0 nor HTTP/1.1.
    HttpVersion = 400 "http_version" "HTTP version must be 1.0 or 1.1";
    /// Neither a path nor an absolute http or ws address, or with a fragment (RFC 9112, 3.2).
    Target = 400 "target" "malformed request target";
    /// Folded lines, blanks before the colon, control bytes (RFC 9112, 5).
    Header = 400 "header" "malformed header";
    /// A second header of a kind that must be single.
    DuplicateHeader = 400 "duplicate_header" "header must not be repeated";
    /// HTTP/1.1 without Host, or an invalid Host (RFC 9112, 3.2).
    HostMalformed = 400 "host_malformed" "missing or malformed Host";
    /// An invalid length, or two conflicting ways to find the body's end (RFC 9112, 6).
    BodyLength = 400 "body_length" "ambiguous body length";
    /// Invalid chunk size, chunk extension, line end or trailer (RFC 9112, 7.1).
    ChunkedBody = 400 "chunked_body" "malformed chunked body";
    /// Forwarded does not follow the grammar of RFC 7239, 4, and decides on the client's address.
    Forwarded = 400 "forwarded" "malformed Forwarded";
    /// A path with a segment `.` or `..`, encoded or not, on its way to an upstream.
    DotSegment = 400 "dot_segment" "path has a dot segment";
    /// A path that an upstream may take for that of another route, or for another than the gate of the
    /// route has seen; or one with an encoded NUL.
    AmbiguousPath = 400 "ambiguous_path" "path can be read as another one";
    /// Connection names a header that must be forwarded (RFC 9110, 7.6.1).
    Nominated = 400 "nominated" "Connection names a header that must be forwarded";
    /// An upgrade requested with HTTP/1.0 (RFC 6455, 4.2.1, item 1).
    UpgradeHttpVersion = 400 "upgrade_http_version" "upgrade needs HTTP/1.1";
    /// No `upgrade` in Connection (RFC 6455, 4.2.1, item 4).
    ConnectionToken = 400 "connection_token" "Connection must contain upgrade";
    /// Upgrade is not `websocket` (RFC 6455, 4.2.1, item 3).
    UpgradeToken = 400 "upgrade_token" "Upgrade must be websocket";
    /// No Sec-WebSocket-Version (RFC 6455, 4.2.1, item 6).
    VersionMissing = 400 "version_missing" "missing Sec-WebSocket-Version";
    /// No Sec-WebSocket-Key (RFC 6455, 4.2.1, item 5).
    KeyMissing = 400 "key_missing" "missing Sec-WebSocket-Key";
    /// The key is not the base64 of 16 bytes (RFC 6455, 4.2.1, item 5).
    KeyMalformed = 400 "key_malformed" "Sec-WebSocket-Key must be 16 bytes in base64";
    /// The key was used a short time ago.
    KeyReused = 400 "key_reused" "bad request";
    /// An offered subprotocol is empty or not a token (RFC 6455, 4.1, item 10).
    ProtocolMalformed = 400 "protocol_malformed" "malformed Sec-WebSocket-Protocol";
    /// Sec-WebSocket-Extensions does not follow the grammar (RFC 6455, 9.1).
    ExtensionsMalformed = 400 "extensions_malformed" "malformed Sec-WebSocket-Extensions";
    /// The route requires a subprotocol, and none that was offered is supported.
    ProtocolUnsupported = 400 "protocol_unsupported" "no supported subprotocol offered";
    /// Two tokens in one place of the request.
    TokenTwice = 400 "token_twice" "bad request";
    /// The route's gate got no valid credentials (RFC 9110, 15.5.2).
    Unauthorized = 401 "unauthorized" "unauthorized";
    /// The client is known, but may not use this route (RFC 9110, 15.5.4).
    Forbidden = 403 "forbidden" "forbidden";
    /// The origin is not on the route's list (RFC 6455, 10.2).
    Origin = 403 "origin" "forbidden";
    /// The request names a host that is not on the route's list (RFC 9110, 7.2).
    Host = 403 "host" "host is not allowed";
    /// No route serves this path.
    NotFound = 404 "not_found" "no such path";
    /// The route's gate hides this path from the client.
    GateNotFound = 404 "gate_not_found" "no such path";
    /// A method that the path does not support, or an upgrade by another method than GET. The
    /// caller must add an `Allow` header, which depends on the path (RFC 9110, 15.5.6).
    Method = 405 "method" "method is not allowed here";
    /// The rest of a body did not arrive in time (RFC 9110, 15.5.9).
    BodyTimeout = 408 "body_timeout" "request body did not arrive in time";
    /// A body larger than its route allows.
    BodyTooLarge = 413 "body_too_large" "request body is too large";
    /// A request with a body where no body is accepted.
    Body = 413 "body" "request must not have a body";
    /// A version of the protocol other than 13 (RFC 6455, 4.4).
    VersionUnsupported = 426 "version_unsupported" "Sec-WebSocket-Version must be 13";
    /// An HTTP request without upgrade to a path that serves WebSocket only.
    UpgradeRequired = 426 "upgrade_required" "this path speaks WebSocket";
    /// The limit of connections from this address is reached.
    AddressFull = 429 "address_full" "too many requests";
    /// New connections arrive faster than allowed.
    RateLimited = 429 "rate_limited" "too many requests";
    /// Requests of this address arrive faster than their route allows.
    Requests = 429 "requests" "too many requests";
    /// The subject of the client's identity has its maximum of connections.
    SubjectFull = 429 "subject_full" "too many requests";
    /// Too many invalid credentials came from this address.
    GateFailures = 429 "auth_failures" "too many requests";
    /// The route's gate has its own limit, which the client has reached.
    GateLimited = 429 "gate_limited" "too many requests";
    /// Calls of this address by requests without upgrade exceed the route's rate of messages.
    MessagesPerAddress = 429 "messages_per_address" "too many requests";
    /// Calls of this subject by requests without upgrade exceed the route's rate of messages.
    MessagesPerSubject = 429 "messages_per_subject" "too many requests";
    /// The head exceeds its limit in bytes.
    HeadTooLong = 431 "head_too_long" "request head is too long";
    /// More headers than [`HEADERS_MAX`](super::HEADERS_MAX).
    TooManyHeaders = 431 "too_many_headers" "too many headers";
    /// The trailers of a chunked body exceed their limit in bytes.
    TrailersTooLong = 431 "trailers_too_long" "trailers are too long";
    /// An internal error of the server.
    Internal = 500 "internal" "internal error";
    /// A transfer coding other than `chunked` (RFC 9112, 6.1).
    TransferCoding = 501 "transfer_coding" "Transfer-Encoding must be chunked";
    /// The limit of connections is reached.
    Full = 503 "full" "server is full";
    /// A limit of the service is reached, for example on the connections of a network or on rooms.
    RouteFull = 503 "route_full" "no room on this path";
    /// The limit of connections to the admin address is reached.
    OperatorsFull = 503 "operators_full" "too many connections for operators";
    /// The load level admits only connections of a higher priority.
    Pressure = 503 "pressure" "server is overloaded";
    /// The connections that are left are reserved for higher priorities.
    Reserved = 503 "reserved" "server is full";
    /// The server is shutting down.
    ShuttingDown = 503 "shutting_down" "server is shutting down";
    /// The server lacks memory or file descriptors.
    OutOfResources = 503 "out_of_resources" "service unavailable";
    /// The gate did not decide in time.
    GateTimeout = 503 "gate_timeout" "service unavailable";
    /// The gate cannot decide: what it depends on has failed.
    GateFailed = 503 "gate_failed" "service unavailable";
    /// The upstream that the request was forwarded to did not answer in time (RFC 9110, 15.6.5).
    UpstreamTimeout = 504 "upstream_timeout" "the upstream did not answer in time";
}

impl Refusal {
    /// The headers that belong to the status, besides those of every response. The reactor adds
    /// `Retry-After` where [`may_succeed_later`](Refusal::may_succeed_later).
    pub const fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self.status() {
            401 => &[("WWW-Authenticate", "Bearer")],
            426 => &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", VERSION)],
            _ => &[],
        }
    }

    /// Whether the same request may succeed later: a limit was reached, or the server has failed.
    pub const fn may_succeed_later(self) -> bool {
        match self {
            Refusal::TransferCoding => false,
            _ => matches!(self.status(), 429 | 500..=599),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_labels() {
        let names: HashSet<_> = Refusal::ALL.iter().map(|refusal| refusal.name()).collect();
        assert_eq!(names.len(), Refusal::ALL.len());
        for name in names {
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        }
    }

    #[test]
    fn security_reasons_reveal_nothing() {
        assert_eq!(Refusal::Origin.reason(), "forbidden");
        assert_eq!(Refusal::KeyReused.reason(), "bad request");
        assert_eq!(Refusal::AddressFull.reason(), Refusal::RateLimited.reason());
        assert_eq!(Refusal::AddressFull.reason(), Refusal::Requests.reason());
        assert_eq!(Refusal::AddressFull.reason(), Refusal::SubjectFull.reason());
        assert_eq!(Refusal::AddressFull.reason(), Refusal::GateFailures.reason());
        assert_eq!(Refusal::NotFound.reason(), Refusal::GateNotFound.reason());
        assert_eq!(Refusal::Origin.reason(), Refusal::Forbidden.reason());
    }
}
