//! A Nostr relay: NIP-01 and the NIPs that [`info`] lists, over an embedded store.
//!
//! The loop frames, matches and sends. Parsing, hashes, signatures, scans and writes run on threads.

// While the parts are joined.
#![allow(dead_code)]

pub mod auth;
pub mod canonical;
pub mod event;
pub mod filter;
mod filter_parse;
pub mod info;
pub mod json;
pub mod keys;
pub mod live;
pub mod message;
pub mod negentropy;
pub mod nip98;
pub mod parse;
pub mod plugin;
pub mod policy;
pub mod rates;
pub mod refusal;
pub mod relay_names;
pub mod reply;
mod ring;
pub mod signature;
#[cfg(test)]
mod signed;
pub mod store;
pub mod subscription;
pub mod tags;
#[cfg(test)]
mod testing;
pub mod verify;
pub mod write_policy;
