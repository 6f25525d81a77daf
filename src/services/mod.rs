//! The services: [`Echo`], [`Rooms`], [`Rpc`](rpc::Rpc) and [`Admin`](admin::Admin); and gates
//! ([`auth`]).
//!
//! Services import the reactor and the protocol, but never `mio` or each other.

#[cfg(feature = "metrics")]
pub mod admin;
#[cfg(feature = "auth")]
pub mod auth;
mod echo;
#[cfg(feature = "nostr")]
pub mod nostr;
#[cfg(feature = "proxy")]
pub mod proxy;
pub mod rooms;
#[cfg(feature = "rpc")]
pub mod rpc;

pub use echo::Echo;
pub use rooms::Rooms;

use crate::reactor::Page;

/// A demo page for echo and rooms in a browser.
pub const TRY_IT_PAGE: Page = Page {
    content_type: "text/html; charset=utf-8",
    body: include_bytes!("page.html"),
    security_policy: PAGE_POLICY,
};

/// Allows only the page's own script and style, by their SHA-256, its empty icon, and WebSockets.
/// ws: and wss: are listed because not every browser includes them in `'self'` (CSP 3, 6.7.2.8).
const PAGE_POLICY: &str = "default-src 'none'; \
    script-src 'sha256-E9R/CqRPRniC1gvt6cGlxF7u6GFX9uKLQVnrshdtuJI='; \
    style-src 'sha256-CGN8LpFzI2S/k1nqpeVoowLL0zLO/wYRQgxiMfLkVsU='; \
    img-src data:; connect-src 'self' ws: wss:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
