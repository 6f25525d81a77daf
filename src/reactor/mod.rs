//! The loop.

pub mod time;
pub mod settings;
