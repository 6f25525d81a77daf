//! Reads a stream through a decoder as the loop does, and records the events.

use weir::protocol::{Decoder, Event, Message, ProtocolError, Role, Spares};

/// An event, copied out of the bytes that it was decoded from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Text(String),
    Binary(Vec<u8>),
    Compressed(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl Found {
    /// Copies an event. A part of a compressed message is appended to `kept`; `None` unless it is the
    /// last one.
    fn new(event: Event<'_>, kept: &mut Vec<u8>) -> Option<Found> {
        Some(match event {
            Event::Message(Message::Text(text)) => Found::Text(text.to_owned()),
            Event::Message(Message::Binary(bytes)) => Found::Binary(bytes.to_vec()),
            Event::Compressed(piece) => {
                kept.extend_from_slice(piece.payload());
                if !piece.is_last() {
                    return None;
                }
                Found::Compressed(std::mem::take(kept))
            }
            Event::Ping(payload) => Found::Ping(payload.to_vec()),
            Event::Pong(payload) => Found::Pong(payload.to_vec()),
            Event::Close(close) => {
                Found::Close(close.map(|close| (close.code.get(), close.reason.to_owned())))
            }
        })
    }
}

pub(super) fn text(text: &str) -> Found {
    Found::Text(text.to_owned())
}

/// The events of a stream up to the first error or Close, and the error.
pub(super) type Outcome = (Vec<Found>, Option<ProtocolError>);

/// A decoder with its buffers, as a connection has them.
pub(super) struct Reader {
    pub(super) decoder: Decoder,
    message_bytes_max: usize,
    pub(super) spares: Spares,
    pub(super) found: Vec<Found>,
    pub(super) error: Option<ProtocolError>,
    /// The maximum of bytes that the decoder held after any step.
    pub(super) held_bytes_peak: usize,
    /// Bytes that were read directly into the decoder's assembly buffer.
    pub(super) direct_bytes: usize,
    /// The parts of a compressed message so far.
    kept: Vec<u8>,
}

impl Reader {
    pub(super) fn new(role: Role, message_bytes_max: usize) -> Reader {
        Reader::of(Decoder::new(role), message_bytes_max)
    }

    /// A reader with permessage-deflate negotiated.
    pub(super) fn with_deflate(role: Role, message_bytes_max: usize) -> Reader {
        Reader::of(Decoder::new(role).with_deflate(), message_bytes_max)
    }

    fn of(decoder: Decoder, message_bytes_max: usize) -> Reader {
        Reader {
            decoder,
            message_bytes_max,
            spares: Spares::default(),
            found: Vec::new(),
            error: None,
            held_bytes_peak: 0,
            direct_bytes: 0,
            kept: Vec::new(),
        }
    }

    /// Whether there was an error or a Close, after which nothing is decoded.
    pub(super) fn is_over(&self) -> bool {
        self.error.is_some() || matches!(self.found.last(), Some(Found::Close(_)))
    }

    /// Decodes `bytes` as one read.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let mut copy = bytes.to_vec();
        let mut rest = &mut copy[..];
        while !rest.is_empty() && !self.is_over() {
            match self.decoder.decode(rest, self.message_bytes_max, &mut self.spares) {
                Ok(step) => {
                    let consumed = step.consumed;
                    self.found.extend(step.event.and_then(|e| Found::new(e, &mut self.kept)));
                    assert!(consumed > 0, "a step without progress");
                    rest = &mut rest[consumed..];
                    let behind = &bytes[bytes.len() - rest.len()..];
                    assert_eq!(rest, behind, "bytes behind the step were altered");
                }
                Err(error) => self.error = Some(error),
            }
            self.held_bytes_peak = self.held_bytes_peak.max(self.decoder.held_bytes());
        }
    }

    /// Decodes `bytes` as one read, directly into the decoder's assembly buffer where it offers one.
    pub(super) fn read_direct(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_over() {
            let Some(room) = self.decoder.room() else {
                return self.read(rest);
            };
            assert!(!room.is_empty(), "an empty buffer is offered");
            let len = room.len().min(rest.len());
            room[..len].copy_from_slice(&rest[..len]);
            match self.decoder.decode_filled(len) {
                Ok(event) => self.found.extend(event.and_then(|e| Found::new(e, &mut self.kept))),
                Err(error) => self.error = Some(error),
            }
            self.direct_bytes += len;
            self.held_bytes_peak = self.held_bytes_peak.max(self.decoder.held_bytes());
            rest = &rest[len..];
        }
    }

    /// Ends the turn, as a loop does before it polls again.
    pub(super) fn release(&mut self) {
        self.decoder.release(&mut self.spares);
    }

    pub(super) fn outcome(self) -> Outcome {
        (self.found, self.error)
    }
}

/// The outcome of `bytes`, read in pieces of these lengths.
pub(super) fn in_pieces<'b>(
    role: Role,
    message_bytes_max: usize,
    pieces: impl IntoIterator<Item = &'b [u8]>,
) -> Outcome {
    let mut reader = Reader::new(role, message_bytes_max);
    for piece in pieces {
        reader.read(piece);
    }
    reader.outcome()
}

/// The outcome of `bytes`, read at once, with a limit of 1 MiB.
pub(super) fn whole(role: Role, bytes: &[u8]) -> Outcome {
    in_pieces(role, 1 << 20, [bytes])
}

/// Reads byte by byte until the error; returns the number of bytes read, and the error.
pub(super) fn fails_at(
    role: Role,
    message_bytes_max: usize,
    bytes: &[u8],
) -> (usize, ProtocolError) {
    let mut reader = Reader::new(role, message_bytes_max);
    for (index, byte) in bytes.chunks(1).enumerate() {
        reader.read(byte);
        if let Some(error) = reader.error {
            return (index + 1, error);
        }
    }
    panic!("no error in {bytes:x?}, but {:?}", reader.found);
}
