//! Why a `[[auth]]` is rejected.

use std::fmt;

/// Why a gate was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AuthConfigError {
    Missing(&'static str),
    Name(String),
    Twice(String),
}

impl AuthConfigError {
    /// The keys that contradict each other, as a text; empty if the error concerns the gate itself.
    pub(in crate::config) fn contradiction(&self) -> &'static str {
        match self {
            AuthConfigError::Missing(_) => "",
            AuthConfigError::Name(_) | AuthConfigError::Twice(_) => "name",
        }
    }
}

impl fmt::Display for AuthConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuthConfigError::Missing(key) => write!(f, "a [[auth]] needs {key}"),
            AuthConfigError::Name(name) => {
                write!(f, "name = {name:?}: expected letters, digits, '-', '_' and '.'")
            }
            AuthConfigError::Twice(name) => write!(f, "auth {name:?} is defined twice"),
        }
    }
}
