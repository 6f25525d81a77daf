//! The gateway, with real upstreams on loops of their own.

mod failures;
mod front;
mod limits;
mod metrics;
mod news;
mod node;
mod peers;
mod requests;
mod secure;
mod sharing;
