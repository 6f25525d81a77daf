//! Management by administrators (NIP-86): POST requests with an HTTP authorization (NIP-98).
//!
//! A thread that verifies checks and parses requests, and answers those that only read (`check`). The
//! thread that writes changes the store and the lists (`change`), and removes the events of a ban between
//! its batches (`removals`). The loop's part is in [`calls`](super::calls).

mod answer;
mod call;
mod change;
mod check;
mod removals;

pub(super) use self::answer::{Answer, MEDIA_TYPE};
pub(super) use self::change::Change;
pub(super) use self::check::{ManageJob, Management};
pub(super) use self::removals::Removals;
