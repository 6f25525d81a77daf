//! RFC 6455, 5, implemented literally: a decoder of a whole stream, naive, slow and short.
//!
//! It shares no code with weir's. Checks are in the order of the bytes that they look at, since a
//! stream in parts shows its faults in this order.

use weir::protocol::ProtocolError::{self, *};
use weir::protocol::{Event, Message, Role};

/// An owned event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    /// Still compressed.
    Compressed(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Vec<u8>),
}

impl Found {
    /// Converts an event. `None` for a part of a compressed message except the last; parts are
    /// kept.
    pub(crate) fn new(event: Event<'_>, kept: &mut Vec<u8>) -> Option<Found> {
        Some(match event {
            Event::Message(Message::Text(text)) => Found::Text(text.as_bytes().to_vec()),
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
            Event::Close(close) => Found::Close(close.map_or(vec![], |close| {
                [&close.code.get().to_be_bytes(), close.reason.as_bytes()].concat()
            })),
        })
    }
}

/// The result of decoding a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The events up to the first Close or error.
    pub(crate) found: Vec<Found>,
    pub(crate) error: Option<ProtocolError>,
    /// Whether the stream stops within a message; `false` after a Close or an error.
    pub(crate) is_mid_message: bool,
}

/// Why there is no further frame.
enum Stop {
    MoreNeeded,
    Broken(ProtocolError),
}

impl From<ProtocolError> for Stop {
    fn from(error: ProtocolError) -> Stop {
        Stop::Broken(error)
    }
}

/// Decodes `stream` as an endpoint of this role, with or without permessage-deflate.
pub(crate) fn decode(role: Role, message_bytes_max: u64, deflate: bool, stream: &[u8]) -> Outcome {
    let mut reference = Reference { role, message_bytes_max, deflate, rest: stream, message: None };
    let mut found = Vec::new();
    loop {
        let at_frame_start = reference.rest.is_empty();
        match reference.frame() {
            Ok(event) => found.extend(event),
            Err(Stop::MoreNeeded) => {
                let is_mid_message = !at_frame_start || reference.message.is_some();
                return Outcome { found, error: None, is_mid_message };
            }
            Err(Stop::Broken(error)) => {
                return Outcome { found, error: Some(error), is_mid_message: false };
            }
        }
        if let Some(Found::Close(_)) = found.last() {
            return Outcome { found, error: None, is_mid_message: false };
        }
    }
}

struct Reference<'a> {
    role: Role,
    message_bytes_max: u64,
    deflate: bool,
    rest: &'a [u8],
    /// The kind of the unfinished message, and its received bytes.
    message: Option<(Kind, Vec<u8>)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
    Compressed,
}

impl<'a> Reference<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Stop> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Stop::MoreNeeded)?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<u64, Stop> {
        Ok(self.take(bytes)?.iter().fold(0, |sum, &byte| sum * 256 + u64::from(byte)))
    }

    fn frame(&mut self) -> Result<Option<Found>, Stop> {
        let first = self.number(1)?;
        let (fin, opcode) = (first >= 0x80, first % 16);
        let is_control = opcode >= 8;
        let reserved = first / 16 % 8;
        let may_be_compressed = self.deflate && (opcode == 1 || opcode == 2);
        refuse(reserved != 0 && !(reserved == 4 && may_be_compressed), ReservedBits)?;
        refuse(![0, 1, 2, 8, 9, 10].contains(&opcode), ReservedOpcode)?;
        refuse(is_control && !fin, FragmentedControl)?;

        let second = self.number(1)?;
        let (is_masked, short) = (second >= 0x80, second % 128);
        refuse(self.role == Role::Server && !is_masked, Unmasked)?;
        refuse(self.role == Role::Client && is_masked, Masked)?;
        refuse(is_control && short > 125, OversizedControl)?;

        let (len, least) = match short {
            126 => (self.number(2)?, 126),
            127 => (self.number(8)?, 65536),
            _ => (short, 0),
        };
        refuse(len >= 1 << 63, LengthOverflow)?;
        refuse(len < least, NonMinimalLength)?;
        let key = if is_masked { self.take(4)? } else { &[0; 4] };

        let held = self.message.as_ref().map_or(0, |(_, bytes)| bytes.len() as u64);
        refuse(opcode == 0 && self.message.is_none(), UnexpectedContinuation)?;
        refuse((opcode == 1 || opcode == 2) && self.message.is_some(), ExpectedContinuation)?;
        let kind = match (&self.message, opcode) {
            (Some((kind, _)), _) => *kind,
            _ if reserved == 4 => Kind::Compressed,
            _ if opcode == 1 => Kind::Text,
            _ => Kind::Binary,
        };
        let max = self.message_bytes_max;
        let max = if kind == Kind::Compressed { max + max / 8 + max / 64 + 64 } else { max };
        refuse(!is_control && held + len > max, MessageTooBig)?;

        let here = self.rest.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        let is_whole = here as u64 == len;
        let payload = self.take(here)?.iter().zip(key.iter().cycle());
        let payload: Vec<u8> = payload.map(|(byte, key)| byte ^ key).collect();
        if is_control {
            return if is_whole {
                control(opcode, payload).map(Some)
            } else {
                Err(Stop::MoreNeeded)
            };
        }
        self.data(kind, payload, is_whole, fin)
    }

    fn data(
        &mut self,
        kind: Kind,
        payload: Vec<u8>,
        is_whole: bool,
        fin: bool,
    ) -> Result<Option<Found>, Stop> {
        let (_, mut bytes) = self.message.take().unwrap_or((kind, vec![]));
        bytes.extend(payload);
        if kind == Kind::Text
            && let Err(error) = std::str::from_utf8(&bytes)
        {
            refuse(error.error_len().is_some() || is_whole && fin, InvalidUtf8)?;
        }
        if is_whole && fin {
            return Ok(Some(match kind {
                Kind::Text => Found::Text(bytes),
                Kind::Binary => Found::Binary(bytes),
                Kind::Compressed => Found::Compressed(bytes),
            }));
        }
        self.message = Some((kind, bytes));
        if is_whole { Ok(None) } else { Err(Stop::MoreNeeded) }
    }
}

fn refuse(wrong: bool, error: ProtocolError) -> Result<(), Stop> {
    if wrong { Err(error.into()) } else { Ok(()) }
}

fn control(opcode: u64, payload: Vec<u8>) -> Result<Found, Stop> {
    match opcode {
        9 => return Ok(Found::Ping(payload)),
        10 => return Ok(Found::Pong(payload)),
        _ => {}
    }
    refuse(payload.len() == 1, InvalidClosePayload)?;
    if let [a, b, reason @ ..] = &payload[..] {
        let code = u32::from(*a) * 256 + u32::from(*b);
        let is_registered = (1000..1015).contains(&code) && ![1004, 1005, 1006].contains(&code);
        refuse(!is_registered && !(3000..5000).contains(&code), InvalidCloseCode)?;
        refuse(std::str::from_utf8(reason).is_err(), InvalidUtf8)?;
    }
    Ok(Found::Close(payload))
}
