//! [`AuthError`]: why a gate for tokens could not be created.

use std::fmt;
use std::path::{Path, PathBuf};

use super::keys::error::KeyError;
use crate::reactor::TlsError;

/// Why a gate could not be created.
#[derive(Debug)]
pub enum AuthError {
    /// A file with a secret or with keys cannot be used.
    Keys(PathBuf, KeyError),
    /// The file with CA certificates cannot be used.
    Tls(TlsError),
}

impl AuthError {
    /// The file.
    pub fn path(&self) -> Option<&Path> {
        match self {
            AuthError::Keys(path, _) => Some(path),
            AuthError::Tls(error) => error.path(),
        }
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuthError::Keys(path, error) => write!(f, "{}: {error}", path.display()),
            AuthError::Tls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AuthError {}

impl From<TlsError> for AuthError {
    fn from(error: TlsError) -> AuthError {
        AuthError::Tls(error)
    }
}
