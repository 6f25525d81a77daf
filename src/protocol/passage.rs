//! One direction of a WebSocket tunnel, followed frame by frame, by header only.
//!
//! [`Passage::pass`] checks the frames of a read and returns which bytes to forward now. Nothing is
//! unmasked or inflated. Frame boundaries stay known, so that a Close or a ping of our own can be
//! placed between two frames. Whole frames are forwarded where they were read; an incomplete frame
//! is held until it is complete; a frame too long for that is split into fragments (RFC 6455, 5.4).
//!
//! Not checked: UTF-8, close codes, payload. Sockets, limits of time and the other direction are the
//! caller's. Next: `state.rs` for [`Passage`], `pass.rs` for how bytes pass, `flight.rs` for the
//! incomplete frame.

mod flight;
mod header;
mod pass;
mod passed;
mod settings;
mod state;

pub use self::flight::Start;
pub use self::passed::{Output, PassageEvent, Passed};
pub use self::settings::{Extensions, PassageLimits};
pub use self::state::Passage;
