//! The store of events, on fjall.
