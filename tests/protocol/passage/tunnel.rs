//! Passes a stream as the loop does, and records what the other endpoint gets.

use weir::protocol::passage::{Extensions, Output, Passage, PassageEvent, PassageLimits, Passed};
use weir::protocol::{ProtocolError, Role};

use crate::protocol::wire::CONTINUATION;

/// Limits that no test reaches by chance.
pub(super) const LIMITS: PassageLimits =
    PassageLimits { hold_bytes_max: 1000, message_bytes_max: u64::MAX, frames_max: 256 };

pub(super) fn holding(hold_bytes_max: usize) -> PassageLimits {
    PassageLimits { hold_bytes_max, ..LIMITS }
}

/// One direction of a tunnel, and everything that came out of it.
pub(super) struct Tunnel {
    pub(super) passage: Passage,
    pub(super) limits: PassageLimits,
    /// The bytes that the other endpoint gets.
    pub(super) out: Vec<u8>,
    pub(super) events: Vec<PassageEvent>,
    pub(super) error: Option<ProtocolError>,
    pub(super) frames: usize,
    pub(super) messages: usize,
    /// Fragments that weir made.
    pub(super) fragments: usize,
    /// The maximum of bytes held after any step.
    pub(super) held_bytes_peak: usize,
    /// The number of slices forwarded.
    pub(super) slices: usize,
}

impl Tunnel {
    pub(super) fn new(reader: Role, extensions: Extensions, limits: PassageLimits) -> Tunnel {
        Tunnel {
            passage: Passage::new(reader, extensions),
            limits,
            out: Vec::new(),
            events: Vec::new(),
            error: None,
            frames: 0,
            messages: 0,
            fragments: 0,
            held_bytes_peak: 0,
            slices: 0,
        }
    }

    /// Passes `bytes` as one read.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && self.error.is_none() {
            match self.passage.pass(rest, &self.limits) {
                Ok(passed) => {
                    let consumed = passed.consumed;
                    assert!(consumed > 0, "a step without progress");
                    self.forward(passed, rest);
                    rest = &rest[consumed..];
                }
                Err(error) => self.error = Some(error),
            }
            self.held_bytes_peak = self.held_bytes_peak.max(self.passage.held_bytes());
        }
    }

    fn forward(&mut self, passed: Passed, input: &[u8]) {
        assert!(passed.frames <= self.limits.frames_max, "{passed:?}");
        match passed.output {
            Output::Nothing => {}
            Output::Input(range) => {
                assert!(!range.is_empty());
                self.out.extend_from_slice(&input[range]);
                self.slices += 1;
            }
            Output::Start(start, range) => {
                self.fragments += usize::from(start.is_fragment());
                self.slices += 1 + usize::from(!range.is_empty());
                self.out.extend_from_slice(start.as_bytes());
                self.out.extend_from_slice(&input[range]);
            }
        }
        self.frames += passed.frames;
        self.messages += passed.messages;
        self.events.extend(passed.event);
    }
}

/// What came out of `pieces`, each of them one read.
pub(super) fn passed<'b>(
    reader: Role,
    limits: PassageLimits,
    pieces: impl IntoIterator<Item = &'b [u8]>,
) -> Tunnel {
    let mut tunnel = Tunnel::new(reader, Extensions::Nothing, limits);
    for piece in pieces {
        tunnel.read(piece);
    }
    tunnel
}

/// A frame as it is on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wire {
    pub(super) first: u8,
    pub(super) key: Option<[u8; 4]>,
    /// Masked, if there is a key.
    pub(super) payload: Vec<u8>,
}

impl Wire {
    /// The payload without its mask.
    pub(super) fn unmasked(&self) -> Vec<u8> {
        let key = self.key.unwrap_or_default();
        self.payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
    }

    pub(super) fn is_continuation(&self) -> bool {
        self.first & 0x0F == CONTINUATION
    }
}

/// The frames of a stream, which must be complete.
pub(super) fn wires(mut bytes: &[u8]) -> Vec<Wire> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (first, second) = (bytes[0], bytes[1]);
        let (len, start) = match second & 0x7F {
            126 => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
            127 => (u64::from_be_bytes(bytes[2..10].try_into().unwrap()) as usize, 10),
            len => (usize::from(len), 2),
        };
        let key: Option<[u8; 4]> =
            (second & 0x80 != 0).then(|| bytes[start..start + 4].try_into().unwrap());
        let start = start + key.map_or(0, |_| 4);
        found.push(Wire { first, key, payload: bytes[start..start + len].to_vec() });
        bytes = &bytes[start + len..];
    }
    found
}
