//! HTTP/1.1 beyond the head of a request (RFC 9112): currently, its body.
//!
//! [`handshake`](super::handshake) parses heads;
//! [`Request::body_framing`](super::handshake::Request::body_framing) returns how a body ends.

pub(super) mod body;

pub use body::{
    BodyDecoder, CHUNK_LINE_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, Framing, TRAILERS_BYTES_MAX,
};
