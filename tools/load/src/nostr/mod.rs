//! The Nostr protocol as a client speaks it: keys, signed events, filters, a relay's messages.
//!
//! Does no I/O. The parts that load a relay are `publish`, `request` and `live` in
//! [`parts`](crate::parts).

mod answer;
pub(crate) mod args;
mod author;
mod event;
mod filters;
mod login;

pub(crate) use answer::{Answer, prefix, refused};
pub(crate) use author::{Author, authors};
pub(crate) use event::{EventPlan, Events};
pub(crate) use filters::{By, Filters};
pub(crate) use login::Login;
