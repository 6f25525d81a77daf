//! The key of a handshake and the value that accepts it; the version of the protocol.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// The suffix that the server appends to the key before hashing (RFC 6455, 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The only version of the protocol (RFC 6455, 4.1).
pub(super) const VERSION: &str = "13";

/// The `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`, which is hashed as sent, not decoded (RFC
/// 6455, 4.2.2, item 5.4).
pub fn accept_key(key: &[u8]) -> [u8; 28] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    base64(&digest)
}

/// Standard base64 of a length known at compile time: `N` is `bytes.len().div_ceil(3) * 4`.
pub(super) fn base64<const N: usize>(bytes: &[u8]) -> [u8; N] {
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
