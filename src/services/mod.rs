//! What runs on the loop: [`Echo`], [`Rooms`], [`Rpc`](rpc::Rpc) and [`Admin`](admin::Admin).
//!
//! Services import the reactor and the protocol, never `mio` nor each other.

pub mod admin;
mod echo;
pub mod rooms;
pub mod rpc;

pub use echo::Echo;
pub use rooms::Rooms;

use crate::reactor::Page;

/// A page to try echo and rooms from a browser.
pub const TRY_IT_PAGE: Page =
    Page { content_type: "text/html; charset=utf-8", body: include_bytes!("page.html") };
