//! The messages between clients and the relay: parsed and written.
