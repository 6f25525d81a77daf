//! Publications: which connections receive a message, and what `publish` returns.

mod batches;
mod delivery;
mod selection;
mod shared;
