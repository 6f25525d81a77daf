//! One direction of a tunnel: what passes, what is held, what is refused.

mod control;
mod extensions;
mod fragments;
mod limits;
mod refusals;
mod tunnel;
mod whole;
