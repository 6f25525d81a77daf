//! A running server reads its configuration again on SIGHUP; operators see and drain its upstreams.
//!
//! `busy` also runs with more tunnels: `RELOAD_TUNNELS=1000 cargo test --test weir reload::busy`.

mod busy;
mod check;
mod gates;
mod operators;
mod routes;
mod running;
mod seed;
mod upstreams;
