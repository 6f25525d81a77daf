//! The gateway, with real upstreams on loops of their own.

mod failures;
pub mod front;
mod limits;
mod metrics;
mod news;
pub mod node;
mod peers;
mod requests;
mod secure;
mod sharing;
