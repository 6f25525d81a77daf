//! Memory of unfinished messages, and that it is freed: RFC 6455, 10.4.
//!
//! Nothing is allocated from a number that the peer sent: memory grows with the bytes that arrive.

use weir::protocol::{Decoder, ProtocolError, Role, Spares};

use super::reader::{Found, Reader};
use super::wire::*;

/// The largest message.
const LIMIT: usize = 1 << 20;
/// Maximum memory of an unfinished message without data: bookkeeping, and a partial control frame.
const EMPTY_BYTES_MAX: usize = 512;

#[test]
fn a_decoder_allocates_nothing_for_whole_frames() {
    for role in ROLES {
        let mut reader = Reader::new(role, LIMIT);
        assert_eq!(reader.decoder.held_bytes(), 0);
        reader.read(&frames(role, &[(FIN | TEXT, &[b'x'; 5000]), (FIN | PING, b"x")]));
        reader.read(&announced(role, FIN | TEXT, 70_000)[..1]);
        assert_eq!((reader.found.len(), reader.held_bytes_peak), (2, 0));
    }
}

#[test]
fn release_after_a_message_frees_everything() {
    for role in ROLES {
        let messages = [
            frame(role, FIN | TEXT, b"whole"),
            frames(role, &[(TEXT, b"in "), (FIN | CONTINUATION, b"two")]),
            frame(role, FIN | PING, b"ping"),
            frame(role, FIN | BINARY, &[7; 100_000]),
            frames(role, &[(BINARY, b""), (FIN | CONTINUATION, b"")]),
        ];
        for piece in [1, 2, 5000, usize::MAX] {
            let mut reader = Reader::new(role, LIMIT);
            for (index, message) in messages.iter().enumerate() {
                for bytes in message.chunks(piece) {
                    reader.read_direct(bytes);
                }
                assert_eq!(reader.found.len(), index + 1);
                reader.release();
                assert_eq!(reader.decoder.held_bytes(), 0, "message {index} by {piece}");
            }
        }
    }
}

#[test]
fn release_between_fragments_keeps_them() {
    let mut reader = Reader::new(Role::Server, 100);
    reader.read(&frame(Role::Server, BINARY, b"kept"));
    let held = reader.decoder.held_bytes();
    reader.release();
    assert_eq!(reader.decoder.held_bytes(), held);
    reader.read(&frame(Role::Server, FIN | CONTINUATION, b""));
    assert_eq!(reader.found, [Found::Binary(b"kept".to_vec())]);
}

#[test]
fn announced_bytes_allocate_nothing() {
    for role in ROLES {
        for len in [70_000, 100_000_000, u64::from(u32::MAX)] {
            let mut reader = Reader::new(role, usize::MAX);
            reader.read(&announced(role, FIN | BINARY, len));
            assert!(reader.decoder.room().is_none());
            assert!(reader.decoder.held_bytes() <= EMPTY_BYTES_MAX);
            reader.read(b"x");
            assert!(reader.decoder.held_bytes() <= EMPTY_BYTES_MAX);
        }
    }
}

#[test]
fn fragments_of_one_byte_allocate_little_more_than_their_bytes() {
    const COUNT: usize = 65_536;
    for role in ROLES {
        let mut stream = frame(role, TEXT, b"");
        stream.extend(frame(role, CONTINUATION, b"x").repeat(COUNT));
        let mut reader = Reader::new(role, COUNT);
        for piece in stream.chunks(1009) {
            reader.read(piece);
        }
        assert!(reader.held_bytes_peak <= 2 * COUNT + EMPTY_BYTES_MAX);
        reader.read(&frame(role, FIN | CONTINUATION, b""));
        assert!(reader.outcome() == (vec![Found::Text("x".repeat(COUNT))], None));
    }
}

#[test]
fn empty_fragments_allocate_nothing() {
    for role in ROLES {
        let mut stream = frame(role, TEXT, b"");
        stream.extend(frame(role, CONTINUATION, b"").repeat(65_536));
        stream.extend(frame(role, FIN | PING, &[7; 125]));
        let mut reader = Reader::new(role, 0);
        for piece in stream.chunks(101) {
            reader.read(piece);
        }
        assert!(reader.held_bytes_peak <= EMPTY_BYTES_MAX);
        reader.read(&frame(role, FIN | CONTINUATION, b""));
        let found = vec![Found::Ping(vec![7; 125]), Found::Text(String::new())];
        assert_eq!(reader.outcome(), (found, None));
    }
}

