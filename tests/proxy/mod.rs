//! The service `proxy`: the real binary in front of real upstreams, weir's own echo or scripts.

mod answers;
mod choice;
mod ends;
pub mod front;
mod heads;
mod health;
mod held;
mod http;
mod identity;
mod keepalive;
mod lost;
mod names;
mod paths;
mod retries;
pub mod scripted;
mod smuggling;
mod tls;
mod tunnels;
mod volume;
