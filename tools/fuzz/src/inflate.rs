//! Compressed messages through the decoder and the inflater, compared with one zlib stream per
//! connection.

use weir::protocol::deflate::{Deflater, Inflater, Unfinished, Window};
use weir::protocol::{Decoder, Event, Message, Opcode, ProtocolError, Role, Spares};
use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush, Status};

use crate::bytes::{Bytes, pieces};

/// Maximum number of messages of one connection.
const MESSAGES_MAX: usize = 12;
/// Message limits; messages are tried at, around and far above them.
const LIMITS: [usize; 4] = [125, 1000, 20_000, 1 << 20];
/// The inflater's memory estimate for a stream.
const STREAM_BYTES: usize = 48 * 1024;
/// The byte that ends a message after a final block: an empty block without its tail (RFC 7692,
/// 7.2.3.4).
const AFTER_FINAL: u8 = 0x00;

/// Decodes a connection's messages whole and in parts. Some are compressed by weir, some by a peer
/// with its own stream, with and without context takeover, whole, in fragments and corrupted. Each
/// decodes to its original, or to the result of one stream over all of them, or fails. Decoded
/// bytes never exceed the limit, and kept bytes never exceed the window.
pub fn inflate(data: &[u8]) {
    let mut input = Bytes(data);
    let Some(choice) = input.u8() else {
        return;
    };
    let bits = 9 + choice % 7;
    let takeover = choice & 0x08 != 0;
    let limit = LIMITS[usize::from(choice >> 4) % LIMITS.len()];
    let cuts = input.cuts();
    let mut peer = Peer::new(bits, takeover, 1 + choice % 9);
    for _ in 0..MESSAGES_MAX {
        if peer.add_message(&mut input).is_none() {
            break;
        }
    }

    let whole = receive(&peer.wire, &[], bits, takeover, limit);
    assert_eq!(receive(&peer.wire, &cuts, bits, takeover, limit), whole, "in pieces of {cuts:?}");
    let expected = peer.expected(limit);
    assert_eq!(whole.len(), expected.len());
    for (found, expected) in whole.iter().zip(&expected) {
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(error), Err(possible)) => {
                assert!(possible.contains(error), "{error:?}, expected one of {possible:?}")
            }
            _ => panic!("{found:?}, expected {expected:?}"),
        }
    }
}

/// The decoded messages, up to the error that failed the connection.
type Outcome = Vec<Result<Vec<u8>, ProtocolError>>;

