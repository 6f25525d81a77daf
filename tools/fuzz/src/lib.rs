//! Fuzz targets of weir, one file and one function each: input bytes, and a panic if weir is wrong.
//!
//! The bytes are decoded into operations, which run on weir and on a naive model; the two are
//! compared after each operation. Targets are plain functions on stable Rust, so that `cargo test`
//! runs all of them from fixed seeds (`tests/seeded.rs`), and a bug that was found by hours of
//! fuzzing can be kept as an ordinary test. The package `tools/fuzz/cargo` passes the same
//! functions to libFuzzer.
//!
//! A new target needs a file here, a line in each of `tests/seeded.rs` and `cargo/Cargo.toml`, and
//! a file of one line in `cargo/fuzz_targets`.

mod body;
mod body_pass;
mod bytes;
mod decoder;
mod extensions;
mod forwarded;
mod handshake;
mod heads;
mod inflate;
mod jwt;
mod ledger;
mod nostr_event;
mod nostr_filter;
mod nostr_json;
mod nostr_message;
mod offer;
mod passage;
mod proxy_header;
mod rate;
mod reference;
mod relay;
mod stream;
mod timer;
mod tls;
mod topics;

pub use body::body;
pub use body_pass::body_pass;
pub use decoder::decoder;
pub use forwarded::forwarded;
pub use handshake::handshake;
pub use inflate::inflate;
pub use jwt::jwt;
pub use ledger::ledger;
pub use nostr_event::nostr_event;
pub use nostr_filter::nostr_filter;
pub use nostr_message::nostr_message;
pub use offer::offer;
pub use passage::passage;
pub use proxy_header::proxy_header;
pub use rate::rate;
pub use relay::relay;
pub use timer::timer;
pub use tls::tls;
pub use topics::topics;
