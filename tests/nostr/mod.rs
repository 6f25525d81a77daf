//! `weir relay`: the real binary as a Nostr relay, with its store on disk.

mod advertised;
mod attacks;
mod auth;
mod author;
mod basic;
mod commands;
mod crowd;
mod embedded;
mod export;
mod full_disk;
mod killed;
mod lists;
mod malformed;
mod manage;
mod negentropy;
mod operating;
mod refusals;
pub mod relay;
mod rules;
mod scripted;
mod sequences;
mod sync;
mod table;