fn receive(wire: &[u8], cuts: &[usize], bits: u8, takeover: bool, limit: usize) -> Outcome {
    let mut decoder = Decoder::new(Role::Client).with_deflate();
    let mut spares = Spares::default();
    let mut inflater = Inflater::default();
    let mut window = takeover.then(|| Window::new(bits));
    let mut unfinished = None;
    let mut found = Vec::new();
    for piece in pieces(wire, cuts) {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        while !rest.is_empty() {
            let step = match decoder.decode(rest, limit, &mut spares) {
                Ok(step) => step,
                Err(error) => {
                    found.push(Err(error));
                    return found;
                }
            };
            let message = match step.event {
                Some(Event::Compressed(piece)) => {
                    inflater.inflate(piece, &mut unfinished, window.as_mut(), limit)
                }
                Some(Event::Message(message)) => Ok(Some(message)),
                _ => Ok(None),
            };
            match message {
                Ok(message) => {
                    found.extend(message.map(|m: Message<'_>| Ok(m.as_bytes().to_vec())))
                }
                Err(error) => {
                    found.push(Err(error));
                    return found;
                }
            }
            let held = unfinished.as_ref().map_or(0, Unfinished::held_bytes);
            assert!(held <= 2 * (limit + 1).max(16 * 1024) + STREAM_BYTES);
            assert!(inflater.held_bytes() <= 4 * (limit + 1).max(256 * 1024) + 2 * STREAM_BYTES);
            assert!(window.as_ref().is_none_or(|window| window.held_bytes() <= 1 << bits));
            let consumed = step.consumed;
            rest = &mut rest[consumed..];
        }
    }
    found
}

/// A message on the wire.
struct Sent {
    opcode: Opcode,
    /// The payload of all fragments, and whether it is compressed.
    payload: Vec<u8>,
    compressed: bool,
    /// The original bytes; `None` for a corrupted message.
    plain: Option<Vec<u8>>,
}

/// The expected result: the message's bytes, or one of these errors.
type Expected = Result<Vec<u8>, Vec<ProtocolError>>;

struct Peer {
    bits: u8,
    takeover: bool,
    /// weir's compression, and its window.
    deflater: Deflater,
    window: Window,
    /// The usual compression: one stream for all messages.
    stream: Deflate,
    /// Whether the stream has compressed all messages so far.
    is_in_step: bool,
    sent: Vec<Sent>,
    wire: Vec<u8>,
}

impl Peer {
    fn new(bits: u8, takeover: bool, level: u8) -> Peer {
        Peer {
            bits,
            takeover,
            deflater: Deflater::new(level, level),
            window: Window::new(bits),
            stream: Deflate::new(level.into(), false, bits),
            is_in_step: true,
            sent: Vec::new(),
            wire: Vec::new(),
        }
    }

    /// Adds a message; `None` at the end of the input.
    fn add_message(&mut self, input: &mut Bytes<'_>) -> Option<()> {
        let kind = input.u8()?;
        let opcode = if kind & 0x80 == 0 { Opcode::Text } else { Opcode::Binary };
        let plain = words(input)?;
        let payload = match kind % 8 {
            0 => None,
            1..=3 => {
                let window = if self.takeover { self.window.as_bytes() } else { &[] };
                self.is_in_step = false;
                self.deflater.deflate(&plain, self.bits, window).map(<[u8]>::to_vec)
            }
            4..=5 => Some(self.by_stream(&plain, DeflateFlush::SyncFlush)),
            6 => Some(self.by_stream(&plain, DeflateFlush::Finish)),
            _ => {
                let len = input.below(64)?;
                let payload = input.up_to(len).to_vec();
                self.sent.push(Sent { opcode, payload, compressed: true, plain: None });
                self.send(input);
                return Some(());
            }
        };
        let mut sent = match payload {
            None => Sent { opcode, payload: plain.clone(), compressed: false, plain: Some(plain) },
            Some(payload) => {
                self.window.push(&plain);
                Sent { opcode, payload, compressed: true, plain: Some(plain) }
            }
        };
        // Sometimes a bit is corrupted.
        if sent.compressed
            && kind & 0x78 == 0x78
            && let Some(byte) = sent.payload.last_mut()
        {
            *byte ^= 1 << (kind & 7);
            sent.plain = None;
        }
        self.sent.push(sent);
        self.send(input);
        Some(())
    }

    /// Compresses with a persistent stream, which is reset without takeover or if it missed a
    /// message.
    fn by_stream(&mut self, plain: &[u8], flush: DeflateFlush) -> Vec<u8> {
        if !self.takeover || !self.is_in_step {
            self.stream.reset();
            self.is_in_step = true;
        }
        let mut out = vec![0; 2 * plain.len() + 1024];
        let before = self.stream.total_out();
        self.stream.compress(plain, &mut out, flush).expect("room for twice as much");
        out.truncate((self.stream.total_out() - before) as usize);
        if flush == DeflateFlush::Finish {
            self.is_in_step = false;
            out.push(AFTER_FINAL);
        } else if !out.is_empty() {
            // An empty message after a flush produces no output.
            assert!(out.ends_with(&[0, 0, 0xFF, 0xFF]));
            out.truncate(out.len() - 4);
        }
        out
    }

    /// Writes the latest message to the wire, in one frame or two.
    fn send(&mut self, input: &mut Bytes<'_>) {
        let Some(sent) = self.sent.last() else {
            return;
        };
        let cut = usize::from(input.u8().unwrap_or(0)) * sent.payload.len() / 256;
        let fragments = [&sent.payload[..cut], &sent.payload[cut..]];
        let skipped = usize::from(cut == 0);
        let first = sent.opcode as u8 | if sent.compressed { 0x40 } else { 0 };
        for (index, fragment) in fragments.into_iter().enumerate().skip(skipped) {
            let opcode = if index == skipped { first } else { 0 };
            let fin = if index == 1 { 0x80 } else { 0 };
            self.wire.push(opcode | fin);
            match fragment.len() {
                len @ 0..126 => self.wire.push(len as u8),
                len @ 126..65536 => {
                    self.wire.push(126);
                    self.wire.extend((len as u16).to_be_bytes());
                }
                len => {
                    self.wire.push(127);
                    self.wire.extend((len as u64).to_be_bytes());
                }
            }
            self.wire.extend(fragment);
        }
    }

    /// The results for a receiver with this limit. Valid messages decode to themselves, others to
    /// the result of one stream over all compressed messages.
    fn expected(&self, limit: usize) -> Vec<Expected> {
        let mut found = Vec::new();
        let mut history = Vec::new();
        // A message after a corrupted one may refer to its result.
        let mut is_known = true;
        for sent in &self.sent {
            is_known &= sent.plain.is_some() || !self.takeover;
            let before: &[u8] = if self.takeover { &history } else { &[] };
            let outcome = sent.outcome(before, self.bits, limit, is_known);
            let is_over = outcome.is_err();
            if sent.compressed
                && let Ok(plain) = &outcome
            {
                history.extend_from_slice(plain);
            }
            found.push(outcome);
            if is_over {
                break;
            }
        }
        found
    }
}

impl Sent {
    fn outcome(&self, history: &[u8], bits: u8, limit: usize, is_known: bool) -> Expected {
        let len = self.payload.len();
        let most = if self.compressed { limit + limit / 8 + limit / 64 + 64 } else { limit };
        let mut plain = Vec::new();
        let mut errors = Vec::new();
        match &self.plain {
            // The fragments before the one that exceeds the limit may be invalid text.
            _ if len > most && !self.compressed => plain.clone_from(&self.payload),
            _ if len > most => return Err(vec![ProtocolError::MessageTooBig]),
            Some(known) if is_known || !self.compressed => plain.clone_from(known),
            _ if self.payload.is_empty() => {}
            _ => {
                let inflated = inflate_naively(&self.payload, history, bits, limit, &mut plain);
                errors.extend(inflated.err().map(|()| ProtocolError::InvalidDeflate));
            }
        }
        if plain.len() > limit {
            errors = vec![ProtocolError::MessageTooBig];
        }
        // Which of two faults is found first depends on the size of the steps.
        if self.opcode == Opcode::Text && std::str::from_utf8(&plain).is_err() {
            errors.push(ProtocolError::InvalidUtf8);
        }
        if errors.is_empty() { Ok(plain) } else { Err(errors) }
    }
}

/// Inflates byte by byte to `plain`, with all earlier messages as a dictionary; stops above the
/// limit.
fn inflate_naively(
    payload: &[u8],
    history: &[u8],
    bits: u8,
    limit: usize,
    plain: &mut Vec<u8>,
) -> Result<(), ()> {
    let window = 1 << bits;
    let fresh = |plain: &[u8]| {
        let mut stream = Inflate::new(false, 15);
        let seen = [&history[history.len().saturating_sub(window)..], plain].concat();
        stream.set_dictionary(&seen).map_err(|_| ())?;
        Ok::<_, ()>(stream)
    };
    let mut stream = fresh(plain)?;
    let tail = [0, 0, 0xFF, 0xFF, 3, 0];
    let whole = [payload, &tail].concat();
    for (at, byte) in whole.iter().enumerate() {
        let mut input = std::slice::from_ref(byte);
        loop {
            let mut out = [0; 300];
            let before = (stream.total_in(), stream.total_out());
            let status =
                stream.decompress(input, &mut out, InflateFlush::SyncFlush).map_err(|_| ())?;
            let written = (stream.total_out() - before.1) as usize;
            if at >= payload.len() && written > 0 {
                return Err(());
            }
            plain.extend_from_slice(&out[..written]);
            if plain.len() > limit {
                return Ok(());
            }
            input = &input[(stream.total_in() - before.0) as usize..];
            if status == Status::StreamEnd {
                if at + 1 == payload.len() || at + 1 == whole.len() {
                    return Ok(());
                }
                if at >= payload.len() {
                    return Err(());
                }
                stream = fresh(plain)?;
                break;
            }
            if input.is_empty() && written < out.len() {
                break;
            }
        }
    }
    Err(())
}

/// A text of repeated words, or bytes without repetition.
fn words(input: &mut Bytes<'_>) -> Option<Vec<u8>> {
    const WORDS: [&str; 8] = [
        "{\"id\":",
        "\"price\":",
        "é€",
        ",\"side\":\"buy\"}",
        "1234567890",
        " ",
        "aaaaaaaaaaaaaaaa",
        "\u{1F600}",
    ];
    let len = input.below(100)?;
    if len >= 90 {
        let count = 1 + input.below(200)?;
        return Some(input.up_to(4).repeat(count));
    }
    let words = (0..len).filter_map(|_| Some(WORDS[input.below(WORDS.len())?]));
    Some(words.collect::<String>().into_bytes())
}
