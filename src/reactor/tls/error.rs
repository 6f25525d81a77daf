//! Why there is no TLS with the files that the settings name.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem;
use rustls::server::VerifierBuilderError;
use rustls::{CertificateError, Error};

/// What is wrong, and in which file.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// No certificate is named.
    NoCertificate,
    /// A file cannot be read, is no regular file, or is larger than any such file.
    Unreadable(PathBuf, io::Error),
    /// A file is malformed PEM.
    Malformed(PathBuf, pem::Error),
    /// A file is not what is wanted, for a reason that can be named.
    Content(PathBuf, &'static str),
    /// A chain, or the names of authorities, would take so many bytes of a handshake message.
    TooLarge(PathBuf, usize),
    /// The private key, named second, is not the certificate's.
    KeyMismatch(PathBuf, PathBuf),
    /// A file holds nothing of the kind that is wanted.
    Empty(PathBuf, &'static str),
    /// A certificate makes no sense, or belongs to another key than the one beside it.
    Certificate(PathBuf, Error),
    /// A key is of no kind that can sign.
    Key(PathBuf, Error),
    /// A certificate is not valid at this time.
    NotValidNow(PathBuf, String),
    /// The certificates that clients' must lead to are of no use.
    Clients(PathBuf, VerifierBuilderError),
    /// What is no host name and no address.
    ServerName(String),
    /// All else that rustls refuses.
    Configuration(Error),
    /// The thread that watches the files was not to be had.
    Thread(io::Error),
    /// A panic while the files were read.
    Panicked,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::NoCertificate => f.write_str("TLS without a certificate"),
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
                write!(f, "{}: valid {times}, and not now", path.display())
            }
            TlsError::Clients(path, error) => write!(f, "{}: {error}", path.display()),
            TlsError::ServerName(name) => write!(f, "{name:?} is no host name and no address"),
            TlsError::Configuration(error) => write!(f, "TLS: {error}"),
            TlsError::Thread(error) => write!(f, "watching certificates: {error}"),
            TlsError::Panicked => f.write_str("reading the certificates panicked"),
        }
    }
}

/// What is wrong with a PEM file.
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
    /// The file at fault, if it is one.
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

impl std::error::Error for TlsError {}
