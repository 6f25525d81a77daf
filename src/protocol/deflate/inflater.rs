//! Inflates the compressed messages of all connections: RFC 7692, 7.2.2.
//!
//! Messages that arrive whole share one stream and one buffer. A message that arrives in parts has
//! a stream of its own until it is complete, and each part is inflated on arrival. So a
//! decompression bomb or invalid data fails at the part that proves it. The number of these streams
//! is limited: a message that gets none is gathered in compressed form, and inflated when it is
//! complete, in steps of at most [`PIECE_BYTES_MAX`].

use std::fmt;
use std::rc::Rc;

use super::compressed::{Compressed, PIECE_BYTES_MAX};
use super::inflation::{Bounds, Inflation};
use super::window::Window;
use crate::protocol::error::ProtocolError;
use crate::protocol::frame::Opcode;
use crate::protocol::message::Message;

/// A message of which parts have arrived, but not the last one.
#[derive(Debug)]
pub struct Unfinished(State);

#[derive(Debug)]
enum State {
    /// Inflated so far. The `Rc` counts the stream as lent while it is held.
    Inflated(Box<Inflation>, Rc<()>),
    /// Compressed, as received.
    Gathered(Vec<u8>),
    /// Gathered, and complete.
    Whole(Whole),
}

/// A gathered message that is inflated in steps.
#[derive(Debug)]
struct Whole {
    opcode: Opcode,
    bytes: Vec<u8>,
    /// Bytes that are already inflated.
    at: usize,
    /// The stream that inflates it; `None` until one is free.
    stream: Option<(Box<Inflation>, Rc<()>)>,
}

impl Unfinished {
    /// Whether it is kept in compressed form until it is complete, because no stream was free.
    pub fn is_gathered(&self) -> bool {
        matches!(self.0, State::Gathered(_))
    }

    /// Whether all parts have arrived: [`Inflater::resume`] continues with it.
    pub fn is_whole(&self) -> bool {
        matches!(self.0, State::Whole(_))
    }

    /// Whether it is complete and waits for a free stream.
    pub fn awaits_stream(&self) -> bool {
        matches!(self.0, State::Whole(Whole { stream: None, .. }))
    }

    /// Memory held, the stream included.
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

/// Totals of all inflating so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effort {
    /// Compressed bytes read.
    pub from: u64,
    /// Message bytes written, including unfinished messages.
    pub to: u64,
    /// Window bytes copied into streams: one copy each time that a stream starts.
    pub primed: u64,
}

impl Effort {
    /// Counts the inflating of `payload`. `before` holds the message's bytes and the primed bytes
    /// before it.
    fn count(&mut self, payload: &[u8], inflation: &Inflation, before: (usize, usize)) {
        self.from += payload.len() as u64;
        self.to += (inflation.payload().len() - before.0) as u64;
        self.primed += (inflation.primed_bytes() - before.1) as u64;
    }
}

/// Inflates the messages of any number of connections.
#[derive(Default)]
pub struct Inflater {
    /// Holds the latest complete message.
    own: Box<Inflation>,
    // Boxed, as lent streams are.
    #[allow(clippy::vec_box)]
    spares: Vec<Box<Inflation>>,
    lent: Rc<()>,
    effort: Effort,
}

impl Inflater {
    /// Maximum number of unfinished messages that are inflated on arrival.
    pub const STREAMS_MAX: usize = 64;
    /// Additional streams for gathered messages. These are complete, so that no peer can occupy a
    /// stream by sending slowly.
    pub const GATHERED_STREAMS_MAX: usize = 8;
    /// Maximum number of idle streams kept.
    pub const SPARES_MAX: usize = 4;

    /// Inflates a message of at most `message_bytes_max` bytes, or the next part of one. Returns
    /// the message with its last part. `unfinished` holds the state between parts, one per peer.
    /// `window` holds earlier messages if context takeover was agreed on, and this message is added
    /// to it.
    ///
    /// # Errors
    /// The data is not DEFLATE, or ends within a block; the text is not UTF-8; the message is too
    /// large.
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

    /// Continues with a message that [is complete](Unfinished::is_whole), by at most
    /// [`PIECE_BYTES_MAX`] compressed bytes. Returns the message after its last bytes. Does nothing
    /// while [no stream is free](Unfinished::awaits_stream). The parameters are those of
    /// [`inflate`](Inflater::inflate).
    ///
    /// # Errors
    /// Those of [`inflate`](Inflater::inflate).
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

    /// Keeps an unfinished message, or returns the complete one from `own`.
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

    /// Totals of all inflating so far.
    pub fn effort(&self) -> Effort {
        self.effort
    }

    /// Streams that unfinished messages hold: at most [`Inflater::STREAMS_MAX`], plus
    /// [`Inflater::GATHERED_STREAMS_MAX`] for gathered messages.
    pub fn streams_lent(&self) -> usize {
        Rc::strong_count(&self.lent) - 1
    }

    /// Memory held beyond this struct.
    pub fn held_bytes(&self) -> usize {
        self.own.held_bytes() + self.spares.iter().map(|spare| spare.held_bytes()).sum::<usize>()
    }

    /// Starts a message that arrives in parts.
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

    /// Takes the next part. After the last part the message is complete and in `own`.
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
            // A complete message takes no further part; its caller must resume it first.
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

    /// Inflates the next bytes of a message. After the last bytes, the message is in `own`.
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
