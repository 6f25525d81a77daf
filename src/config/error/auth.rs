//! Why a `[[auth]]` is rejected.

use std::fmt;

use weir::services::auth::settings::AuthSettingsError;

/// Why a gate was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AuthConfigError {
    Missing(&'static str),
    Name(String),
    Twice(String),
    /// A key that only gates of this kind have.
    OtherKind {
        key: String,
        kind: &'static str,
    },
    Settings(AuthSettingsError),
}

impl AuthConfigError {
    /// The keys that contradict each other, as a text; empty if the error concerns the gate itself.
    pub(in crate::config) fn contradiction(&self) -> String {
        match self {
            AuthConfigError::Missing(_) => String::new(),
            AuthConfigError::Name(_) | AuthConfigError::Twice(_) => "name".to_owned(),
            AuthConfigError::OtherKind { key, .. } => key.clone(),
            AuthConfigError::Settings(error) => error.to_string(),
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
            AuthConfigError::OtherKind { key, kind } => write!(f, "{key} needs kind = {kind:?}"),
            AuthConfigError::Settings(error) => error.fmt(f),
        }
    }
}
