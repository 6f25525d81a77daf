//! The integration tests: a real reactor or the real binary, real sockets on 127.0.0.1.
//!
//! Every wait has a deadline ([`support::DEADLINE`]), every port is the kernel's choice.

mod exhaustion;
mod fairness;
mod memory;
mod pressure;
mod support;
