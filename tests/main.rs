//! The integration tests: a real reactor or the real binary, real sockets on 127.0.0.1.
//!
//! Every wait has a deadline ([`support::DEADLINE`]), every port is the kernel's choice.

// Nothing is reachable from outside of a test binary; modules share what they like.
#![allow(unreachable_pub)]

mod addresses;
mod admission;
mod audit;
mod auth;
mod binary;
mod client_role;
mod closing;
mod deferring;
mod deflate;
mod driven;
mod examples;
mod exhaustion;
mod fairness;
mod features;
mod fragments;
mod frames;
mod gate;
mod gateway;
mod gauges;
mod guide;
mod handshake;
mod heartbeat;
mod layers;
mod levels;
mod library;
mod lifecycle;
mod measuring;
mod memory;
mod node;
mod nostr;
mod operators;
mod pipe;
mod pressure;
mod protocol;
mod proxy;
mod publish;
mod puppet;
mod rates;
mod reload;
mod requests;
mod resets;
mod response_parts;
mod rooms;
mod rpc;
mod shutdown;
mod support;
mod tls;
mod tracing;
mod turns;
