//! What the caller does after each call: forward bytes, handle a control frame.

use std::ops::Range;

use super::flight::Start;

/// The result of one call of [`Passage::pass`](super::Passage::pass).
#[derive(Debug, PartialEq, Eq)]
pub struct Passed {
    /// Bytes of the input that were consumed; at least one, unless the input was empty.
    pub consumed: usize,
    /// The bytes to forward now.
    pub output: Output,
    /// Frames that these bytes completed, including control frames and dropped frames.
    pub frames: usize,
    /// Messages that these bytes completed.
    pub messages: usize,
    /// A control frame, which is the last of these frames.
    pub event: Option<PassageEvent>,
}

/// The bytes to forward. A range is one of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// None: they are held or dropped.
    Nothing,
    /// This part of the input: whole frames, except within a long frame of an unknown extension.
    Input(Range<usize>),
    /// Held bytes or a new header, then this part of the input, which may be empty.
    Start(Start, Range<usize>),
}

/// A control frame that was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassageEvent {
    /// A Close: [`Passage::close_payload`](super::Passage::close_payload). Everything after it is
    /// discarded.
    Close,
    /// A ping for the other endpoint.
    Ping,
    /// A pong for the other endpoint.
    Pong,
    /// The pong to our ping with this sequence number
    /// ([`Passage::ping_marker`](super::Passage::ping_marker)). It is not forwarded.
    OwnPong(u32),
}

impl Passed {
    /// Bytes that complete no frame, and of which nothing is forwarded.
    pub(super) fn none(consumed: usize) -> Passed {
        Passed { consumed, output: Output::Nothing, frames: 0, messages: 0, event: None }
    }
}
