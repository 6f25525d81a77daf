//! Why the gate of a route or a network is rejected.

use std::fmt;

use crate::nearest::suggest;

/// Why `auth` or `require` was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AccessError {
    NoAuth {
        name: String,
        near: Option<String>,
    },
    RequireWithoutAuth,
    /// Browsers send cookies with requests of pages of other sites.
    CookiesWithoutOrigins(String),
}

impl AccessError {
    /// The keys that contradict each other, as a text.
    pub(in crate::config) fn contradiction(&self) -> &'static str {
        match self {
            AccessError::NoAuth { .. } | AccessError::CookiesWithoutOrigins(_) => "auth",
            AccessError::RequireWithoutAuth => "require",
        }
    }
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AccessError::NoAuth { name, near } => {
                write!(f, "there is no [[auth]] with name = {name:?}")?;
                suggest(f, near.as_deref())
            }
            AccessError::RequireWithoutAuth => f.write_str("require needs auth"),
            AccessError::CookiesWithoutOrigins(name) => write!(
                f,
                "auth = {name:?} needs origins: it accepts cookies, which browsers also send for pages \
                 of other sites"
            ),
        }
    }
}
