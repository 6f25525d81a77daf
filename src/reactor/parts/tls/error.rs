//! Errors of TLS settings and of the files that they name.
//!
//! Each error names its file, so that the configuration can point at the setting.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem;
use rustls::server::VerifierBuilderError;
use rustls::{CertificateError, Error};

/// Why certificates or other TLS settings cannot be used; with the file, if one is at fault.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// No certificate is configured.
    NoCertificate,
    /// A file cannot be read, is not a regular file, or is larger than
    /// [`PEM_BYTES_MAX`](super::PEM_BYTES_MAX).
    Unreadable(PathBuf, io::Error),
    /// A file is malformed PEM.
    Malformed(PathBuf, pem::Error),
    /// A file has the wrong content, for the given reason.
    Content(PathBuf, &'static str),
    /// A certificate chain, or the names of authorities, would take this many bytes of a handshake
    /// message.
    TooLarge(PathBuf, usize),
    /// The private key, in the second file, does not belong to the certificate in the first.
    KeyMismatch(PathBuf, PathBuf),
    /// A file contains no item of the given kind.
    Empty(PathBuf, &'static str),
    /// A certificate is malformed, or cannot be used with its key.
    Certificate(PathBuf, Error),
    /// The key cannot be used for signatures.
    Key(PathBuf, Error),
    /// A certificate is not valid at this time.
    NotValidNow(PathBuf, String),
    /// The certificates that client certificates must chain to cannot be used.
    Clients(PathBuf, VerifierBuilderError),
    /// The text is neither a host name nor an IP address.
    ServerName(String),
    /// rustls rejects the configuration for another reason.
    Configuration(Error),
    /// The certificate watcher thread could not be started.
    Thread(io::Error),
    /// A parser panicked while it read the files.
    Panicked,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::NoCertificate => f.write_str("TLS needs a certificate"),
            TlsError::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            TlsError::Malformed(path, error) => {
                write!(f, "{}: {}", path.display(), describe(error))
            }
            TlsError::Content(path, why) => write!(f, "{}: {why}", path.display()),
            TlsError::TooLarge(path, bytes) => write!(
                f,
                "{}: the certificates take {bytes} bytes of a handshake message, which has at most \
                 64 KiB",
                path.display()
            ),
            TlsError::KeyMismatch(chain, key) => write!(
                f,
                "{}: this private key is not that of the certificate in {}",
                key.display(),
                chain.display()
            ),
            TlsError::Empty(path, kind) => write!(f, "{}: no {kind} in it", path.display()),
            TlsError::Certificate(
                path,
                Error::InvalidCertificate(CertificateError::BadEncoding),
            ) => {
                write!(f, "{}: a certificate in it is malformed", path.display())
            }
            TlsError::Certificate(path, error) | TlsError::Key(path, error) => {
                write!(f, "{}: {error}", path.display())
            }
            TlsError::NotValidNow(path, times) => {
                write!(f, "{}: not valid now: valid {times}", path.display())
            }
            TlsError::Clients(path, error) => write!(f, "{}: {error}", path.display()),
            TlsError::ServerName(name) => {
                write!(f, "{name:?} is neither a host name nor an IP address")
            }
            TlsError::Configuration(error) => write!(f, "TLS: {error}"),
            TlsError::Thread(error) => {
                write!(f, "cannot start the certificate watcher thread: {error}")
            }
            TlsError::Panicked => f.write_str("reading the certificates panicked"),
        }
    }
}

/// A PEM error in words.
fn describe(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "malformed PEM: a BEGIN line without its END line",
        pem::Error::IllegalSectionStart { .. } => {
            "malformed PEM: a BEGIN line that does not end in -----"
        }
        pem::Error::Base64Decode(_) => "malformed PEM: a section is not base64",
        _ => "malformed PEM",
    }
}

impl TlsError {
    /// The file at fault, if the error is about a file.
    pub fn path(&self) -> Option<&Path> {
        match self {
            TlsError::Unreadable(path, _)
            | TlsError::Malformed(path, _)
            | TlsError::Content(path, _)
            | TlsError::TooLarge(path, _)
            | TlsError::KeyMismatch(_, path)
            | TlsError::Empty(path, _)
            | TlsError::Certificate(path, _)
            | TlsError::Key(path, _)
            | TlsError::NotValidNow(path, _)
            | TlsError::Clients(path, _) => Some(path),
            TlsError::NoCertificate
            | TlsError::ServerName(_)
            | TlsError::Configuration(_)
            | TlsError::Thread(_)
            | TlsError::Panicked => None,
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TlsError::Unreadable(_, error) | TlsError::Thread(error) => Some(error),
            TlsError::Malformed(_, error) => Some(error),
            TlsError::Certificate(_, error)
            | TlsError::Key(_, error)
            | TlsError::Configuration(error) => Some(error),
            TlsError::Clients(_, error) => Some(error),
            TlsError::NoCertificate
            | TlsError::Content(..)
            | TlsError::TooLarge(..)
            | TlsError::KeyMismatch(..)
            | TlsError::Empty(..)
            | TlsError::NotValidNow(..)
            | TlsError::ServerName(_)
            | TlsError::Panicked => None,
        }
    }
}
