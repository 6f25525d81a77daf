//! Compressed messages to messages, of all connections: RFC 7692, 7.2.2.
//!
//! Messages that come whole share one stream and one buffer. One that comes in pieces is inflated as it
//! comes, by a stream of its own for as long as it is unfinished, so that a bomb or garbage fails in
//! the piece that shows it. There are so many of those streams and no more: a message that finds none
//! free is gathered as it came, and inflated when it is whole, in steps of as many bytes as a piece has.

use std::fmt;
use std::rc::Rc;

use super::inflation::{Bounds, Inflation};
use super::{PIECE_BYTES_MAX, Window};
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
    /// Gathered, and the last piece has come.
    Whole(Whole),
}

/// A gathered message that is inflated in steps.
#[derive(Debug)]
struct Whole {
    opcode: Opcode,
    bytes: Vec<u8>,
    /// Up to where they are inflated.
    at: usize,
    /// By what; `None` until a stream is free.
    stream: Option<(Box<Inflation>, Rc<()>)>,
}

impl Unfinished {
    /// Whether it waits to be inflated until it is whole: there was no stream for it.
    pub fn is_gathered(&self) -> bool {
        matches!(self.0, State::Gathered(_))
    }

    /// Whether nothing of it is awaited any more: [`Inflater::resume`] goes on with it.
    pub fn is_whole(&self) -> bool {
        matches!(self.0, State::Whole(_))
    }

    /// Whether it is whole, and waits for a stream that others have.
    pub fn awaits_stream(&self) -> bool {
        matches!(self.0, State::Whole(Whole { stream: None, .. }))
    }

    /// Memory held, a stream's included.
    pub fn held_bytes(&self) -> usize {
        match &self.0 {
            State::Inflated(inflation, _) => inflation.held_bytes(),
            State::Gathered(bytes) => bytes.capacity(),
            State::Whole(Whole { bytes, stream, .. }) => {
                let stream = stream.as_ref().map_or(0, |(inflation, _)| inflation.held_bytes());
                bytes.capacity() + stream
            }
        }
    }
}

/// What all inflating has come to so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effort {
    /// Compressed bytes.
    pub from: u64,
    /// Bytes of messages, and of parts of them.
    pub to: u64,
    /// Bytes that streams were given to refer to: a copy for each time that one begins.
    pub primed: u64,
}

impl Effort {
    /// Counts the inflating of these bytes of a message, which had come to `before.0` bytes, and whose
    /// streams had been given `before.1`.
    fn count(&mut self, payload: &[u8], inflation: &Inflation, before: (usize, usize)) {
        self.from += payload.len() as u64;
        self.to += (inflation.payload().len() - before.0) as u64;
        self.primed += (inflation.primed_bytes() - before.1) as u64;
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
    effort: Effort,
}

impl Inflater {
    /// Unfinished messages that are inflated as they come.
    pub const STREAMS_MAX: usize = 64;
    /// Further ones for messages that were gathered: no peer can hold these up.
    pub const GATHERED_STREAMS_MAX: usize = 8;
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
        self.settle(state, unfinished, window)
    }

    /// Goes on with a message that [is whole](Unfinished::is_whole), by [`PIECE_BYTES_MAX`] bytes of its
    /// compressed form at the most; returns it with the last of them. Nothing happens where
    /// [no stream is free](Unfinished::awaits_stream). The parameters are those of
    /// [`inflate`](Inflater::inflate).
    ///
    /// # Errors
    /// The same.
    pub fn resume(
        &mut self,
        unfinished: &mut Option<Unfinished>,
        window: Option<&mut Window>,
        message_bytes_max: usize,
    ) -> Result<Option<Message<'_>>, ProtocolError> {
        let before = window.as_deref().map_or(&[][..], Window::as_bytes);
        let bounds = Bounds { before, message_bytes_max };
        let state = match unfinished.take() {
            Some(Unfinished(State::Whole(whole))) => self.step(whole, bounds)?,
            other => {
                *unfinished = other;
                return Ok(None);
            }
        };
        self.settle(state, unfinished, window)
    }

    /// Keeps what is unfinished, or returns the message in `own`.
    fn settle(
        &mut self,
        state: Option<State>,
        unfinished: &mut Option<Unfinished>,
        window: Option<&mut Window>,
    ) -> Result<Option<Message<'_>>, ProtocolError> {
        if state.is_some() {
            *unfinished = state.map(Unfinished);
            return Ok(None);
        }
        if let Some(window) = window {
            window.push(self.own.payload());
        }
        self.own.message().map(Some)
    }

    /// What all inflating has come to so far.
    pub fn effort(&self) -> Effort {
        self.effort
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
        match self.lend(opcode, Inflater::STREAMS_MAX) {
            Some((inflation, lent)) => State::Inflated(inflation, lent),
            None => State::Gathered(Vec::new()),
        }
    }

    /// A stream for a message, if fewer than `most` are lent.
    fn lend(&mut self, opcode: Opcode, most: usize) -> Option<(Box<Inflation>, Rc<()>)> {
        if self.streams_lent() >= most {
            return None;
        }
        let mut inflation = self.spares.pop().unwrap_or_default();
        inflation.begin_message(opcode);
        Some((inflation, Rc::clone(&self.lent)))
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
                if bytes.len() > PIECE_BYTES_MAX {
                    let whole = Whole { opcode: piece.opcode, bytes, at: 0, stream: None };
                    return self.step(whole, bounds);
                }
                self.whole(piece.opcode, &bytes, bounds)?;
                Ok(None)
            }
            State::Inflated(inflation, lent) => {
                let further = self.push(inflation, piece.payload, piece.is_last, bounds)?;
                Ok(further.map(|inflation| State::Inflated(inflation, lent)))
            }
            // Whose last piece has come takes no further one; its caller has to go on with it first.
            State::Whole(whole) => Ok(Some(State::Whole(whole))),
        }
    }

    /// Inflates the next bytes of a gathered message, if a stream is free.
    fn step(
        &mut self,
        mut whole: Whole,
        bounds: Bounds<'_>,
    ) -> Result<Option<State>, ProtocolError> {
        const MOST: usize = Inflater::STREAMS_MAX + Inflater::GATHERED_STREAMS_MAX;
        let stream = whole.stream.take().or_else(|| self.lend(whole.opcode, MOST));
        let Some((inflation, lent)) = stream else {
            return Ok(Some(State::Whole(whole)));
        };
        let end = (whole.at + PIECE_BYTES_MAX).min(whole.bytes.len());
        let is_last = end == whole.bytes.len();
        let further = self.push(inflation, &whole.bytes[whole.at..end], is_last, bounds)?;
        whole.at = end;
        whole.stream = further.map(|inflation| (inflation, lent));
        Ok((!is_last).then_some(State::Whole(whole)))
    }

    /// Inflates the next bytes of a message; with the last it lies in `own`.
    fn push(
        &mut self,
        mut inflation: Box<Inflation>,
        payload: &[u8],
        is_last: bool,
        bounds: Bounds<'_>,
    ) -> Result<Option<Box<Inflation>>, ProtocolError> {
        let before = (inflation.payload().len(), inflation.primed_bytes());
        let outcome = inflation.push(payload, bounds);
        self.effort.count(payload, &inflation, before);
        outcome?;
        if !is_last {
            inflation.check_text()?;
            return Ok(Some(inflation));
        }
        inflation.end(bounds)?;
        let spare = std::mem::replace(&mut self.own, inflation);
        if self.spares.len() < Inflater::SPARES_MAX {
            self.spares.push(spare);
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
        self.effort.count(payload, &self.own, (0, 0));
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
