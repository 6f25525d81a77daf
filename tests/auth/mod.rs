//! Gates: tokens in all their places, attacks on them, keys of a server, refresh; and hooks.

mod attacks;
mod binary;
mod expiring;
mod front;
pub mod gated;
mod hook_answers;
mod hook_limits;
mod hook_paths;
mod hook_server;
mod hooks;
mod keys;
mod outcomes;
mod places;
mod priorities;
mod refresh;
mod rooms;
mod secrets;
mod steps;
pub mod tokens;
mod turns;
