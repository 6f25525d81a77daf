//! The limit on a message, in one frame or in fragments: RFC 6455, 7.4.1 and 10.4.

use weir::protocol::ProtocolError::MessageTooBig;
use weir::protocol::Role;

use super::reader::{Found, Reader, fails_at, in_pieces};
use super::wire::*;

const LIMITS: [usize; 8] = [0, 1, 125, 126, 1000, 65535, 65536, 100_000];

/// The outcome of a Binary message in frames of these lengths.
fn sent(role: Role, max: usize, lens: &[usize]) -> Result<usize, weir::protocol::ProtocolError> {
    let mut reader = Reader::new(role, max);
    for (index, &len) in lens.iter().enumerate() {
        let opcode = if index == 0 { BINARY } else { CONTINUATION };
        let fin = if index + 1 == lens.len() { FIN } else { 0 };
        reader.read(&frame(role, fin | opcode, &vec![7; len]));
    }
    match (reader.error, reader.found.as_slice()) {
        (Some(error), []) => Err(error),
        (None, [Found::Binary(bytes)]) => Ok(bytes.len()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn section_10_4_one_frame_may_have_the_limit() {
    for role in ROLES {
        for max in LIMITS {
            assert_eq!(sent(role, max, &[max]), Ok(max));
            assert_eq!(sent(role, max, &[max + 1]), Err(MessageTooBig));
        }
    }
}

#[test]
fn section_10_4_all_fragments_together_may_have_the_limit() {
    for role in ROLES {
        for max in LIMITS {
            let half = max / 2;
            assert_eq!(sent(role, max, &[half, max - half]), Ok(max));
            assert_eq!(sent(role, max, &[half, 0, max - half, 0]), Ok(max));
            assert_eq!(sent(role, max, &[half, max - half + 1]), Err(MessageTooBig));
            assert_eq!(sent(role, max, &[half, max - half, 1]), Err(MessageTooBig));
            assert_eq!(sent(role, max, &[max, 0]), Ok(max));
            assert_eq!(sent(role, max, &[0, max + 1]), Err(MessageTooBig));
        }
    }
}

#[test]
fn section_10_4_an_announced_length_above_the_limit_is_refused() {
    for role in ROLES {
        for max in LIMITS {
            let too_big = announced(role, FIN | TEXT, max as u64 + 1);
            assert_eq!(fails_at(role, max, &too_big), (too_big.len(), MessageTooBig));
            let started = frame(role, TEXT, &vec![b'x'; max]);
            let more = [started.clone(), announced(role, CONTINUATION, 1)].concat();
            assert_eq!(fails_at(role, max, &more), (more.len(), MessageTooBig));
            let just = announced(role, FIN | TEXT, max as u64);
            assert_eq!(in_pieces(role, max, [&just[..]]).1, None);
        }
    }
}

#[test]
fn section_10_4_each_message_has_the_whole_limit() {
    for role in ROLES {
        let one = frames(role, &[(BINARY, &[1; 60]), (FIN | CONTINUATION, &[2; 40])]);
        let other = frame(role, FIN | BINARY, &[3; 100]);
        let stream = [&one[..], &other, &one, &one, &other, &other].concat();
        for piece in [1, 7, stream.len()] {
            let (found, error) = in_pieces(role, 100, stream.chunks(piece));
            assert_eq!((found.len(), error), (6, None));
        }
    }
}

#[test]
fn section_10_4_control_frames_do_not_count() {
    for role in ROLES {
        let stream = frames(
            role,
            &[
                (FIN | PING, &[1; 125]),
                (TEXT, b""),
                (FIN | PONG, &[2; 125]),
                (FIN | CONTINUATION, b""),
                (FIN | CLOSE, b"\x03\xE8"),
            ],
        );
        for piece in [1, 3, stream.len()] {
            let (found, error) = in_pieces(role, 0, stream.chunks(piece));
            assert_eq!((found.len(), error), (4, None));
        }
    }
}

#[test]
fn section_10_4_a_limit_above_32_bits_counts_as_the_largest() {
    for role in ROLES {
        for max in [u32::MAX as usize, 1 << 32, usize::MAX] {
            assert_eq!(sent(role, max, &[5, 6]), Ok(11));
            let just = announced(role, FIN | BINARY, u64::from(u32::MAX));
            assert_eq!(in_pieces(role, max, [&just[..]]).1, None);
            let too_big = announced(role, FIN | BINARY, 1 << 32);
            assert_eq!(in_pieces(role, max, [&too_big[..]]).1, Some(MessageTooBig));
        }
    }
}
