//! The client's role: connections that a service makes, to another loop, to its own, and to servers
//! that answer wrongly or not at all.

mod peers;
mod refusals;
