//! Errors of the store: why it did not open, and why it cannot be read or written.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// The store did not open. Displays as one line.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process uses the directory.
    Locked(PathBuf),
    /// The directory has no store, and none is to be created.
    Missing(PathBuf),
    /// The directory or its lock file cannot be used.
    Directory(PathBuf, io::Error),
    /// A newer version of weir wrote the store, with this schema.
    NewerSchema(PathBuf, u32),
    /// The database failed.
    Database(PathBuf, StoreError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Locked(path) => {
                write!(f, "{}: another process is using this store", path.display())
            }
            OpenError::Missing(path) => write!(f, "{}: no store of events", path.display()),
            OpenError::Directory(path, error) => write!(f, "{}: {error}", path.display()),
            OpenError::NewerSchema(path, schema) => {
                write!(f, "{}: a newer weir wrote this store (schema {schema})", path.display())
            }
            OpenError::Database(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Directory(_, error) => Some(error),
            OpenError::Database(_, error) => Some(error),
            OpenError::Locked(_) | OpenError::Missing(_) | OpenError::NewerSchema(..) => None,
        }
    }
}

/// The store cannot be read or written.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The database failed. After a failed write it refuses all writes until it is opened again.
    Database(fjall::Error),
    /// The directory has no room for a probe file, or cannot be used.
    Directory(io::Error),
    /// The database could not be opened again; it is closed until a later attempt.
    Closed,
    /// A stored record or index entry is malformed.
    Corrupt(&'static str),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Database(fjall::Error::Io(error)) => error.fmt(f),
            StoreError::Database(fjall::Error::Poisoned) => {
                f.write_str("an earlier write failed; the database has to be opened again")
            }
            StoreError::Database(error) => write!(f, "the database failed: {error:?}"),
            StoreError::Directory(error) => error.fmt(f),
            StoreError::Closed => f.write_str("the database is closed after a disk error"),
            StoreError::Corrupt(what) => write!(f, "malformed {what}"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StoreError::Database(error) => Some(error),
            StoreError::Directory(error) => Some(error),
            StoreError::Closed | StoreError::Corrupt(_) => None,
        }
    }
}

impl From<fjall::Error> for StoreError {
    fn from(error: fjall::Error) -> StoreError {
        StoreError::Database(error)
    }
}
