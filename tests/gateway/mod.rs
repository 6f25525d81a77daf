//! The gateway: real upstreams on loops of their own, clients in front.

mod news;
mod node;
mod requests;
mod secure;
