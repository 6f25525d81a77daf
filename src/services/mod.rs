//! What runs on the loop: [`Echo`], [`Rooms`], [`Rpc`](rpc::Rpc) and [`Admin`](admin::Admin).
//!
//! Services import the reactor and the protocol, never `mio` nor each other.

#[cfg(feature = "metrics")]
pub mod admin;
mod echo;
pub mod rooms;
#[cfg(feature = "rpc")]
pub mod rpc;

pub use echo::Echo;
pub use rooms::Rooms;

use crate::reactor::Page;

/// A page to try echo and rooms from a browser.
pub const TRY_IT_PAGE: Page = Page {
    content_type: "text/html; charset=utf-8",
    body: include_bytes!("page.html"),
    security_policy: PAGE_POLICY,
};

/// Nothing but the page's own script and style, by their SHA-256, its empty icon, and WebSockets. Not
/// every browser takes `'self'` for ws: and wss: (CSP 3, 6.7.2.8), so these are named.
const PAGE_POLICY: &str = "default-src 'none'; \
    script-src 'sha256-DYvOU77ozWV0xl/oLj7rQiS1/J0M+9JQdnMI69UQyuM='; \
    style-src 'sha256-XTwzAmubChhfEuMGFpS6tkuMIQlhvkj5LIjYt96h5fM='; \
    img-src data:; connect-src 'self' ws: wss:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
