//! The outcome does not depend on how reads split the stream: RFC 6455, 5.4 and 5.6.
//!
//! A corpus of valid and invalid streams is decoded at once, in two pieces at every cut, in three if it
//! is short, byte by byte, and by reads directly into the decoder's assembly buffer.

use weir::protocol::Role;

use super::reader::{Found, Outcome, Reader, in_pieces};
use super::wire::*;

const MAX: usize = 1000;
/// Maximum length of a stream that is cut in three at every pair of bytes.
const THREE_PIECES_BYTES_MAX: usize = 90;

/// Streams, each with the number of events and whether it ends in an error.
fn corpus(role: Role) -> Vec<(Vec<u8>, usize, bool)> {
    let of = |list: &[(u8, &[u8])]| frames(role, list);
    let long = "Grüße, \u{1F600}! ".repeat(30);
    let long = long.as_bytes();
    let mut corpus = vec![
        (of(&[(FIN | TEXT, "Grüße".as_bytes())]), 1, false),
        (
            of(&[(FIN | TEXT, b""), (FIN | BINARY, b""), (FIN | PING, b""), (FIN | PONG, b"")]),
            4,
            false,
        ),
        (
            of(&[(TEXT, b"\xF0"), (CONTINUATION, b"\x9F\x98"), (FIN | CONTINUATION, b"\x80")]),
            1,
            false,
        ),
        (
            of(&[
                (BINARY, b"ab"),
                (FIN | PING, b"cd"),
                (FIN | CONTINUATION, b"ef"),
                (FIN | TEXT, b"gh"),
            ]),
            3,
            false,
        ),
        (
            of(&[(TEXT, b""), (CONTINUATION, b""), (FIN | PONG, b"x"), (FIN | CONTINUATION, b"")]),
            2,
            false,
        ),
        (of(&[(FIN | TEXT, b"a"), (FIN | CLOSE, b"\x03\xE8bye"), (FIN | TEXT, b"b")]), 2, false),
        (of(&[(BINARY, b"x"), (FIN | CLOSE, b"")]), 1, false),
        (
            of(&[
                (FIN | TEXT, long),
                (FIN | BINARY, &[0x80; 300]),
                (TEXT, long),
                (FIN | CONTINUATION, long),
            ]),
            3,
            false,
        ),
        (
            of(&[(FIN | PING, &[1; 125]), (FIN | BINARY, &[2; 126]), (FIN | PONG, &[3; 125])]),
            3,
            false,
        ),
        (of(&[(FIN | TEXT, b"a"), (FIN | RSV2 | TEXT, b"b"), (FIN | TEXT, b"c")]), 1, true),
        (of(&[(FIN | TEXT, b"a"), (FIN | 0xB, b"b")]), 1, true),
        (of(&[(TEXT, b"a"), (PING, b"b")]), 0, true),
        (of(&[(TEXT, b"a"), (FIN | PING, b"b"), (FIN | TEXT, b"c")]), 1, true),
        (of(&[(FIN | BINARY, b"a"), (FIN | CONTINUATION, b"b")]), 1, true),
        (of(&[(FIN | PONG, b"p"), (FIN | TEXT, b"ok\xED\xA0\x80")]), 1, true),
        (of(&[(TEXT, b"\xE2\x82"), (FIN | PING, b"p"), (FIN | CONTINUATION, b"\x28")]), 1, true),
        (of(&[(TEXT, b"\xE2\x82"), (FIN | CONTINUATION, b"")]), 0, true),
        (of(&[(FIN | CLOSE, b"\x03")]), 0, true),
        (of(&[(FIN | CLOSE, b"\x03\xED\xFF")]), 0, true),
        (of(&[(FIN | CLOSE, b"\x03\xE8\xFF")]), 0, true),
        (of(&[(BINARY, &[7; 500]), (FIN | CONTINUATION, &[7; 501])]), 0, true),
        (of(&[(FIN | BINARY, &[7; 1000]), (FIN | BINARY, &[7; 1001])]), 1, true),
        (of(&[(FIN | TEXT, b"unfinished")])[..8].to_vec(), 0, false),
    ];
    // Bytes that look like frames, in the middle of a payload and of a header.
    let frames_within = masked(role, &of(&[(FIN | BINARY, b"inner"), (FIN | TEXT, b"")]));
    let length_within = u64::from(u16::from_be_bytes([FIN | BINARY, 0x80]));
    corpus.extend([
        (of(&[(FIN | TEXT, b"a"), (FIN | BINARY, &frames_within)]), 2, false),
        ([announced(role, FIN | BINARY, length_within), vec![0; 8]].concat(), 0, true),
    ]);
    let with = |last: Vec<u8>| [of(&[(FIN | TEXT, b"first")]), last, vec![0; 8]].concat();
    corpus.extend([
        (with(header(role, FIN | TEXT, Form::Medium, 125)), 1, true),
        (with(header(role, FIN | TEXT, Form::Long, 65535)), 1, true),
        (with(header(role, FIN | TEXT, Form::Long, u64::MAX)), 1, true),
        (with(header(role, FIN | TEXT, Form::Long, 1 << 62)), 1, true),
        (with(header(role, FIN | PING, Form::Medium, 126)), 1, true),
        (with(b"GET / HTTP/1.1\r\n".to_vec()), 1, true),
    ]);
    corpus
}

