//! Extensions: permessage-deflate gives RSV1 a meaning, an unknown one may define all of them.

use weir::protocol::ProtocolError::{
    FragmentedControl, NonMinimalLength, OversizedControl, ReservedBits, ReservedOpcode,
};
use weir::protocol::passage::PassageEvent::{Close, Ping};
use weir::protocol::passage::{Extensions, PassageEvent};
use weir::protocol::{ProtocolError, Role};

use super::tunnel::{LIMITS, Tunnel, holding};
use crate::protocol::wire::*;

fn outcome(
    role: Role,
    extensions: Extensions,
    stream: &[u8],
) -> (Vec<u8>, Vec<PassageEvent>, Option<ProtocolError>) {
    let mut tunnel = Tunnel::new(role, extensions, LIMITS);
    tunnel.read(stream);
    (tunnel.out, tunnel.events, tunnel.error)
}

#[test]
fn rfc_7692_section_6_rsv1_marks_the_first_frame_of_a_message() {
    for role in ROLES {
        for opcode in [TEXT, BINARY] {
            let stream = frames(role, &[(RSV1 | opcode, b"a"), (FIN | CONTINUATION, b"b")]);
            let (out, _, error) = outcome(role, Extensions::Deflate, &stream);
            assert_eq!((out, error), (stream.clone(), None));
            assert_eq!(outcome(role, Extensions::Nothing, &stream).2, Some(ReservedBits));
        }
        let start = frame(role, TEXT, b"");
        for first in [RSV1 | CONTINUATION, FIN | RSV1 | PING, FIN | RSV1 | CLOSE, FIN | RSV1 | PONG]
        {
            let stream = [&start[..], &frame(role, first, b"")].concat();
            let (out, _, error) = outcome(role, Extensions::Deflate, &stream);
            assert_eq!((out, error), (start.clone(), Some(ReservedBits)), "{first:x}");
        }
    }
}

#[test]
fn reserved_bits_and_opcodes_are_refused_without_an_unknown_extension() {
    for role in ROLES {
        for extensions in [Extensions::Nothing, Extensions::Deflate] {
            for bit in [RSV2, RSV3, RSV1 | RSV2] {
                let stream = frame(role, FIN | bit | TEXT, b"a");
                assert_eq!(
                    outcome(role, extensions, &stream),
                    (vec![], vec![], Some(ReservedBits))
                );
            }
            for opcode in (0x3..=0x7).chain(0xB..=0xF) {
                let stream = frame(role, FIN | opcode, b"a");
                assert_eq!(
                    outcome(role, extensions, &stream),
                    (vec![], vec![], Some(ReservedOpcode))
                );
            }
        }
    }
}

#[test]
fn an_unknown_extension_may_use_all_bits_and_opcodes() {
    for role in ROLES {
        for first in (0..=0xFF).filter(|first| first & 0x8 == 0 && first & 0xF != CONTINUATION) {
            let stream = frame(role, first, b"a");
            let (out, events, error) = outcome(role, Extensions::Unknown, &stream);
            assert_eq!((out, events.len(), error), (stream, 0, None), "{first:x}");
        }
        for first in (0x80..=0xFF).filter(|first| first & 0x8 != 0) {
            let stream = frame(role, first, b"a");
            let (out, events, error) = outcome(role, Extensions::Unknown, &stream);
            let is_known = (CLOSE..=PONG).contains(&(first & 0xF));
            assert_eq!((out, events.len(), error), (stream, usize::from(is_known), None));
        }
    }
}

#[test]
fn an_opcode_of_an_unknown_extension_stands_outside_of_messages() {
    for role in ROLES {
        for first in [FIN | 0x3, 0x5] {
            let within = [(TEXT, &b"a"[..]), (first, b"x"), (FIN | CONTINUATION, b"b")];
            let behind = [(first, &b"y"[..]), (FIN | TEXT, b"c")];
            let stream = [frames(role, &within), frames(role, &behind)].concat();
            let (out, _, error) = outcome(role, Extensions::Unknown, &stream);
            assert_eq!((out, error), (stream, None), "{first:x}");
        }
    }
}

