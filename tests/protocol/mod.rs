//! RFC 6455 and 7692 through the public API of `weir::protocol`: bytes in, events out, no I/O.
//!
//! Tests are named after the section that they check. Frames are encoded by hand ([`wire`]), so that
//! an error of the encoder cannot hide one of the decoder. Nothing here waits:
//! [`Reader`](reader::Reader) asserts that each step makes progress, so that no test can hang.

mod deflate;
mod fragments;
mod frames;
mod limits;
mod memory;
mod passage;
mod reader;
mod refusals;
mod smuggling;
mod splits;
mod utf8;
pub mod vectors;
mod wire;
