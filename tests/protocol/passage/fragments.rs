//! Frames that are too long to be held: RFC 6455, 5.4, and RFC 7692, 6.1.

use weir::protocol::Role;
use weir::protocol::passage::{Extensions, Output, Passage};

use super::tunnel::{LIMITS, Tunnel, Wire, holding, wires};
use crate::protocol::reader::whole;
use crate::protocol::wire::*;

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index % 251) as u8).collect()
}

/// Passes one frame in reads of `len` bytes; returns the tunnel and the frames that came out.
fn split(role: Role, hold_bytes_max: usize, frame: &[u8], len: usize) -> (Tunnel, Vec<Wire>) {
    let mut tunnel = Tunnel::new(role, Extensions::Deflate, holding(hold_bytes_max));
    for read in frame.chunks(len) {
        tunnel.read(read);
        assert!(tunnel.passage.is_at_boundary());
        // Whatever was forwarded is a sequence of whole frames.
        let _ = wires(&tunnel.out);
    }
    assert_eq!((tunnel.error, tunnel.frames), (None, 1));
    let found = wires(&tunnel.out);
    (tunnel, found)
}

/// Checks that these frames are `frame` in fragments.
fn assert_fragments(frame: &Wire, found: &[Wire], hold_bytes_max: usize) {
    let (last, others) = found.split_last().unwrap();
    let mut at = 0;
    for (index, fragment) in found.iter().enumerate() {
        let kind = if index == 0 { frame.first & !FIN } else { CONTINUATION };
        let fin = if index == others.len() { frame.first & FIN } else { 0 };
        assert_eq!(fragment.first, fin | kind, "fragment {index}");
        let mut key = frame.key;
        if let Some(key) = &mut key {
            key.rotate_left(at % 4);
        }
        assert_eq!(fragment.key, key, "fragment {index} at {at}");
        at += fragment.payload.len();
    }
    assert!(others.iter().all(|fragment| fragment.payload.len() >= hold_bytes_max.max(1)));
    assert!(others.is_empty() || !last.payload.is_empty());
    let joined: Vec<&[u8]> = found.iter().map(|fragment| &fragment.payload[..]).collect();
    let joined = joined.concat();
    assert!(joined == frame.payload, "the payload has changed");
}

#[test]
fn a_frame_is_split_only_above_the_limit() {
    for role in ROLES {
        for hold_bytes_max in [0_usize, 1, 125, 126, 1000, 65_535, 65_536] {
            let near = hold_bytes_max.saturating_sub(1)..=hold_bytes_max + 1;
            for len in near.chain([0, 125, 126, 65_535, 65_536, 100_000]) {
                let stream = frame(role, FIN | BINARY, &payload(len));
                let [before] = &wires(&stream)[..] else {
                    panic!("one frame");
                };
                for read in [1, 3, 1448, 65_536, 70_001].map(|read| read.max(len / 100)) {
                    let (tunnel, found) = split(role, hold_bytes_max, &stream, read);
                    assert_fragments(before, &found, hold_bytes_max);
                    let is_split = found.len() > 1;
                    assert!(!is_split || len > hold_bytes_max, "{len}, {hold_bytes_max}");
                    assert_eq!(tunnel.fragments, if is_split { found.len() } else { 0 });
                    assert_eq!(tunnel.messages, 1);
                    if !is_split {
                        assert!(tunnel.out == stream);
                    }
                    let held_bytes_max = hold_bytes_max.max(125) + 14 + 100;
                    assert!(tunnel.held_bytes_peak <= held_bytes_max);
                }
            }
        }
    }
}

#[test]
fn a_fragment_is_forwarded_once_the_limit_has_arrived() {
    for role in ROLES {
        for hold_bytes_max in [1, 125, 126, 1000, 65_536] {
            for len in [hold_bytes_max, hold_bytes_max + 1, hold_bytes_max + 2] {
                let stream = frame(role, FIN | BINARY, &payload(len));
                let header_len = stream.len() - len;
                let mut tunnel = Tunnel::new(role, Extensions::Nothing, holding(hold_bytes_max));
                tunnel.read(&stream[..header_len + hold_bytes_max - 1]);
                assert!(tunnel.out.is_empty());
                tunnel.read(&stream[header_len + hold_bytes_max - 1..header_len + hold_bytes_max]);
                assert_eq!(tunnel.fragments, usize::from(len > hold_bytes_max));
                assert_eq!(wires(&tunnel.out)[0].payload.len(), hold_bytes_max);
            }
        }
    }
}

