//! The loop.

pub mod settings;
pub mod time;
pub mod timer;
pub mod topics;

pub use time::Time;
