//! Subprotocols by which a browser sends a token: it cannot set headers of an upgrade.
//!
//! The client offers `weir.token.TOKEN`, and `weir.token`, which is selected if the service selects
//! none: browsers fail a connection that gets none of its offers.

/// The subprotocol that is selected.
pub const TOKEN_PROTOCOL: &str = "weir.token";

/// The prefix of a subprotocol that carries a token, which is never selected.
pub const TOKEN_PREFIX: &str = "weir.token.";
