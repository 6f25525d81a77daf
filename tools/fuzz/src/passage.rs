//! One direction of a tunnel, compared with a naive decoder on both sides of it.

use weir::protocol::passage::{Extensions, Output, Passage, PassageEvent, PassageLimits, Passed};
use weir::protocol::{Decoder, ProtocolError, Role};

use crate::bytes::{Bytes, pieces};
use crate::decoder::decode;
use crate::reference::{self, Found, Outcome};
use crate::stream;

/// Limits of held frames: 0, the edges of the length's forms, and more than most frames have.
const HOLD_LIMITS: [usize; 8] = [0, 1, 17, 125, 126, 1000, 65_535, 65_536];
/// Limits of messages. Most runs have none, so that streams are not refused early.
const MESSAGE_LIMITS: [u64; 8] =
    [125, 1000, 65_536, 70_000, u64::MAX, u64::MAX, u64::MAX, u64::MAX];
/// Memory that does not depend on the received bytes.
const EMPTY_BYTES: usize = 512;
/// The payload of the pings that are put between the frames of the output.
const INJECTED: &[u8] = b"injected by the fuzz target";
/// More than the longest frame that can be announced (RFC 6455, 5.2) and a stream before it.
const UNLIMITED: u64 = 3 << 62;

/// Passes a stream in parts, with pings put into the output, and decodes what comes out. That equals
/// the decoded stream, without the dropped pongs and a withheld Close. Violations are found by both,
/// except those of payloads. The output is whole frames, and fragments are long enough.
pub fn passage(data: &[u8]) {
    let mut input = Bytes(data);
    let (Some(choice), Some(limits), Some(conduct)) = (input.u8(), input.u8(), input.u8()) else {
        return;
    };
    let role = if choice & 1 == 0 { Role::Server } else { Role::Client };
    let deflate = choice & 2 != 0;
    let limits = PassageLimits {
        hold_bytes_max: HOLD_LIMITS[usize::from(limits % 8)],
        message_bytes_max: MESSAGE_LIMITS[usize::from(limits / 8 % 8)],
        frames_max: 1 + usize::from(limits / 64) * 40,
    };
    let mut cuts = input.cuts();
    let stream = if choice < 0xE0 { stream::build(role, &mut input) } else { input.0.to_vec() };

    if conduct >= 0xC0 {
        cuts = frame_lens(&stream);
    }
    let expected = expected(role, deflate, &limits, &stream);
    let case = Case { role, deflate, limits, stream: &stream, cuts: &cuts, expected };
    case.forwards(conduct & 1 != 0, conduct & 2 != 0);
    case.discards(usize::from(conduct / 4 % 16));
    case.is_unchanged_with_unknown_extensions();
}

struct Case<'a> {
    role: Role,
    deflate: bool,
    limits: PassageLimits,
    stream: &'a [u8],
    cuts: &'a [usize],
    /// The events and the error of the stream without a tunnel.
    expected: Outcome,
}

fn expected(role: Role, deflate: bool, limits: &PassageLimits, stream: &[u8]) -> Outcome {
    let max = limits.message_bytes_max.min(UNLIMITED);
    // The reference allows a compressed message to be longer than the limit.
    let max = if deflate { UNLIMITED } else { max };
    reference::decode(role, max, deflate, stream)
}

