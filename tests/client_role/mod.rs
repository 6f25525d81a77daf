//! Outbound connections: to another loop, to the own loop, and to servers with invalid or no answers.

mod peers;
mod refusals;
