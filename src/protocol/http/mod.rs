//! HTTP/1.1 beyond the head of a request (RFC 9112): its body, and the client's address behind
//! proxies.
//!
//! [`handshake`](super::handshake) parses heads;
//! [`Request::body_framing`](super::handshake::Request::body_framing) returns how a body ends.

pub(super) mod body;
#[cfg(feature = "proxy")]
pub(super) mod body_pass;
pub(super) mod forwarded;

pub use body::{
    BodyDecoder, CHUNK_LINE_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, Framing, TRAILERS_BYTES_MAX,
    Truncated,
};
#[cfg(feature = "proxy")]
pub use body_pass::{BodyPass, PassedBody};
pub use forwarded::{
    AddressSource, ClientAddress, FORWARDED_ENTRIES_MAX, client_address, is_forwarded_secure,
    is_forwarding_header,
};