impl Case<'_> {
    fn tunnel(&self) -> Tunnel {
        let extensions = if self.deflate { Extensions::Deflate } else { Extensions::Nothing };
        Tunnel::new(self.role, extensions, self.limits)
    }

    fn forwards(&self, expects_pong: bool, withholds_close: bool) {
        let Outcome { mut found, error: expected, is_mid_message } = self.expected.clone();
        let mut tunnel = self.tunnel();
        if let Some(marker) = found.iter().find_map(marker).filter(|_| expects_pong) {
            tunnel.passage.ping_marker(|| marker);
            let before = found.len();
            found.retain(|found| self::marker(found) != Some(marker));
            tunnel.own_pongs = before - found.len();
        }
        if withholds_close {
            tunnel.passage.withhold_close();
        }
        pieces(self.stream, self.cuts).for_each(|piece| tunnel.read(piece, true));

        let closes = matches!(found.last(), Some(Found::Close(_)));
        let decoder = Decoder::new(self.role);
        let decoder = if self.deflate { decoder.with_deflate() } else { decoder };
        let mut received = decode(decoder, usize::MAX, &tunnel.out);
        received
            .found
            .retain(|found| !matches!(found, Found::Ping(payload) if payload == INJECTED));

        if self.deflate && tunnel.error == Some(ProtocolError::MessageTooBig) {
            assert!(found.starts_with(&received.found), "{}", self.shown());
            return;
        }
        if withholds_close && closes {
            found.pop();
        }
        assert_eq!(received.found, found, "{}", self.shown());
        if closes {
            assert!(tunnel.passage.has_closed());
        }
        match (tunnel.error, expected) {
            (error, None) => assert_eq!(error, None, "{}", self.shown()),
            (None, Some(error)) => assert!(is_unchecked(error), "{error}: {}", self.shown()),
            (Some(error), Some(expected)) => {
                assert!(error == expected || is_unchecked(expected), "{error}: {}", self.shown());
            }
        }
        // What is held, and a withheld Close, do not reach the receiver.
        let expected = expected.filter(|&error| is_unchecked(error));
        if !tunnel.passage.is_holding() && !withholds_close {
            assert_eq!(received.error, expected, "{}", self.shown());
            if expected.is_none() && tunnel.error.is_none() {
                assert_eq!(received.is_mid_message, is_mid_message, "{}", self.shown());
            }
        }
        if tunnel.error.is_none() && expected.is_none() {
            let is_own = |event: &&PassageEvent| matches!(event, PassageEvent::OwnPong(_));
            let own_pongs = tunnel.events.iter().filter(is_own).count();
            assert_eq!(own_pongs, tunnel.own_pongs, "{}", self.shown());
        }
    }

    /// After some parts of the stream, the rest of it is discarded.
    fn discards(&self, after: usize) {
        let mut tunnel = self.tunnel();
        let mut parts = pieces(self.stream, self.cuts);
        parts.by_ref().take(after).for_each(|piece| tunnel.read(piece, false));
        let forwarded = tunnel.out.len();
        tunnel.passage.discard();
        assert!(tunnel.passage.held_bytes() <= EMPTY_BYTES);
        for piece in parts {
            tunnel.read(piece, false);
            assert!(tunnel.passage.held_bytes() <= EMPTY_BYTES);
        }
        assert_eq!(tunnel.out.len(), forwarded, "{}", self.shown());
        let expected = &self.expected;
        if expected.error.is_none() && tunnel.error.is_none() {
            let closes = matches!(expected.found.last(), Some(Found::Close(_)));
            assert_eq!(tunnel.passage.has_closed(), closes, "{}", self.shown());
        }
    }

    /// With an unknown extension no byte is changed, and only framing is checked.
    fn is_unchanged_with_unknown_extensions(&self) {
        let mut tunnel = Tunnel::new(self.role, Extensions::Unknown, self.limits);
        for piece in pieces(self.stream, self.cuts) {
            let before = tunnel.out.len();
            tunnel.read(piece, false);
            let expected = self.stream.get(before..tunnel.out.len());
            assert!(expected == Some(&tunnel.out[before..]), "{}", self.shown());
        }
        let is_too_big = tunnel.error == Some(ProtocolError::MessageTooBig);
        if self.expected.error.is_none() && !is_too_big {
            assert_eq!(tunnel.error, None, "{}", self.shown());
            let is_complete = tunnel.passage.is_holding() || tunnel.passage.has_closed();
            assert!(is_complete || tunnel.out.len() == self.stream.len(), "{}", self.shown());
        }
    }

    fn shown(&self) -> String {
        let Case { role, deflate, limits, cuts, stream, .. } = self;
        let start = &stream[..stream.len().min(300)];
        format!("{role:?}, {deflate}, {limits:?}, {cuts:?}: {}", start.escape_ascii())
    }
}

