//! The opening handshake of RFC 6455, section 4, in the server and the client role.
//!
//! A server feeds received bytes to a [`HeadScan`] until the head is complete and parses it with
//! [`Request::parse`]. Then it either checks the upgrade ([`Request::upgrade`]) and answers with
//! [`write_switching_protocols`], or answers with a [`Response`]. Every rejection is a [`Refusal`].
//! A client writes a [`ClientRequest`] and checks the answer with [`Expected`].
//!
//! Nothing here does I/O or knows routes and connection limits. No byte from the peer is repeated
//! in an answer, except for the digest of its key.

mod client;
mod expected;
mod extension;
mod field;
mod head;
mod refusal;
mod request;
mod response;
mod target;
mod upgrade;

pub use client::ClientRequest;
pub use expected::{ClientError, Expected, Settled};
pub use extension::{ExtensionList, MalformedExtensions, Param, ParamValue};
pub use field::FieldError;
pub(in crate::protocol) use field::is_tchar;
pub use head::{EMPTY_SLOTS, HEADERS_MAX, HeadScan, Slots};
pub use refusal::Refusal;
pub use request::Request;
pub use response::{Body, Connection, Response, write_switching_protocols};
pub use upgrade::Upgrade;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// The suffix that the server appends to the key before hashing (RFC 6455, 1.3).
pub const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The only version of the protocol (RFC 6455, 4.1).
pub const VERSION: &str = "13";

/// The `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`, which is hashed as sent, not decoded (RFC
/// 6455, 4.2.2, item 5.4).
pub fn accept_key(key: &[u8]) -> [u8; 28] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    base64(&digest)
}

/// Standard base64 of a length known at compile time: `N` is `bytes.len().div_ceil(3) * 4`.
fn base64<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut text = [0; N];
    let written =
        STANDARD.encode_slice(bytes, &mut text).expect("N characters hold the base64 of the bytes");
    debug_assert_eq!(written, N);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_equals_the_example_of_the_rfc() {
        assert_eq!(&accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
