//! Why keys were not loaded.

use std::fmt;
use std::io;

/// Maximum number of keys of a source.
pub(super) const KEYS_MAX: usize = 64;

/// Why a file or a set of keys cannot be used.
#[derive(Debug)]
pub enum KeyError {
    /// The file cannot be read.
    File(io::Error),
    /// Neither a JWK set nor PEM.
    Format,
    /// A key is malformed.
    Malformed,
    /// An RSA key has fewer than 2048 bits, or more than 8192.
    RsaSize,
    /// A PEM file has a private key.
    PrivateKey,
    /// A PEM file has a key of a kind that no algorithm uses.
    Kind,
    /// There is no key that verifies signatures.
    Empty,
    /// There are more than [`KEYS_MAX`] keys.
    TooMany,
    /// The secret is shorter than the hash of an algorithm: it needs this many bytes.
    ShortSecret(usize),
    /// The server did not send the keys.
    Fetch(String),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::File(error) => error.fmt(f),
            KeyError::Format => f.write_str("neither a JWK set (JSON) nor a public key in PEM"),
            KeyError::Malformed => f.write_str("a key is malformed"),
            KeyError::RsaSize => f.write_str("an RSA key must have 2048 to 8192 bits"),
            KeyError::PrivateKey => {
                f.write_str("this is a private key: tokens are verified with the public key")
            }
            KeyError::Kind => f.write_str("a public key must be of RSA, P-256, P-384 or Ed25519"),
            KeyError::Empty => f.write_str("no key in it verifies signatures"),
            KeyError::TooMany => write!(f, "more than {KEYS_MAX} keys"),
            KeyError::ShortSecret(least) => {
                write!(f, "the secret must have at least {least} bytes (RFC 7518, 3.2)")
            }
            KeyError::Fetch(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for KeyError {}
