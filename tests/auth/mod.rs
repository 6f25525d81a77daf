//! Gates: tokens in all their places, attacks on them, keys of a server, refresh; and hooks.

mod attacks;
mod binary;
mod expiring;
mod front;
pub mod gated;
mod hooks;
mod keys;
mod places;
mod refresh;
mod rooms;
mod secrets;
mod steps;
pub mod tokens;
