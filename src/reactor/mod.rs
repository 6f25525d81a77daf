//! The loop.

pub mod settings;
pub mod time;
