//! HTTP/1.1 beyond the head of a request (RFC 9112): today, its body.
//!
//! Heads are [`handshake`](super::handshake)'s, which says how a body ends
//! ([`Request::body_framing`](super::handshake::Request::body_framing)).

mod body;

pub use body::{
    BodyDecoder, CHUNK_LINE_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, Framing, TRAILERS_BYTES_MAX,
};