#[test]
fn an_unknown_extension_leaves_the_framing_checked() {
    for role in ROLES {
        let cases = [
            (frame(role, PING, b"a"), FragmentedControl),
            (frame(role, RSV1 | 0xB, b"a"), FragmentedControl),
            (frame(role, FIN | 0xB, &[0; 126]), OversizedControl),
            (frame_in(role, FIN | RSV2 | 0x3, Form::Medium, b"a"), NonMinimalLength),
        ];
        for (stream, expected) in cases {
            assert_eq!(outcome(role, Extensions::Unknown, &stream).2, Some(expected));
        }
    }
}

#[test]
fn an_unknown_extension_lets_long_frames_pass_as_they_arrive() {
    for role in ROLES {
        let (long, behind) =
            (frame(role, FIN | RSV2 | BINARY, &[3; 5000]), frame(role, FIN | TEXT, b"b"));
        let stream = [&long[..], &behind].concat();
        for len in [1, 3, 999, 1000, 4000] {
            let mut tunnel = Tunnel::new(role, Extensions::Unknown, holding(100));
            let header_len = long.len() - 5000;
            let mut received = 0;
            for read in stream.chunks(len) {
                tunnel.read(read);
                received += read.len();
                if (header_len..long.len()).contains(&received) {
                    assert_eq!(tunnel.out.len(), received, "in reads of {len}");
                    assert!(!tunnel.passage.is_at_boundary() && !tunnel.passage.is_holding());
                } else if received == long.len() {
                    assert!(tunnel.passage.is_at_boundary());
                }
            }
            assert_eq!((&tunnel.out, tunnel.frames, tunnel.messages), (&stream, 2, 2));
            assert_eq!(tunnel.fragments, 0);
            assert!(tunnel.held_bytes_peak <= 200, "{}", tunnel.held_bytes_peak);
        }
    }
}

#[test]
fn an_unknown_extension_leaves_short_frames_held() {
    for role in ROLES {
        let stream = frame(role, FIN | RSV3 | BINARY, &[3; 100]);
        let mut tunnel = Tunnel::new(role, Extensions::Unknown, holding(100));
        tunnel.read(&stream[..80]);
        assert!(tunnel.out.is_empty() && tunnel.passage.is_at_boundary());
        tunnel.read(&stream[80..]);
        assert_eq!(tunnel.out, stream);
    }
}

#[test]
fn an_unknown_extension_leaves_control_frames_held() {
    for role in ROLES {
        let stream = frame(role, FIN | RSV3 | PING, &[3; 100]);
        let mut tunnel = Tunnel::new(role, Extensions::Unknown, holding(10));
        tunnel.read(&stream[..80]);
        assert!(tunnel.out.is_empty() && tunnel.passage.is_at_boundary());
        tunnel.read(&stream[80..]);
        assert_eq!((tunnel.out, tunnel.events), (stream, vec![Ping]));
    }
}

#[test]
fn discarding_within_a_frame_that_was_partly_forwarded_leaves_no_boundary() {
    for role in ROLES {
        let long = frame(role, FIN | BINARY, &[3; 5000]);
        let mut tunnel = Tunnel::new(role, Extensions::Unknown, holding(100));
        tunnel.read(&long[..2000]);
        tunnel.passage.discard();
        assert!(!tunnel.passage.is_at_boundary());
        tunnel.read(&long[2000..]);
        tunnel.read(&frames(role, &[(FIN | PING, b""), (FIN | CLOSE, b"")]));
        assert_eq!((tunnel.out.len(), tunnel.events), (2000, vec![Close]));
        assert!(!tunnel.passage.is_at_boundary());
    }
}

#[test]
fn a_ping_of_an_extended_stream_is_reported() {
    for role in ROLES {
        let stream = frame(role, FIN | RSV1 | PING, b"a");
        assert_eq!(outcome(role, Extensions::Unknown, &stream).1, [Ping]);
    }
}
