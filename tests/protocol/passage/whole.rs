//! Frames that are forwarded unchanged: whole ones in one slice, short ones held until complete.

use std::collections::BTreeSet;

use weir::protocol::Role;
use weir::protocol::passage::{Extensions, Output, Passage};

use super::tunnel::{LIMITS, Tunnel, holding, passed};
use crate::protocol::wire::*;

/// Streams of whole frames, none longer than the limit, and the number of their messages.
fn streams(role: Role) -> Vec<(Vec<u8>, usize)> {
    let of = |list: &[(u8, &[u8])]| frames(role, list);
    vec![
        (of(&[(FIN | TEXT, b"hello")]), 1),
        (of(&[(FIN | TEXT, b""), (FIN | BINARY, b""), (FIN | PING, b""), (FIN | PONG, b"")]), 2),
        (
            of(&[
                (TEXT, b"a"),
                (CONTINUATION, b""),
                (FIN | PING, b"p"),
                (FIN | CONTINUATION, b"c"),
            ]),
            1,
        ),
        (of(&[(FIN | PING, &[1; 125]), (FIN | BINARY, &[2; 126]), (FIN | PONG, &[3; 125])]), 1),
        (of(&[(FIN | TEXT, b"not UTF-8: \xFF"), (FIN | BINARY, &[4; 999]), (FIN | TEXT, b"x")]), 3),
        (of(&[(BINARY, &[5; 1000]), (FIN | CONTINUATION, &[6; 1000])]), 1),
        (of(&[(BINARY, b"unfinished")]), 0),
    ]
}

#[test]
fn whole_frames_pass_in_one_slice() {
    for role in ROLES {
        let list = [
            (FIN | TEXT, &b"a"[..]),
            (FIN | BINARY, &[7; 70_000]),
            (TEXT, b""),
            (CONTINUATION, b"b"),
        ];
        let stream = frames(role, &list);
        let mut passage = Passage::new(role, Extensions::Nothing);
        let passed = passage.pass(&stream, &LIMITS).unwrap();
        assert_eq!(passed.output, Output::Input(0..stream.len()));
        assert_eq!((passed.consumed, passed.frames, passed.messages), (stream.len(), 4, 2));
        assert_eq!(passage.held_bytes(), 0);
    }
}

#[test]
fn a_control_frame_ends_the_slice() {
    for role in ROLES {
        let (before, after) = (
            frames(role, &[(FIN | TEXT, b"a"), (FIN | PING, b"p")]),
            frame(role, FIN | TEXT, b"b"),
        );
        let stream = [&before[..], &after].concat();
        let mut passage = Passage::new(role, Extensions::Nothing);
        let passed = passage.pass(&stream, &LIMITS).unwrap();
        assert_eq!(passed.output, Output::Input(0..before.len()));
        assert_eq!(passed.consumed, before.len());
    }
}

#[test]
fn pieces_pass_like_the_whole_stream() {
    for role in ROLES {
        for (stream, messages) in streams(role) {
            let whole = passed(role, LIMITS, [&stream[..]]);
            assert_eq!((&whole.out, whole.messages, whole.error), (&stream, messages, None));
            for split in 0..=stream.len() {
                let (a, b) = stream.split_at(split);
                let tunnel = passed(role, LIMITS, [a, b]);
                assert_eq!(tunnel.out, stream, "{stream:x?} at {split}");
                assert_eq!((tunnel.frames, tunnel.messages), (whole.frames, messages));
                assert_eq!((tunnel.events, tunnel.fragments), (whole.events.clone(), 0));
            }
            for len in [1, 2, 7] {
                let tunnel = passed(role, LIMITS, stream.chunks(len));
                assert_eq!(tunnel.out, stream, "{stream:x?} in pieces of {len}");
                assert_eq!((tunnel.frames, tunnel.messages), (whole.frames, messages));
            }
        }
    }
}

