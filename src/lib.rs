//! weir: a WebSocket server for one core.

pub mod protocol;
pub mod reactor;
pub mod services;
