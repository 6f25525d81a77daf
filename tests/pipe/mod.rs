//! Tunnels: a client and an upstream that are joined. The service and the upstream are the test's.

mod dialling;
mod ends;
mod heartbeat;
mod http;
mod idle;
mod memory;
mod passing;
mod random;
mod rates;
mod resets;
mod secure;
mod upstream;
mod violation;
