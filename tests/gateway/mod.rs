//! The gateway: real upstreams on loops of their own, clients in front.

mod node;
mod news;
mod requests;