#[test]
fn the_corpus_has_the_expected_outcomes() {
    for role in ROLES {
        for (stream, events, fails) in corpus(role) {
            let (found, error) = in_pieces(role, MAX, [&stream[..]]);
            assert_eq!((found.len(), error.is_some()), (events, fails), "{stream:x?}");
        }
    }
}

#[test]
fn two_pieces_decode_like_one() {
    for role in ROLES {
        for (stream, ..) in corpus(role) {
            let whole = in_pieces(role, MAX, [&stream[..]]);
            for split in 0..=stream.len() {
                let (a, b) = stream.split_at(split);
                assert_eq!(in_pieces(role, MAX, [a, b]), whole, "{stream:x?} at {split}");
            }
        }
    }
}

#[test]
fn three_pieces_decode_like_one() {
    for role in ROLES {
        let short = |(stream, ..): &(Vec<u8>, usize, bool)| stream.len() <= THREE_PIECES_BYTES_MAX;
        for (stream, ..) in corpus(role).into_iter().filter(short) {
            let whole = in_pieces(role, MAX, [&stream[..]]);
            for first in 0..=stream.len() {
                for second in first..=stream.len() {
                    let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                    let outcome = in_pieces(role, MAX, pieces);
                    assert_eq!(outcome, whole, "{stream:x?} at {first} and {second}");
                }
            }
        }
    }
}

#[test]
fn single_bytes_decode_like_one_piece() {
    for role in ROLES {
        for (stream, ..) in corpus(role) {
            let whole = in_pieces(role, MAX, [&stream[..]]);
            assert_eq!(in_pieces(role, MAX, stream.chunks(1)), whole, "{stream:x?}");
        }
    }
}

/// Lengths of pieces from a fixed seed: mostly a few KiB, now and then a few bytes.
struct Lengths(u64);

impl Iterator for Lengths {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        // Knuth's MMIX constants.
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let random = (self.0 >> 33) as usize;
        let largest = [16, 3000, 9000, 70_000][random % 4];
        Some(1 + random / 4 % largest)
    }
}

fn read_direct(role: Role, stream: &[u8], seed: u64) -> (Outcome, usize) {
    let mut reader = Reader::new(role, 1 << 20);
    let mut rest = stream;
    for len in Lengths(seed) {
        let (piece, behind) = rest.split_at(len.min(rest.len()));
        reader.read_direct(piece);
        if reader.found.len() % 2 == 1 {
            reader.release();
        }
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    let direct_bytes = reader.direct_bytes;
    (reader.outcome(), direct_bytes)
}

#[test]
fn direct_reads_of_large_frames_decode_like_one_piece() {
    let text = "Grüße, \u{1F600}! ".repeat(20_000);
    let text = text.as_bytes();
    let bytes: Vec<u8> = (0..200_000).map(|i| (i % 253) as u8).collect();
    for role in ROLES {
        let sound = frames(
            role,
            &[
                (FIN | TEXT, text),
                (FIN | PING, b"between"),
                (BINARY, &bytes[..4096]),
                (CONTINUATION, &bytes[4096..100_001]),
                (FIN | PONG, b"within"),
                (FIN | CONTINUATION, &bytes[100_001..]),
                (TEXT, &text[..text.len() - 2]),
                (FIN | CONTINUATION, &text[text.len() - 2..]),
                (FIN | BINARY, &bytes),
            ],
        );
        let broken = [sound.clone(), frame(role, FIN | TEXT, &bytes)].concat();
        for (stream, fails) in [(sound, false), (broken, true)] {
            let whole = in_pieces(role, 1 << 20, [&stream[..]]);
            assert_eq!((whole.0.len(), whole.1.is_some()), (6, fails));
            assert!(whole.0.contains(&Found::Binary(bytes.clone())));
            for seed in 0..4 {
                let (outcome, direct_bytes) = read_direct(role, &stream, seed);
                assert!(outcome == whole, "{role:?}, seed {seed}");
                assert!(direct_bytes > stream.len() / 2, "{direct_bytes}, seed {seed}");
            }
        }
    }
}
