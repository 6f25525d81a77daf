//! The integration tests: a real reactor or the real binary, real sockets on 127.0.0.1.
//!
//! Every wait has a deadline ([`support::DEADLINE`]), every port is the kernel's choice.

// Nothing is reachable from outside of a test binary; modules share what they like.
#![allow(unreachable_pub)]

mod binary;
mod client_role;
mod layers;
mod library;
mod publish;
mod puppet;
mod rooms;
mod support;
