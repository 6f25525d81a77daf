//! RFC 6455 without I/O: bytes in by slice, bytes out appended to a caller's `Vec`.
//!
//! Nothing here opens a socket, reads a clock or writes a log line.

pub mod handshake;