#[test]
fn nothing_of_an_incomplete_frame_is_forwarded() {
    for role in ROLES {
        for payload in [&[8; 5][..], &[8; 125], &[8; 126], &[8; 1000]] {
            let (first, second) =
                (frame(role, FIN | TEXT, b"first"), frame(role, FIN | BINARY, payload));
            let stream = [&first[..], &second].concat();
            let mut tunnel = Tunnel::new(role, Extensions::Nothing, LIMITS);
            for (index, byte) in stream.chunks(1).enumerate() {
                let whole = if index < first.len() { 0 } else { first.len() };
                assert_eq!(tunnel.out.len(), whole, "{index} of {}", stream.len());
                assert_eq!(tunnel.passage.is_holding(), index != 0 && index != first.len());
                assert!(tunnel.passage.is_at_boundary());
                tunnel.read(byte);
            }
            assert_eq!(tunnel.out, stream);
            assert!(!tunnel.passage.is_holding());
        }
    }
}

#[test]
fn a_payload_that_looks_like_frames_is_payload() {
    for role in ROLES {
        let inner = frames(role, &[(FIN | TEXT, b"inner"), (FIN | CLOSE, b"\x03\xE8")]);
        let text = frame(role, FIN | TEXT, b"inner");
        for payload in [&inner, &text] {
            // Masked twice: the bytes of the frame are those of the inner frames.
            let stream = frame(role, FIN | BINARY, &masked(role, payload));
            let header_len = stream.len() - payload.len();
            assert_eq!(stream[header_len..], payload[..]);
            for split in [header_len, header_len + text.len()] {
                let (a, b) = stream.split_at(split);
                let tunnel = passed(role, LIMITS, [a, b]);
                assert_eq!((&tunnel.out, tunnel.frames, tunnel.messages), (&stream, 1, 1));
                assert_eq!((tunnel.error, tunnel.events.len()), (None, 0));
            }
        }
    }
}

#[test]
fn held_bytes_and_the_frames_behind_them_are_one_output() {
    for role in ROLES {
        let stream = frames(role, &[(FIN | TEXT, b"held"), (FIN | TEXT, b"b"), (FIN | TEXT, b"c")]);
        let mut passage = Passage::new(role, Extensions::Nothing);
        // One byte of the payload is missing.
        let held = frame(role, FIN | TEXT, b"hel").len();
        passage.pass(&stream[..held], &LIMITS).unwrap();
        let rest = &stream[held..];
        let passed = passage.pass(rest, &LIMITS).unwrap();
        let Output::Start(start, range) = passed.output else {
            panic!("{passed:?}");
        };
        assert_eq!((start.as_bytes(), range), (&stream[..held], 0..rest.len()));
        assert_eq!((passed.frames, passed.messages), (3, 3));
        assert_eq!(passage.held_bytes(), 0);
    }
}

#[test]
fn held_memory_follows_the_received_bytes_and_ends_with_the_frame() {
    for role in ROLES {
        let stream = frame(role, FIN | BINARY, &[9; 60_000]);
        let mut tunnel = Tunnel::new(role, Extensions::Nothing, holding(60_000));
        let mut sizes = BTreeSet::new();
        for (index, part) in stream.chunks(100).enumerate() {
            let (held, received) = (tunnel.passage.held_bytes(), 100 * index);
            assert!((received..=2 * received + 200).contains(&held), "{held}, {received}");
            sizes.insert(held);
            tunnel.read(part);
        }
        // The buffer doubles.
        assert!(sizes.len() <= 12, "{sizes:?}");
        assert_eq!((tunnel.passage.held_bytes(), tunnel.out), (0, stream.clone()));
        assert!(tunnel.held_bytes_peak <= stream.len() + 100, "{}", tunnel.held_bytes_peak);
    }
}

#[test]
fn an_announced_length_allocates_nothing() {
    for role in ROLES {
        for len in [1 << 16, 1 << 40, i64::MAX as u64] {
            let mut tunnel = Tunnel::new(role, Extensions::Nothing, holding(64 * 1024));
            tunnel.read(&announced(role, FIN | BINARY, len));
            assert!(tunnel.held_bytes_peak <= 200, "{}", tunnel.held_bytes_peak);
            assert_eq!((tunnel.error, tunnel.out), (None, vec![]));
        }
    }
}
