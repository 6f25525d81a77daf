//! HTTP/1.1 beyond the head of a request (RFC 9112): its body, the client's address behind proxies,
//! and with the feature `proxy` what a reverse proxy needs.
//!
//! [`handshake`](super::handshake) parses heads of requests;
//! [`Request::body_framing`](super::handshake::Request::body_framing) returns how a body ends.

pub(super) mod body;
#[cfg(feature = "proxy")]
pub(super) mod body_pass;
#[cfg(feature = "proxy")]
pub(super) mod cookie;
pub(super) mod forwarded;
#[cfg(feature = "proxy")]
pub(super) mod headers;
#[cfg(any(feature = "auth", feature = "proxy"))]
pub(super) mod path;
#[cfg(feature = "proxy")]
pub(super) mod response;
#[cfg(any(feature = "metrics", feature = "nostr", feature = "proxy"))]
pub(super) mod sender;
#[cfg(feature = "proxy")]
pub(super) mod switch;
pub(super) mod trace_parent;

pub use body::{
    BodyDecoder, CHUNK_LINE_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, Framing, TRAILERS_BYTES_MAX,
    Truncated,
};
#[cfg(feature = "proxy")]
pub use body_pass::{BodyPass, PassedBody};
#[cfg(feature = "proxy")]
pub use cookie::{cookie, sticky_cookie};
pub use forwarded::{
    AddressSource, ClientAddress, FORWARDED_ENTRIES_MAX, client_address, is_forwarded_secure,
    is_forwarding_header,
};
#[cfg(feature = "proxy")]
pub use headers::{
    ForwardedMode, HeaderChanges, HostName, HostRule, IdentityHeaders, RequestOrigin, RequestRules,
    ResponseRules, binds_connection, check_request, offers_used_token, write_request,
    write_response,
};
#[cfg(feature = "proxy")]
pub(crate) use path::lenient_path;
#[cfg(any(feature = "auth", feature = "proxy"))]
pub use path::normalized_path;
#[cfg(feature = "proxy")]
pub use response::{ResponseError, ResponseHead};
#[cfg(any(feature = "metrics", feature = "nostr", feature = "proxy"))]
pub(crate) use sender::check_sender;
#[cfg(feature = "proxy")]
pub use switch::{Switched, check_switch};
pub use trace_parent::{TraceId, TraceParent};
