//! The gateway: real upstreams on loops of their own, clients in front.

mod front;
mod limits;
mod metrics;
mod news;
mod node;
mod requests;
mod secure;