/// The lengths of the frames in a stream, as far as they are whole, and of the rest.
fn frame_lens(stream: &[u8]) -> Vec<usize> {
    let mut lens = Vec::new();
    let mut rest = stream;
    while let Some(start) = rest.first_chunk::<10>() {
        let payload = match start[1] & 0x7F {
            126 => u16::from_be_bytes([start[2], start[3]]).into(),
            127 => start[2..].iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
            short => short.into(),
        };
        let len = payload.saturating_add(header_bytes(start) as u64);
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
        lens.push(len);
        rest = &rest[len..];
    }
    lens.extend((!rest.is_empty()).then_some(rest.len()));
    lens
}

/// The length of the header at the start of a frame.
fn header_bytes(start: &[u8]) -> usize {
    let length = match start[1] & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + length + if start[1] & 0x80 != 0 { 4 } else { 0 }
}

/// The marker of a pong whose payload could be that of our ping.
fn marker(found: &Found) -> Option<[u8; 8]> {
    match found {
        Found::Pong(payload) if payload.len() == 12 => payload.first_chunk().copied(),
        _ => None,
    }
}

/// Whether this is a violation that a tunnel does not look for.
fn is_unchecked(error: ProtocolError) -> bool {
    matches!(
        error,
        ProtocolError::InvalidUtf8
            | ProtocolError::InvalidCloseCode
            | ProtocolError::InvalidClosePayload
    )
}

struct Tunnel {
    passage: Passage,
    /// Whether the output is masked, as the input is.
    is_masked: bool,
    limits: PassageLimits,
    received: usize,
    out: Vec<u8>,
    events: Vec<PassageEvent>,
    error: Option<ProtocolError>,
    own_pongs: usize,
}

impl Tunnel {
    fn new(role: Role, extensions: Extensions, limits: PassageLimits) -> Tunnel {
        Tunnel {
            is_masked: role == Role::Server,
            passage: Passage::new(role, extensions),
            limits,
            received: 0,
            out: Vec::new(),
            events: Vec::new(),
            error: None,
            own_pongs: 0,
        }
    }

    /// Passes `piece` as one read; puts a ping behind the output of each call.
    fn read(&mut self, piece: &[u8], injects: bool) {
        let mut rest = piece;
        while !rest.is_empty() && self.error.is_none() {
            match self.passage.pass(rest, &self.limits) {
                Ok(passed) => {
                    let consumed = passed.consumed;
                    assert!(consumed > 0, "a step without progress");
                    self.received += consumed;
                    self.forward(passed, rest);
                    rest = &rest[consumed..];
                }
                Err(error) => self.error = Some(error),
            }
            self.check_held();
            if injects {
                assert!(self.passage.is_at_boundary());
                self.inject();
            }
        }
    }

    fn forward(&mut self, passed: Passed, input: &[u8]) {
        assert!(passed.frames <= self.limits.frames_max, "{passed:?}");
        assert!(passed.messages <= passed.frames, "{passed:?}");
        self.events.extend(passed.event);
        match passed.output {
            Output::Nothing => {}
            Output::Input(range) => {
                assert!(!range.is_empty() && range.end <= passed.consumed);
                self.out.extend_from_slice(&input[range]);
            }
            Output::Start(start, range) => {
                assert!(range.end <= passed.consumed);
                // A fragment that is not the last one completes no frame.
                if start.is_fragment() && passed.frames == 0 {
                    let bytes = start.as_bytes();
                    let payload = bytes.len() - header_bytes(bytes) + range.len();
                    assert!(payload >= self.limits.hold_bytes_max.max(1), "{payload} bytes");
                }
                self.out.extend_from_slice(start.as_bytes());
                self.out.extend_from_slice(&input[range]);
            }
        }
    }

    /// Appends a ping to the output. A Close ends the output.
    fn inject(&mut self) {
        if self.passage.has_closed() {
            return;
        }
        let masked = if self.is_masked { 0x80 } else { 0 };
        self.out.extend([0x89, masked | INJECTED.len() as u8]);
        if masked != 0 {
            self.out.extend([0; 4]);
        }
        self.out.extend(INJECTED);
    }

    /// The buffer doubles, and ends at the limit.
    fn check_held(&self) {
        let held = self.passage.held_bytes();
        let most = (2 * self.received).min(self.limits.hold_bytes_max) + EMPTY_BYTES;
        assert!(held <= most, "{held} bytes held, {} received", self.received);
    }
}
