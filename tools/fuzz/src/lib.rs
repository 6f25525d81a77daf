//! Fuzz targets of weir, one file and one function each: bytes in, a panic if weir is wrong.
//!
//! The bytes are read as operations, done on weir and on a naive model, and compared after each.
//! Plain functions on stable Rust, so that `cargo test` runs them all from fixed seeds
//! (`tests/seeded.rs`) and a bug found by hours of fuzzing can be kept as an ordinary test. The
//! package beside this one, `tools/fuzz/cargo`, hands the same functions to libFuzzer.
//!
//! A new target is a file here, a line in each of `tests/seeded.rs` and `cargo/Cargo.toml`, and a
//! file of one line in `cargo/fuzz_targets`.

mod body;
mod bytes;
mod decoder;
mod extensions;
mod handshake;
mod heads;
mod inflate;
mod ledger;
mod offer;
mod reference;
mod stream;
mod timer;
mod tls;
mod topics;

pub use body::body;
pub use decoder::decoder;
pub use handshake::handshake;
pub use inflate::inflate;
pub use ledger::ledger;
pub use offer::offer;
pub use timer::timer;
pub use tls::tls;
pub use topics::topics;
