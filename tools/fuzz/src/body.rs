//! Request bodies, by length and chunked, compared with a naive parser of the whole input.

use weir::protocol::handshake::Refusal;
use weir::protocol::http::{
    BodyDecoder, CHUNK_LINE_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, Framing, TRAILERS_BYTES_MAX,
};

use crate::bytes::{Bytes, pieces};
use crate::extensions::is_token;

pub(crate) const BODY_BYTES_MAX: [usize; 4] = [0, 16, 300, 64 * 1024];
/// Maximum number of alterations: a body altered more often would be refused for its first fault.
pub(crate) const STEPS_MAX: usize = 4;
/// Insertions that make or break a line of a chunked body.
const PARTS: [&str; 24] = [
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    ";",
    ":",
    "0",
    "1",
    "f",
    "F",
    "g",
    "-",
    "0x",
    "\u{e9}",
    ";a=b",
    "; a = \"b;c\"",
    "X: y\r\n",
    "0\r\n\r\n",
    "0\r\n",
    "1\r\na\r\n",
    "ffffffffffffffff\r\n",
    "0000000000000000",
];

/// The naive parser's result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The data, and the number of bytes it took.
    Complete(Vec<u8>, usize),
    Refused(Refusal),
    /// The last line or chunk is incomplete. The decoder waits for more, or has already found a
    /// fault in it.
    Cut,
}

/// Bodies, built from chunks and altered, or arbitrary, decode in parts of any size as the naive
/// parser does. A body that was built and not altered decodes to its data.
pub fn body(data: &[u8]) {
    let mut input = Bytes(data);
    while one_body(&mut input).is_some() {}
}

fn one_body(input: &mut Bytes<'_>) -> Option<()> {
    let choice = input.u8()?;
    let max = BODY_BYTES_MAX[usize::from(choice >> 3) % BODY_BYTES_MAX.len()];
    let cuts = input.cuts();
    match choice % 8 {
        0 => check(Framing::Chunked, input.up_to(40), &cuts, max),
        1 => {
            let length = u64::from(input.u16()?);
            check(Framing::Length(length), input.up_to(1000), &cuts, max);
        }
        2 => {
            let length = input.below(40)?;
            check(Framing::Length(length as u64), input.up_to(length + 2), &cuts, max);
        }
        3 => check(Framing::UntilClose, input.up_to(400), &cuts, max),
        _ => {
            let (mut wire, data) = build(input)?;
            if data.len() <= max {
                let whole = read_whole(Framing::Chunked, &wire, max);
                assert_eq!(whole, Reading::Complete(data, wire.len()), "{}", shown(&wire));
            }
            for _ in 0..input.below(STEPS_MAX + 1)? {
                alter(&mut wire, input)?;
            }
            wire.extend_from_slice(input.up_to(4));
            check(Framing::Chunked, &wire, &cuts, max);
        }
    }
    Some(())
}

fn check(framing: Framing, wire: &[u8], cuts: &[usize], max: usize) {
    let expected = match framing {
        Framing::Length(length) => naive_length(length, wire, max),
        Framing::Chunked => naive_chunked(wire, max),
        Framing::UntilClose if wire.len() > max => Reading::Refused(Refusal::BodyTooLarge),
        Framing::UntilClose => Reading::Cut,
    };
    let whole = read_whole(framing, wire, max);
    let in_pieces = read(framing, pieces(wire, cuts), max);
    assert_eq!(in_pieces, whole, "in pieces of {cuts:?}: {}", shown(wire));
    match expected {
        // The incomplete last line may already be invalid.
        Reading::Cut => assert!(!matches!(whole, Reading::Complete(..)), "{}", shown(wire)),
        _ => assert_eq!(whole, expected, "{}", shown(wire)),
    }
}

fn read_whole(framing: Framing, wire: &[u8], max: usize) -> Reading {
    read(framing, [wire].into_iter(), max)
}

fn read<'a>(framing: Framing, pieces: impl Iterator<Item = &'a [u8]>, max: usize) -> Reading {
    let mut decoder = match BodyDecoder::new(framing, max) {
        Ok(decoder) => decoder,
        Err(refusal) => return Reading::Refused(refusal),
    };
    let (mut body, mut taken) = (Vec::new(), 0);
    for piece in pieces {
        match decoder.decode(piece, &mut body) {
            Ok(len) => {
                assert!(len == piece.len() || decoder.is_complete(), "{len} of {}", piece.len());
                taken += len;
            }
            Err(refusal) => return Reading::Refused(refusal),
        }
        assert!(
            body.len() <= max && body.capacity() <= 2 * max.max(8),
            "{} bytes",
            body.capacity()
        );
    }
    if decoder.is_complete() { Reading::Complete(body, taken) } else { Reading::Cut }
}

pub(crate) fn naive_length(length: u64, wire: &[u8], max: usize) -> Reading {
    match usize::try_from(length) {
        Ok(length) if length <= max => match wire.get(..length) {
            Some(body) => Reading::Complete(body.to_vec(), length),
            None => Reading::Cut,
        },
        _ => Reading::Refused(Refusal::BodyTooLarge),
    }
}

