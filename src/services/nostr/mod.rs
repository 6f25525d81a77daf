//! A Nostr relay: NIP-01 and the NIPs that its information document lists, over an embedded store.
//!
//! The loop frames, matches and sends. Parsing, hashes, signatures, scans and writes run on threads.

mod announce;
mod auth;
mod calls;
mod canonical;
mod client;
pub mod commands;
mod compared;
mod derived;
pub mod event;
mod events;
pub mod export;
pub mod filter;
mod filter_parse;
mod guard;
mod health;
mod info;
mod jobs;
pub mod json;
mod judging;
pub mod keys;
mod known;
pub mod live;
mod live_sample;
mod mail;
mod manage;
mod managed;
pub mod message;
pub mod metrics;
mod negentropy;
mod nip98;
pub mod parse;
mod plugin;
mod policy;
mod rates;
mod recent;
mod reconcile;
pub mod refusal;
mod relay;
mod relay_names;
mod reload;
mod reply;
mod requests;
mod ring;
mod running;
mod scanning;
mod scans;
mod service;
mod session;
pub mod settings;
mod settled;
pub mod signature;
#[cfg(test)]
mod signed;
mod starting;
pub mod store;
mod subscription;
// Its client needs the URLs and links of upstreams.
#[cfg(feature = "rpc")]
pub mod sync;
mod tags;
#[cfg(test)]
mod testing;
mod ticket;
mod vanished;
pub mod verb;
pub mod verify;
pub mod write_policy;
mod writer;
mod written;

pub use self::metrics::RelayCounts;
pub use self::relay::Relay;
pub use self::relay_names::RelayNames;
pub use self::reload::RelayReload;
pub use self::settings::RelaySettings;
