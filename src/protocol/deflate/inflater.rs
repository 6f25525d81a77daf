//! Compressed messages to messages, of all connections: RFC 7692, 7.2.2.
//!
//! Messages that come whole share one stream and one buffer. One that comes in pieces is inflated as it
//! comes, by a stream of its own for as long as it is unfinished, so that a bomb or garbage fails in
//! the piece that shows it. There are so many of those streams and no more: a message that finds none
//! free is gathered as it came, and inflated when it is whole.

use std::fmt;
use std::rc::Rc;

use super::Window;
use super::inflation::{Bounds, Inflation};
use crate::protocol::{Message, Opcode, ProtocolError};

/// A compressed message, or the next piece of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compressed<'a> {
    pub(in crate::protocol) opcode: Opcode,
    pub(in crate::protocol) payload: &'a [u8],
    pub(in crate::protocol) is_last: bool,
}

impl<'a> Compressed<'a> {
    /// What came over the wire.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Whether it ends its message.
    pub fn is_last(&self) -> bool {
        self.is_last
    }
}

/// A message of which pieces have come, but not the last.
#[derive(Debug)]
pub struct Unfinished(State);

#[derive(Debug)]
enum State {
    /// Inflated as far as that goes. While the second is held a stream counts as lent.
    Inflated(Box<Inflation>, Rc<()>),
    /// As it came.
    Gathered(Vec<u8>),
}

impl Unfinished {
    /// Whether it waits to be inflated until it is whole: there was no stream for it.
    pub fn is_gathered(&self) -> bool {
        matches!(self.0, State::Gathered(_))
    }

    /// Memory held, a stream's included.
    pub fn held_bytes(&self) -> usize {
        match &self.0 {
            State::Inflated(inflation, _) => inflation.held_bytes(),
            State::Gathered(bytes) => bytes.capacity(),
        }
    }
}

/// Inflates the messages of any number of connections.
#[derive(Default)]
pub struct Inflater {
    /// The latest message that is whole.
    own: Box<Inflation>,
    // Boxed as they are lent.
    #[allow(clippy::vec_box)]
    spares: Vec<Box<Inflation>>,
    lent: Rc<()>,
    inflated_bytes: u64,
}

impl Inflater {
    /// Unfinished messages that are inflated as they come.
    pub const STREAMS_MAX: usize = 64;
    /// Streams kept for the next of them.
    pub const SPARES_MAX: usize = 4;

    /// Inflates a message of at most `message_bytes_max` bytes, or the next piece of one; returns it
    /// with its last. `unfinished` is for what has come of it, and this peer's alone. `window` holds
    /// what its messages may refer to, if context takeover was agreed on, and takes this one in.
    ///
    /// # Errors
    /// The data is not DEFLATE, or ends within a block; the text is not UTF-8; the message is too big.
    pub fn inflate(
        &mut self,
        piece: Compressed<'_>,
        unfinished: &mut Option<Unfinished>,
        window: Option<&mut Window>,
        message_bytes_max: usize,
    ) -> Result<Option<Message<'_>>, ProtocolError> {
        let before = window.as_deref().map_or(&[][..], Window::as_bytes);
        let bounds = Bounds { before, message_bytes_max };
        let state = match unfinished.take() {
            None if piece.is_last => None,
            None => Some(self.begin(piece.opcode)),
            Some(Unfinished(state)) => Some(state),
        };
        let state = match state {
            None => self.whole(piece.opcode, piece.payload, bounds).map(|()| None)?,
            Some(state) => self.further(state, piece, bounds)?,
        };
        if state.is_some() {
            *unfinished = state.map(Unfinished);
            return Ok(None);
        }
        if let Some(window) = window {
            window.push(self.own.payload());
        }
        self.own.message().map(Some)
    }

    /// Bytes that all messages, and parts of them, have come to so far.
    pub fn inflated_bytes(&self) -> u64 {
        self.inflated_bytes
    }

    /// Streams that unfinished messages have, of [`Inflater::STREAMS_MAX`].
    pub fn streams_lent(&self) -> usize {
        Rc::strong_count(&self.lent) - 1
    }

    /// Memory held beyond this struct.
    pub fn held_bytes(&self) -> usize {
        self.own.held_bytes() + self.spares.iter().map(|spare| spare.held_bytes()).sum::<usize>()
    }

    /// Begins a message in pieces.
    fn begin(&mut self, opcode: Opcode) -> State {
        if self.streams_lent() == Inflater::STREAMS_MAX {
            return State::Gathered(Vec::new());
        }
        let mut inflation = self.spares.pop().unwrap_or_default();
        inflation.begin_message(opcode);
        State::Inflated(inflation, Rc::clone(&self.lent))
    }

    /// Takes the next piece. With the last the message is whole, and lies in `own`.
    fn further(
        &mut self,
        state: State,
        piece: Compressed<'_>,
        bounds: Bounds<'_>,
    ) -> Result<Option<State>, ProtocolError> {
        match state {
            State::Gathered(mut bytes) => {
                bytes.extend_from_slice(piece.payload);
                if !piece.is_last {
                    return Ok(Some(State::Gathered(bytes)));
                }
                self.whole(piece.opcode, &bytes, bounds)?;
            }
            State::Inflated(mut inflation, lent) => {
                let before = inflation.payload().len();
                let outcome = inflation.push(piece.payload, bounds);
                self.inflated_bytes += (inflation.payload().len() - before) as u64;
                outcome?;
                if !piece.is_last {
                    inflation.check_text()?;
                    return Ok(Some(State::Inflated(inflation, lent)));
                }
                inflation.end(bounds)?;
                let spare = std::mem::replace(&mut self.own, inflation);
                if self.spares.len() < Inflater::SPARES_MAX {
                    self.spares.push(spare);
                }
            }
        }
        Ok(None)
    }

    /// Inflates a whole message into `own`.
    fn whole(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        bounds: Bounds<'_>,
    ) -> Result<(), ProtocolError> {
        self.own.begin_message(opcode);
        let outcome = self.own.push(payload, bounds).and_then(|()| self.own.end(bounds));
        self.inflated_bytes += self.own.payload().len() as u64;
        outcome
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater")
            .field("held_bytes", &self.held_bytes())
            .field("streams_lent", &self.streams_lent())
            .finish_non_exhaustive()
    }
}
