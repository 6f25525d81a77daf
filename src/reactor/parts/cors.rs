//! CORS (Fetch standard, "CORS protocol"): which pages of other origins may read a response.
//!
//! Browsers hide a response from such a page unless it has `Access-Control-Allow-Origin`. Only
//! origins on the route's list get this header; without a list, no origin does.

use super::origin;
use crate::protocol::handshake::{Request, Response};
use crate::reactor::api::settings::RouteSettings;

/// How long browsers may cache the response to a preflight request: short, so that a changed list
/// takes effect soon.
const PREFLIGHT_MAX_AGE_SECONDS: &str = "600";

/// The CORS result for a request.
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

    /// Adds the headers for a normal response. With a list, responses differ by origin; `Vary`
    /// informs caches.
    pub(crate) fn add_to(&self, response: &mut Response) {
        if *self != Cors::Off {
            response.add("Vary", "Origin");
        }
        if let Cors::Allowed(origin) = self {
            response.add("Access-Control-Allow-Origin", origin);
        }
    }

    /// Adds the headers for the response to a preflight request; `methods` are the route's.
    pub(crate) fn add_to_preflight(&self, response: &mut Response, methods: &[&str]) {
        self.add_to(response);
        if let Cors::Allowed(_) = self {
            response.add("Access-Control-Allow-Methods", &methods.join(", "));
            response.add("Access-Control-Allow-Headers", "Content-Type");
            response.add("Access-Control-Max-Age", PREFLIGHT_MAX_AGE_SECONDS);
        }
    }
}
