//! The decoder compared with a naive one, on a whole stream and on parts of it.

use weir::protocol::{Decoder, ProtocolError, Role, Spares};

use crate::bytes::{Bytes, pieces};
use crate::reference::{self, Found, Outcome};
use crate::stream;

/// Message limits: 0, the edges of the length's forms, and more than any message has.
const LIMITS: [usize; 8] = [0, 125, 1000, 65535, 65536, 70_000, usize::MAX, usize::MAX];
/// Maximum memory of an unfinished message without data.
const EMPTY_BYTES: usize = 512;
/// How far the room for direct reads may exceed the received bytes.
const AHEAD_BYTES: usize = 32 * 1024;

/// Decodes a stream whole, in parts, in parts that are read into the decoder's room, and again with
/// the spare buffers of that run. All results equal the reference's. Memory follows the received
/// bytes, and none is kept between messages.
pub fn decoder(data: &[u8]) {
    let mut input = Bytes(data);
    let Some(choice) = input.u8() else {
        return;
    };
    let role = if choice & 1 == 0 { Role::Server } else { Role::Client };
    let message_bytes_max = LIMITS[usize::from(choice >> 1) % LIMITS.len()];
    let deflate = choice & 0x10 != 0;
    let cuts = input.cuts();
    let stream = if choice < 0xE0 { stream::build(role, &mut input) } else { input.0.to_vec() };

    let limit = (message_bytes_max as u64).min(u64::from(u32::MAX));
    let expected = reference::decode(role, limit, deflate, &stream);
    let check = |cuts: &[usize], is_direct, recycled: Recycled| {
        let decoder = Decoder::new(role);
        let decoder = if deflate { decoder.with_deflate() } else { decoder };
        let mut run = Run::new(decoder, message_bytes_max, is_direct, recycled);
        for piece in pieces(&stream, cuts) {
            run.read(piece);
        }
        let (outcome, spares) = run.finish();
        assert_eq!(outcome, expected, "in pieces of {cuts:?}, direct: {is_direct}");
        Recycled { spares, bytes: stream.len() }
    };
    check(&[], false, Recycled::default());
    check(&cuts, false, Recycled::default());
    let recycled = check(&cuts, true, Recycled::default());
    check(&cuts, true, recycled);
}

/// Decodes a whole stream.
pub(crate) fn decode(decoder: Decoder, message_bytes_max: usize, stream: &[u8]) -> Outcome {
    let mut run = Run::new(decoder, message_bytes_max, false, Recycled::default());
    run.read(stream);
    run.finish().0
}

/// Buffers that an earlier run has returned, whether its messages were complete or not.
#[derive(Default)]
struct Recycled {
    spares: Spares,
    /// The number of bytes that this run received.
    bytes: usize,
}

struct Run {
    decoder: Decoder,
    message_bytes_max: usize,
    recycled: Recycled,
    is_direct: bool,
    received: usize,
    found: Vec<Found>,
    /// The received parts of a compressed message.
    kept: Vec<u8>,
    error: Option<ProtocolError>,
}

impl Run {
    fn new(decoder: Decoder, message_bytes_max: usize, is_direct: bool, recycled: Recycled) -> Run {
        Run {
            decoder,
            message_bytes_max,
            recycled,
            is_direct,
            received: 0,
            found: Vec::new(),
            kept: Vec::new(),
            error: None,
        }
    }

    fn is_over(&self) -> bool {
        self.error.is_some() || matches!(self.found.last(), Some(Found::Close(_)))
    }

    fn read(&mut self, piece: &[u8]) {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        while !rest.is_empty() && !self.is_over() {
            let consumed = self.step(rest);
            assert!(consumed > 0, "a step without progress");
            self.received += consumed;
            self.check_held();
            rest = &mut rest[consumed..];
        }
        self.decoder.release(&mut self.recycled.spares);
        if !self.decoder.is_mid_message() {
            assert_eq!(self.decoder.held_bytes(), 0, "held between messages");
        }
    }

    /// Decodes the start of `rest`; returns its length.
    fn step(&mut self, rest: &mut [u8]) -> usize {
        if self.is_direct
            && let Some(room) = self.decoder.room()
        {
            let len = room.len().min(rest.len());
            room[..len].copy_from_slice(&rest[..len]);
            match self.decoder.decode_filled(len) {
                Ok(event) => self.found.extend(event.and_then(|e| Found::new(e, &mut self.kept))),
                Err(error) => self.error = Some(error),
            }
            return len;
        }
        let len = rest.len();
        match self.decoder.decode(rest, self.message_bytes_max, &mut self.recycled.spares) {
            Ok(step) => {
                let consumed = step.consumed;
                self.found.extend(step.event.and_then(|e| Found::new(e, &mut self.kept)));
                consumed
            }
            Err(error) => {
                self.error = Some(error);
                len
            }
        }
    }

    /// A vector's capacity is at most twice its largest length, and a large buffer's four times.
    fn check_held(&self) {
        let held = self.decoder.held_bytes();
        let received = self.received.max(self.recycled.bytes);
        let ahead = if self.is_direct { AHEAD_BYTES + received } else { 0 };
        let large = if received > Spares::BYTES_MAX { 4 * received } else { 0 };
        let bound = (2 * received + ahead).max(large) + EMPTY_BYTES;
        assert!(held <= bound, "{held} bytes held, {received} received");
    }

    fn finish(self) -> (Outcome, Spares) {
        let is_mid_message = !self.is_over() && self.decoder.is_mid_message();
        let outcome = Outcome { found: self.found, error: self.error, is_mid_message };
        (outcome, self.recycled.spares)
    }
}
