//! Keys that verify tokens: their material, the files and sets that they come from, and the choice among
//! them.
//!
//! Verification is `ring`'s, which rustls brings. A key verifies the algorithms of its own kind only, so a
//! public RSA key is never the secret of an HMAC (RFC 8725, 3.1).

mod der;
pub(super) mod error;
mod jwk;
mod key;
mod pem;
pub(super) mod set;
pub(super) mod source;
