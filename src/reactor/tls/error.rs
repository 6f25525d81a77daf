//! Why there is no TLS with the files that the settings name.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rustls::Error;
use rustls::pki_types::pem;
use rustls::server::VerifierBuilderError;

/// What is wrong, and in which file.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// No certificate is named.
    NoCertificate,
    /// A file cannot be read, or is no PEM.
    Unreadable(PathBuf, pem::Error),
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
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::NoCertificate => f.write_str("TLS without a certificate"),
            TlsError::Unreadable(path, pem::Error::Io(error)) => {
                write!(f, "{}: {error}", path.display())
            }
            TlsError::Unreadable(path, error) => write!(f, "{}: {error:?}", path.display()),
            TlsError::Empty(path, kind) => write!(f, "{}: no {kind} in it", path.display()),
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
        }
    }
}

impl std::error::Error for TlsError {}