#[test]
fn a_large_frame_allocates_a_small_multiple_of_the_bytes_that_have_arrived() {
    const LEN: usize = 1 << 20;
    /// The first allocation exceeds the bytes that have arrived by this much.
    const AHEAD_BYTES: usize = 32 * 1024;
    /// Bytes held for each byte that has arrived, for a frame that is larger than a spare.
    const GROWTH_MAX: usize = 4;
    for role in ROLES {
        let stream = frame(role, FIN | BINARY, &vec![7; LEN]);
        for piece in [1448, 5000, 65_536] {
            let mut reader = Reader::new(role, LEN);
            let mut received = 0;
            for bytes in stream.chunks(piece) {
                reader.read_direct(bytes);
                received += bytes.len();
                let held = reader.decoder.held_bytes();
                let most = if received < Spares::BYTES_MAX {
                    5 * received / 2 + AHEAD_BYTES
                } else {
                    GROWTH_MAX * received
                };
                assert!(held <= most, "{held} bytes held after {received} by {piece}");
            }
            assert_eq!(reader.found.len(), 1);
        }
    }
}

/// Reads a stream in parts of this length. Returns the sizes of the buffers that were outgrown, and
/// of the last one.
fn outgrown(
    reader: &mut Reader,
    stream: &[u8],
    piece: usize,
    is_direct: bool,
) -> (Vec<usize>, usize) {
    let (mut outgrown, mut held) = (Vec::new(), 0);
    for bytes in stream.chunks(piece) {
        if is_direct {
            reader.read_direct(bytes);
        } else {
            reader.read(bytes);
        }
        let now = reader.decoder.held_bytes();
        if now != held {
            outgrown.push(held);
            held = now;
        }
    }
    (outgrown, held)
}

/// An allocator may keep outgrown buffers for a while. Buffers that double leave 7.75 MB for 5 MB.
#[test]
fn a_large_message_outgrows_buffers_of_a_third_of_its_size() {
    const LEN: usize = 5_000_000;
    for role in ROLES {
        let payload = vec![7; LEN];
        let whole = frame(role, FIN | BINARY, &payload);
        let flushed = frames(role, &[(BINARY, &payload), (FIN | CONTINUATION, b"")]);
        for (stream, piece) in [&whole, &flushed]
            .into_iter()
            .flat_map(|stream| [1448, 65_536, 262_144].map(|piece| (stream, piece)))
        {
            for is_direct in [false, true] {
                let mut reader = Reader::new(role, LEN);
                let (outgrown, held) = outgrown(&mut reader, stream, piece, is_direct);
                assert!(reader.found == [Found::Binary(payload.clone())]);
                assert!(held <= LEN + EMPTY_BYTES_MAX, "{held} bytes held, by {piece}");
                let sum: usize = outgrown.iter().sum();
                assert!(sum <= LEN / 3 + 4 * Spares::BYTES_MAX, "{outgrown:?} by {piece}");
            }
        }
    }
}

/// No fragment announces the size of the message.
#[test]
fn fragments_of_a_large_message_double_its_buffer() {
    const FRAGMENTS: usize = 256;
    const FRAGMENT_BYTES: usize = 32 * 1024;
    for role in ROLES {
        let fragment = frame(role, CONTINUATION, &[7; FRAGMENT_BYTES]);
        let stream = [frame(role, BINARY, b""), fragment.repeat(FRAGMENTS)].concat();
        for is_direct in [false, true] {
            let mut reader = Reader::new(role, FRAGMENTS * FRAGMENT_BYTES);
            let (outgrown, held) = outgrown(&mut reader, &stream, 10_000, is_direct);
            assert!(outgrown.len() <= 16, "{outgrown:?}");
            assert!(held <= 2 * FRAGMENTS * FRAGMENT_BYTES + EMPTY_BYTES_MAX, "{held} bytes held");
        }
    }
}

/// A decoder with an unfinished message of one byte, and the bytes that it holds: many in a recycled
/// buffer, few in a new one.
fn lent(spares: &mut Spares) -> (Decoder, usize) {
    let mut decoder = Decoder::new(Role::Server);
    let mut fragment = frame(Role::Server, BINARY, b"x");
    let step = decoder.decode(&mut fragment, LIMIT, spares).unwrap();
    assert_eq!(step.event, None);
    let held = decoder.held_bytes();
    (decoder, held)
}

