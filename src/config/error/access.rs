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
    /// A refresh needs a gate.
    RefreshWithoutAuth,
    /// A refresh admits nobody.
    RefreshWithRequire,
    /// The gate does not verify tokens.
    NotJwt(String),
    /// A key of rooms that depends on identities.
    RoomsWithoutAuth(&'static str),
    /// Browsers send cookies with requests of pages of other sites.
    CookiesWithoutOrigins(String),
}

impl AccessError {
    /// The keys that contradict each other, as a text.
    pub(in crate::config) fn contradiction(&self) -> &'static str {
        match self {
            AccessError::NoAuth { .. }
            | AccessError::CookiesWithoutOrigins(_)
            | AccessError::NotJwt(_) => "auth",
            AccessError::RefreshWithoutAuth => "service",
            AccessError::RequireWithoutAuth | AccessError::RefreshWithRequire => "require",
            AccessError::RoomsWithoutAuth(key) => key,
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
            AccessError::RefreshWithoutAuth => f.write_str("service = \"auth\" needs auth"),
            AccessError::RefreshWithRequire => {
                f.write_str("require is not for service = \"auth\": set it where clients connect")
            }
            AccessError::NotJwt(name) => {
                write!(
                    f,
                    "auth = {name:?} must have kind = \"jwt\": a hook has no tokens to refresh"
                )
            }
            AccessError::RoomsWithoutAuth(key) => write!(f, "{key} needs auth"),
            AccessError::CookiesWithoutOrigins(name) => write!(
                f,
                "auth = {name:?} needs origins: it accepts cookies, which browsers also send for pages \
                 of other sites"
            ),
        }
    }
}
