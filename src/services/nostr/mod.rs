//! A Nostr relay: NIP-01 and the NIPs that [`info`] lists, over an embedded store.
//!
//! The loop frames, matches and sends. Parsing, hashes, signatures, scans and writes run on threads.

// While the parts are joined.
#![allow(dead_code)]

pub mod auth;
pub mod canonical;
pub mod event;
pub mod filter;
pub mod info;
pub mod live;
pub mod message;
pub mod policy;
pub mod store;
pub mod subscription;
pub mod verify;