/// Ends the message of a decoder from [`lent`], which returns its buffer.
fn finish(mut decoder: Decoder, spares: &mut Spares) {
    let mut fragment = frame(Role::Server, FIN | CONTINUATION, b"");
    assert!(decoder.decode(&mut fragment, LIMIT, spares).unwrap().event.is_some());
    decoder.release(spares);
    assert_eq!(decoder.held_bytes(), 0);
}

/// Assembles a message in two fragments of these lengths, and returns its buffer to `spares`.
fn used(spares: &mut Spares, lens: [usize; 2]) {
    let (mut decoder, _) = lent(spares);
    for (fin, len) in [(0, lens[0] - 1), (FIN, lens[1])] {
        let mut fragment = frame(Role::Server, fin | CONTINUATION, &vec![7; len]);
        decoder.decode(&mut fragment, LIMIT, spares).unwrap();
    }
    decoder.release(spares);
}

#[test]
fn spares_are_bounded_in_bytes() {
    let just = Spares::BYTES_MAX;
    for (lens, is_kept) in [
        ([just / 2, just / 2], true),
        ([just / 2, just / 2 + 1], false),
        // The buffer doubles to more than the message needs.
        ([just / 2 + 1000, 10], false),
    ] {
        let mut spares = Spares::default();
        used(&mut spares, lens);
        let (_, held) = lent(&mut spares);
        assert_eq!(held > EMPTY_BYTES_MAX, is_kept, "{held} bytes after {lens:?}");
        assert!(held <= Spares::BYTES_MAX + EMPTY_BYTES_MAX);
    }
}

#[test]
fn spares_are_bounded_in_count() {
    let mut spares = Spares::default();
    let started: Vec<Decoder> = (0..Spares::COUNT_MAX + 8).map(|_| lent(&mut spares).0).collect();
    for mut decoder in started {
        let mut rest = frame(Role::Server, FIN | CONTINUATION, &[7; 5000]);
        assert!(decoder.decode(&mut rest, LIMIT, &mut spares).unwrap().event.is_some());
        decoder.release(&mut spares);
    }
    let lent: Vec<_> = (0..Spares::COUNT_MAX + 8).map(|_| lent(&mut spares)).collect();
    let recycled = lent.iter().filter(|(_, held)| *held > EMPTY_BYTES_MAX);
    assert_eq!(recycled.count(), Spares::COUNT_MAX);
}

#[test]
fn a_recycled_buffer_has_no_bytes_of_its_last_message() {
    let mut spares = Spares::default();
    used(&mut spares, [50_000, 50_000]);
    let mut reader = Reader::new(Role::Server, LIMIT);
    reader.spares = spares;
    let payload = vec![1; 30_000];
    let stream = frame(Role::Server, FIN | BINARY, &payload);
    for piece in stream.chunks(6000) {
        reader.read_direct(piece);
    }
    assert!(reader.held_bytes_peak > 50_000, "the buffer was not recycled");
    assert!(reader.outcome() == (vec![Found::Binary(payload)], None));
}

#[test]
fn a_message_that_fails_at_its_end_does_not_change_the_next() {
    for role in ROLES {
        let mut reader = Reader::new(role, 100);
        // The last character is incomplete.
        reader.read(&frames(role, &[(TEXT, b"cut \xE2\x82"), (FIN | CONTINUATION, b"")]));
        assert_eq!(reader.error.take(), Some(ProtocolError::InvalidUtf8));
        reader.release();
        assert_eq!(reader.decoder.held_bytes(), 0);
        assert!(!reader.spares.is_empty(), "the buffer was not kept");
        reader.decoder = Decoder::new(role);
        let stream =
            frames(role, &[(FIN | PING, b"p"), (TEXT, b"te"), (FIN | CONTINUATION, b"xt")]);
        for byte in stream.chunks(1) {
            reader.read(byte);
        }
        let found = vec![Found::Ping(b"p".to_vec()), Found::Text("text".to_owned())];
        assert_eq!(reader.outcome(), (found, None));
    }
}

#[test]
fn unused_spares_are_freed() {
    let mut spares = Spares::default();
    assert!(spares.is_empty());
    let started: Vec<Decoder> = (0..3).map(|_| lent(&mut spares).0).collect();
    started.into_iter().for_each(|decoder| finish(decoder, &mut spares));
    assert_eq!(spares.trim(), 0, "just given back");
    let (decoder, _) = lent(&mut spares);
    finish(decoder, &mut spares);
    assert_eq!(spares.trim(), 2);
    assert_eq!(spares.trim(), 1);
    assert!(spares.is_empty());
}
