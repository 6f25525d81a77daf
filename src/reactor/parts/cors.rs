//! Requests of pages of other origins (Fetch standard, "CORS protocol"): which may read an answer.
//!
//! A browser hides an answer from such a page unless it has `Access-Control-Allow-Origin`. Only an
//! origin on the route's list gets it; a route without a list allows none.

use super::origin;
use crate::protocol::handshake::{Request, Response};
use crate::reactor::api::settings::RouteSettings;

/// How long a browser may keep what a preflight request was answered: a changed list takes effect soon.
const PREFLIGHT_MAX_AGE_SECONDS: &str = "600";

/// The CORS fields of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cors {
    /// The route has no list.
    Off,
    /// The route has a list, and the request's origin is not on it.
    Denied,
    /// The request's origin is on the route's list.
    Allowed(Box<str>),
}

impl Cors {
    pub(crate) fn of(settings: &RouteSettings, request: &Request<'_>) -> Cors {
        if settings.origins.is_empty() {
            return Cors::Off;
        }
        match request.header("Origin") {
            Some(name) if origin::is_allowed(&settings.origins, Some(name)) => {
                Cors::Allowed(name.into())
            }
            _ => Cors::Denied,
        }
    }

    /// Adds what belongs into the answer to the request. Where there is a list, answers differ by
    /// origin, which caches must know.
    pub(crate) fn add_to(&self, response: &mut Response) {
        if *self != Cors::Off {
            response.add("Vary", "Origin");
        }
        if let Cors::Allowed(origin) = self {
            response.add("Access-Control-Allow-Origin", origin);
        }
    }

    /// Adds what belongs into the answer to a preflight request: `methods` are the route's.
    pub(crate) fn add_to_preflight(&self, response: &mut Response, methods: &[&str]) {
        self.add_to(response);
        if let Cors::Allowed(_) = self {
            response.add("Access-Control-Allow-Methods", &methods.join(", "));
            response.add("Access-Control-Allow-Headers", "Content-Type");
            response.add("Access-Control-Max-Age", PREFLIGHT_MAX_AGE_SECONDS);
        }
    }
}
