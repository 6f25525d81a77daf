//! Bodies on their way through a proxy, compared with a naive parser of the whole input and a naive
//! reader of the output.

use weir::protocol::handshake::Refusal;
use weir::protocol::http::{BodyPass, Framing};

use crate::body::{
    BODY_BYTES_MAX, Reading, STEPS_MAX, alter, build, naive_chunked, naive_length, shown,
};
use crate::bytes::{Bytes, pieces};

/// The most bytes that one byte of input may append: a chunk of one byte.
const GROWTH_MAX: usize = 6;
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Bodies of all framings, built and altered, or arbitrary, pass in parts of any size. The receiver
/// gets the data that the naive parser finds, in canonical framing, and a complete body exactly if
/// the sender's is complete and valid.
pub fn body_pass(data: &[u8]) {
    let mut input = Bytes(data);
    while one_body(&mut input).is_some() {}
}

fn one_body(input: &mut Bytes<'_>) -> Option<()> {
    let choice = input.u8()?;
    let minor_version = choice & 1;
    let max = BODY_BYTES_MAX[usize::from(choice >> 4) % BODY_BYTES_MAX.len()];
    let cuts = input.cuts();
    let (framing, wire) = match (choice >> 1) % 8 {
        0 => (Framing::Chunked, input.up_to(40).to_vec()),
        1 => (Framing::Length(input.u16()?.into()), input.up_to(1000).to_vec()),
        2 => {
            let length = input.below(40)?;
            (Framing::Length(length as u64), input.up_to(length + 2).to_vec())
        }
        3 => (Framing::UntilClose, input.up_to(400).to_vec()),
        _ => {
            let (mut wire, _) = build(input)?;
            for _ in 0..input.below(STEPS_MAX + 1)? {
                alter(&mut wire, input)?;
            }
            wire.extend_from_slice(input.up_to(4));
            (Framing::Chunked, wire)
        }
    };
    check(framing, minor_version, &wire, &cuts, max);
    Some(())
}

fn check(framing: Framing, minor_version: u8, wire: &[u8], cuts: &[usize], max: usize) {
    let expected = match framing {
        Framing::Length(length) => naive_length(length, wire, max),
        Framing::Chunked => naive_chunked(wire, max),
        Framing::UntilClose if wire.len() > max => Reading::Refused(Refusal::BodyTooLarge),
        Framing::UntilClose => Reading::Complete(wire.to_vec(), wire.len()),
    };
    let mut received = Vec::new();
    let outcome = pass(framing, minor_version, pieces(wire, cuts), max, &mut received);
    let output = framing.relayed(minor_version);
    let (data, is_complete) = read_output(output, &received, outcome == Ok(Some(wire.len())));
    let context = || format!("{} in pieces of {cuts:?}", shown(wire));
    match (outcome, expected) {
        (Ok(Some(consumed)), Reading::Complete(sent, len)) => {
            assert_eq!((consumed, data), (len, sent), "{}", context());
            assert!(is_complete || output == Framing::UntilClose, "{}", context());
        }
        (Ok(None), Reading::Cut) | (Err(_), Reading::Cut) => {
            assert!(!is_complete, "{}", context());
        }
        (Err(refusal), Reading::Refused(expected)) => {
            assert_eq!(refusal, expected, "{}", context());
            assert!(!is_complete, "{}", context());
        }
        (outcome, expected) => panic!("{outcome:?}, not {expected:?}: {}", context()),
    }
}

/// The number of bytes that a complete body took; `None` if it is truncated.
fn pass<'a>(
    framing: Framing,
    minor_version: u8,
    pieces: impl Iterator<Item = &'a [u8]>,
    max: usize,
    received: &mut Vec<u8>,
) -> Result<Option<usize>, Refusal> {
    let mut pass = BodyPass::new(framing, minor_version, max as u64)?;
    let mut consumed = 0;
    for piece in pieces {
        let mut out = Vec::new();
        let outcome = pass.pass(piece, &mut out);
        assert!(out.len() <= GROWTH_MAX * piece.len() + LAST_CHUNK.len(), "{} bytes", out.len());
        received.extend_from_slice(&out);
        let step = outcome?;
        assert!(step.consumed == piece.len() || pass.is_complete());
        if step.is_unchanged {
            assert!(out.is_empty());
            received.extend_from_slice(&piece[..step.consumed]);
        }
        consumed += step.consumed;
    }
    Ok(pass.end(received).is_ok().then_some(consumed))
}

/// The data that the receiver finds, and whether the framing shows it that the body is complete. A
/// chunked output consists of whole chunks, written canonically.
fn read_output(framing: Framing, received: &[u8], has_ended: bool) -> (Vec<u8>, bool) {
    match framing {
        Framing::Length(length) => (received.to_vec(), received.len() as u64 == length),
        Framing::UntilClose => (received.to_vec(), has_ended),
        Framing::Chunked => {
            let (mut data, mut rest) = (Vec::new(), received);
            loop {
                if rest.is_empty() || rest == LAST_CHUNK {
                    return (data, !rest.is_empty());
                }
                let end = rest.iter().position(|&byte| byte == b'\r').expect("a size line");
                let line = std::str::from_utf8(&rest[..end]).expect("a size in ASCII");
                let size = usize::from_str_radix(line, 16).expect("a size");
                assert!(size > 0 && line == format!("{size:x}"), "{line}");
                let chunk = &rest[end..end + size + 4];
                assert!(chunk.starts_with(b"\r\n") && chunk.ends_with(b"\r\n"));
                data.extend_from_slice(&chunk[2..size + 2]);
                rest = &rest[end + size + 4..];
            }
        }
    }
}
