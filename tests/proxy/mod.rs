//! The service `proxy`: the real binary in front of real upstreams, weir's own echo or scripts.

mod answers;
mod choice;
mod front;
mod heads;
mod health;
mod lost;
mod retries;
mod scripted;
mod tls;
mod tunnels;