/// RFC 9112, 7.1, line by line.
pub(crate) fn naive_chunked(wire: &[u8], max: usize) -> Reading {
    let (mut body, mut rest) = (Vec::new(), wire);
    loop {
        let Some((line, behind)) = naive_line(rest) else {
            return Reading::Cut;
        };
        let Some(size) = naive_size(line) else {
            return Reading::Refused(Refusal::ChunkedBody);
        };
        rest = behind;
        if size == 0 {
            break;
        }
        if size > (max - body.len()) as u64 {
            return Reading::Refused(Refusal::BodyTooLarge);
        }
        let Some((data, behind)) = rest.split_at_checked(size as usize) else {
            return Reading::Cut;
        };
        body.extend_from_slice(data);
        match behind {
            [b'\r', b'\n', behind @ ..] => rest = behind,
            [] | [b'\r'] => return Reading::Cut,
            _ => return Reading::Refused(Refusal::ChunkedBody),
        }
    }
    let mut dropped = 0;
    loop {
        let Some((line, behind)) = naive_line(rest) else {
            return Reading::Cut;
        };
        rest = behind;
        if line.is_empty() {
            return Reading::Complete(body, wire.len() - rest.len());
        }
        let is_field = is_trailer(line);
        dropped += line.len() + 2;
        match (is_field, dropped > TRAILERS_BYTES_MAX) {
            (true, false) => {}
            (true, true) => return Reading::Refused(Refusal::TrailersTooLong),
            (false, false) => return Reading::Refused(Refusal::ChunkedBody),
            // The result depends on which of the two comes first.
            (false, true) => return Reading::Cut,
        }
    }
}

/// The bytes before the first CR LF, and those after it.
fn naive_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

fn naive_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    let extension = rest.trim_ascii_start();
    let is_plain = rest.iter().all(|&byte| is_field_byte(byte));
    let is_valid = is_plain && (rest.is_empty() || extension.first() == Some(&b';'));
    let fits =
        digits.len() <= usize::from(CHUNK_SIZE_DIGITS_MAX) && line.len() <= CHUNK_LINE_BYTES_MAX;
    let digits = std::str::from_utf8(digits).ok()?;
    u64::from_str_radix(digits, 16).ok().filter(|_| is_valid && fits)
}

fn is_trailer(line: &[u8]) -> bool {
    let colon = line.iter().position(|&byte| byte == b':');
    colon.is_some_and(|colon| {
        let name = String::from_utf8_lossy(&line[..colon]);
        is_token(&name) && line[colon..].iter().all(|&byte| is_field_byte(byte))
    })
}

fn is_field_byte(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

/// A valid chunked body and its data.
pub(crate) fn build(input: &mut Bytes<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut wire, mut data) = (Vec::new(), Vec::new());
    for _ in 0..input.below(5)? {
        let size = 1 + input.below(12)?;
        let line = match input.below(4)? {
            0 => format!("{size:X}"),
            1 => format!("{size:016x}"),
            2 => format!("{size:x} ;a=\"b\""),
            _ => format!("{size:x}"),
        };
        let chunk: Vec<u8> =
            input.up_to(size).iter().copied().chain([b'.'; 12]).take(size).collect();
        wire.extend_from_slice(&[line.as_bytes(), b"\r\n", &chunk, b"\r\n"].concat());
        data.extend_from_slice(&chunk);
    }
    let end: &[u8] = match input.below(3)? {
        0 => b"0\r\nX: y\r\nContent-Length: 5\r\n\r\n",
        1 => b"000;last\r\n\r\n",
        _ => b"0\r\n\r\n",
    };
    wire.extend_from_slice(end);
    Some((wire, data))
}

pub(crate) fn alter(wire: &mut Vec<u8>, input: &mut Bytes<'_>) -> Option<()> {
    let at = usize::from(input.u16()?) % (wire.len() + 1);
    // Most faults are at the start or the end of a line.
    let line_end = wire[at..].iter().position(|&byte| byte == b'\r').map_or(at, |cr| at + cr);
    let at = [at, line_end, (line_end + 2).min(wire.len())][input.below(3)?];
    match input.below(4)? {
        0 => {
            let part = PARTS[input.below(PARTS.len())?];
            wire.splice(at..at, part.bytes());
        }
        1 => {
            let filler = [b"x", &b"0"[..], b"\t"][input.below(3)?].repeat(input.u8()?.into());
            wire.splice(at..at, filler);
        }
        2 => {
            let end = wire.len().min(at + input.below(8)?);
            wire.drain(at..end);
        }
        _ => {
            if let Some(byte) = wire.get_mut(at) {
                *byte ^= 1 << input.below(8)?;
            }
        }
    }
    Some(())
}

pub(crate) fn shown(wire: &[u8]) -> String {
    wire.escape_ascii().to_string()
}
