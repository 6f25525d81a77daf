//! Tokens (RFC 7519) without I/O: where a request has them, their parts, and what their claims must say.
//!
//! Time is an argument. Keys and signatures are in [`keys`](super::keys).

pub(super) mod algorithm;
pub(super) mod claims;
pub(super) mod error;
mod members;
pub(super) mod parse;
pub(super) mod places;
