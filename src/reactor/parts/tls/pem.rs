//! Reads certificates and keys from PEM files. Errors name a cause that an operator can fix.
//!
//! [`certificates`] checks whether certificate and key match and are valid now.
//!
//! [`certificates`]: super::certificates

use std::path::Path;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::error::TlsError;
use crate::reactor::parts::file::read_regular_file;

/// The maximum size of a PEM file in bytes. Bundles of all public authorities have some 250 KiB.
pub const PEM_BYTES_MAX: usize = 1 << 20;
/// The longest handshake message that clients accept, rustls among them.
pub(super) const HANDSHAKE_BYTES_MAX: usize = 0xffff;
/// Bytes of a Certificate message besides the certificates, in total and for each (RFC 8446,
/// 4.4.2).
const MESSAGE_BYTES: usize = 4;
const ENTRY_BYTES: usize = 5;

const CERTIFICATE: &str = "certificate";
const KEY: &str = "private key";

/// All certificates of a file; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let malformed = |error| TlsError::Malformed(path.to_owned(), error);
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(malformed)?;
    if found.is_empty() {
        return Err(match contains(&text, "PRIVATE KEY-----") {
            true => TlsError::Content(path.to_owned(), "no certificate in it, but a private key"),
            false => TlsError::Empty(path.to_owned(), CERTIFICATE),
        });
    }
    Ok(found)
}

/// The certificate chain that a server sends. It must fit into one handshake message.
pub(super) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = certificates(path)?;
    let entries: usize = chain.iter().map(|certificate| certificate.len() + ENTRY_BYTES).sum();
    match entries + MESSAGE_BYTES {
        bytes if bytes > HANDSHAKE_BYTES_MAX => Err(TlsError::TooLarge(path.to_owned(), bytes)),
        _ => Ok(chain),
    }
}

/// The first private key of a file.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let content = |why| TlsError::Content(path.to_owned(), why);
        // PKCS #8 (RFC 7468, 11), and OpenSSL's older format (RFC 1421, 4.6.1.1).
        let is_encrypted = ["BEGIN ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"];
        if is_encrypted.into_iter().any(|mark| contains(&text, mark)) {
            return content(
                "the private key is encrypted: decrypt it with `openssl pkey -in FILE -out PLAIN`",
            );
        }
        match error {
            PemError::NoItemsFound if contains(&text, "BEGIN CERTIFICATE-----") => {
                content("no private key in it, but a certificate")
            }
            PemError::NoItemsFound if contains(&text, "BEGIN PUBLIC KEY-----") => {
                content("no private key in it, but a public key")
            }
            PemError::NoItemsFound => TlsError::Empty(path.to_owned(), KEY),
            error => TlsError::Malformed(path.to_owned(), error),
        }
    })
}

/// Reads a file that may be PEM.
fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |error| TlsError::Unreadable(path.to_owned(), error);
    let text = read_regular_file(path, PEM_BYTES_MAX).map_err(unreadable)?;
    let why = match &*text {
        [0xef, 0xbb, 0xbf, ..] => "begins with a byte-order mark: save it without one",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "is UTF-16 text: save it as ASCII or UTF-8",
        [0x30, 0x80..=0x84, ..] => {
            "is DER, not PEM: convert it with `openssl x509` or `openssl pkey`, -inform der"
        }
        _ => return Ok(text),
    };
    Err(TlsError::Content(path.to_owned(), why))
}

fn contains(text: &[u8], mark: &str) -> bool {
    memchr::memmem::find(text, mark.as_bytes()).is_some()
}