#[test]
fn a_frame_split_in_two_at_each_byte_has_its_payload() {
    for role in ROLES {
        let stream = frame(role, FIN | TEXT, &payload(300));
        for first in 0..=stream.len() {
            let mut tunnel = Tunnel::new(role, Extensions::Nothing, holding(64));
            tunnel.read(&stream[..first]);
            tunnel.read(&stream[first..]);
            let (frame, found) = (&wires(&stream)[0], &wires(&tunnel.out)[..]);
            assert_fragments(frame, found, 64);
            let unmasked: Vec<u8> = found.iter().flat_map(Wire::unmasked).collect();
            assert_eq!(unmasked, frame.unmasked());
        }
    }
}

#[test]
fn rsv1_and_the_opcode_are_on_the_first_fragment_only() {
    for role in ROLES {
        for first in [FIN | RSV1 | TEXT, RSV1 | BINARY, FIN | BINARY, TEXT] {
            let stream = frame(role, first, &payload(500));
            let (_, found) = split(role, 100, &stream, 150);
            assert!(found.len() >= 3);
            assert_fragments(&wires(&stream)[0], &found, 100);
        }
    }
}

#[test]
fn a_continuation_is_split_into_continuations() {
    for role in ROLES {
        let start = frame(role, TEXT, b"start");
        for first in [CONTINUATION, FIN | CONTINUATION] {
            let stream = frame(role, first, &payload(500));
            let mut tunnel = Tunnel::new(role, Extensions::Nothing, holding(100));
            tunnel.read(&start);
            stream.chunks(150).for_each(|read| tunnel.read(read));
            let found = wires(&tunnel.out);
            assert!(found[1..].iter().all(Wire::is_continuation));
            assert_fragments(&wires(&stream)[0], &found[1..], 100);
            assert_eq!(tunnel.messages, usize::from(first & FIN != 0));
        }
    }
}

#[test]
fn a_long_frame_in_small_reads_becomes_few_fragments() {
    const BYTES: usize = 24_000_000;
    for role in ROLES {
        let bytes = payload(BYTES);
        let stream = frame(role, FIN | BINARY, &bytes);
        let mut tunnel = Tunnel::new(role, Extensions::Nothing, holding(64 * 1024));
        stream.chunks(1448).for_each(|read| tunnel.read(read));
        assert!(tunnel.fragments <= BYTES / (64 * 1024) + 1, "{}", tunnel.fragments);
        assert!(tunnel.held_bytes_peak <= 64 * 1024 + 14 + 100, "{}", tunnel.held_bytes_peak);
        assert_fragments(&wires(&stream)[0], &wires(&tunnel.out), 64 * 1024);
    }
}

#[test]
fn bytes_of_a_large_read_are_not_copied() {
    for role in ROLES {
        let stream = frame(role, FIN | BINARY, &payload(500_000));
        let mut passage = Passage::new(role, Extensions::Nothing);
        let limits = holding(64 * 1024);
        let passed = passage.pass(&stream[..200_000], &limits).unwrap();
        let header_len = stream.len() - 500_000;
        let Output::Start(start, range) = passed.output else {
            panic!("{passed:?}");
        };
        assert_eq!((start.as_bytes().len(), range), (header_len, header_len..200_000));
        assert!(!passage.is_holding());
        let passed = passage.pass(&stream[200_000..400_000], &limits).unwrap();
        let Output::Start(start, range) = passed.output else {
            panic!("{passed:?}");
        };
        assert_eq!((start.as_bytes().len(), range), (header_len, 0..200_000));
    }
}

#[test]
fn frames_behind_the_last_fragment_pass_with_it() {
    for role in ROLES {
        let long = frame(role, FIN | BINARY, &payload(500));
        let behind = frames(role, &[(FIN | TEXT, b"a"), (FIN | TEXT, b"b")]);
        let mut tunnel = Tunnel::new(role, Extensions::Nothing, holding(100));
        tunnel.read(&long[..300]);
        tunnel.read(&[&long[300..], &behind].concat());
        assert_eq!((tunnel.frames, tunnel.messages, tunnel.slices), (3, 3, 4));
        let found = wires(&tunnel.out);
        assert_fragments(&wires(&long)[0], &found[..2], 100);
        assert_eq!(found[2..], wires(&behind));
    }
}

#[test]
fn a_limit_that_changes_within_a_frame_leaves_the_payload_unchanged() {
    for role in ROLES {
        let bytes = payload(5000);
        let stream = frame(role, FIN | BINARY, &bytes);
        for limits in [[100, 4000], [4000, 100], [10_000, 10], [10, 10_000]] {
            let mut tunnel = Tunnel::new(role, Extensions::Nothing, LIMITS);
            for (index, read) in stream.chunks(300).enumerate() {
                tunnel.limits = holding(limits[index / 8 % 2]);
                tunnel.read(read);
            }
            assert_eq!(whole(role, &tunnel.out), whole(role, &stream), "{limits:?}");
        }
    }
}
