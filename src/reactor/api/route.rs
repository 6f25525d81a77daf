//! Errors of adding a route, and the static pages that the loop serves.
//!
//! Plain values. [`router`](crate::reactor::parts::router) owns the routes and pages.

use std::fmt;

use super::settings::SettingsError;

/// Why a route was not added.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum RouteError {
    /// The pattern is malformed.
    Pattern(PatternError),
    /// The service already has a route with this pattern.
    Duplicate,
    /// The service has not been added.
    NoService,
    /// The gate that the settings name has not been added.
    NoGate,
    /// There is no such route, or it is another service's.
    NoRoute,
    /// There are 65,535 routes, the maximum.
    TooMany,
    /// The limits of the route contradict each other.
    Settings(SettingsError),
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RouteError::Pattern(error) => error.fmt(f),
            RouteError::Duplicate => f.write_str("this path already routes to this service"),
            RouteError::NoService => f.write_str("the service has not been added"),
            RouteError::NoGate => f.write_str("the gate has not been added"),
            RouteError::NoRoute => f.write_str("the service has no such route"),
            RouteError::TooMany => f.write_str("too many routes"),
            RouteError::Settings(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RouteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RouteError::Pattern(error) => Some(error),
            RouteError::Settings(error) => Some(error),
            RouteError::Duplicate
            | RouteError::NoService
            | RouteError::NoGate
            | RouteError::NoRoute
            | RouteError::TooMany => None,
        }
    }
}

/// Why a route pattern is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatternError {
    /// It does not start with `/`.
    NoSlash,
    /// The name of a parameter is empty, or is not of ASCII letters, digits and `_`.
    BadName,
    /// Two parameters have the same name.
    NameTwice,
    /// A brace or `*` where it has no meaning.
    BadSegment,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PatternError::NoSlash => "must start with /",
            PatternError::BadName => "a parameter must be {name}, of letters, digits and _",
            PatternError::NameTwice => "two parameters have the same name",
            PatternError::BadSegment => "a segment must be plain text, {name}, or * at the end",
        })
    }
}

impl std::error::Error for PatternError {}

/// A static document, returned for a GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The media type.
    pub content_type: &'static str,
    /// The document.
    pub body: &'static [u8],
    /// The value of `Content-Security-Policy`, in printable ASCII: what the document may load and
    /// run. If empty, the header is omitted.
    pub security_policy: &'static str,
}
