//! Violations of RFC 6455, 5: each is refused by the header, and nothing of that frame passes.

use weir::protocol::ProtocolError::{self, *};
use weir::protocol::Role;

use super::tunnel::{LIMITS, passed};
use crate::protocol::reader::{fails_at, in_pieces};
use crate::protocol::wire::*;

fn violations(role: Role) -> Vec<(Vec<u8>, ProtocolError)> {
    let (other, mask) = match role {
        Role::Server => (Role::Client, Unmasked),
        Role::Client => (Role::Server, Masked),
    };
    let form = |first, form, len| header(role, first, form, len);
    vec![
        (frame(other, FIN | TEXT, b"a"), mask),
        (frame(other, FIN | PING, b""), mask),
        (frame(role, FIN | RSV1 | TEXT, b"a"), ReservedBits),
        (frame(role, FIN | RSV3 | PING, b"a"), ReservedBits),
        (frame(role, FIN | 0x3, b"a"), ReservedOpcode),
        (frame(role, FIN | 0xB, b"a"), ReservedOpcode),
        (frame(role, PING, b"a"), FragmentedControl),
        (frame(role, CLOSE, b""), FragmentedControl),
        (frame(role, FIN | PONG, &[0; 126]), OversizedControl),
        (form(FIN | PING, Form::Long, 65_536), OversizedControl),
        (form(FIN | TEXT, Form::Medium, 125), NonMinimalLength),
        (form(FIN | TEXT, Form::Long, 65_535), NonMinimalLength),
        (frame_in(role, FIN | TEXT, Form::Medium, b"a"), NonMinimalLength),
        (frame_in(role, FIN | TEXT, Form::Medium, &[0; 125]), NonMinimalLength),
        (frame_in(role, FIN | TEXT, Form::Long, &[0; 300]), NonMinimalLength),
        (frame_in(role, FIN | TEXT, Form::Long, &[0; 65_535]), NonMinimalLength),
        (form(FIN | TEXT, Form::Long, 1 << 63), LengthOverflow),
        (frame(role, FIN | CONTINUATION, b"a"), UnexpectedContinuation),
        (frame(role, CONTINUATION, b"a"), UnexpectedContinuation),
    ]
}

#[test]
fn section_5_violations_are_refused_after_the_frames_before_them() {
    for role in ROLES {
        let before =
            frames(role, &[(FIN | TEXT, b"a"), (BINARY, b"b"), (FIN | CONTINUATION, b"c")]);
        for (violation, expected) in violations(role) {
            let stream = [&before[..], &violation, &before].concat();
            for len in [1, 5, stream.len()] {
                let tunnel = passed(role, LIMITS, stream.chunks(len));
                assert_eq!(tunnel.error, Some(expected), "{violation:x?} in reads of {len}");
                assert_eq!(tunnel.out, before, "{violation:x?} in reads of {len}");
            }
        }
    }
}

#[test]
fn section_5_4_messages_are_not_interleaved() {
    for role in ROLES {
        for first in [TEXT, FIN | BINARY] {
            let before = frames(role, &[(TEXT, b"a"), (FIN | PING, b"p")]);
            let stream = [&before[..], &frame(role, first, b"b")].concat();
            for len in [1, 5, stream.len()] {
                let tunnel = passed(role, LIMITS, stream.chunks(len));
                assert_eq!(
                    (tunnel.out, tunnel.error),
                    (before.clone(), Some(ExpectedContinuation))
                );
            }
        }
    }
}

#[test]
fn violations_are_found_at_the_same_byte_as_by_the_decoder() {
    for role in ROLES {
        for (violation, expected) in violations(role) {
            let (at, error) = fails_at(role, 1 << 20, &violation);
            assert_eq!(error, expected);
            let tunnel = passed(role, LIMITS, violation[..at - 1].chunks(1));
            assert_eq!(tunnel.error, None, "{violation:x?}");
            let tunnel = passed(role, LIMITS, violation[..at].chunks(1));
            assert_eq!(tunnel.error, Some(expected), "{violation:x?}");
        }
    }
}

#[test]
fn payloads_are_not_checked() {
    for role in ROLES {
        for list in [(FIN | TEXT, &b"\xFF"[..]), (FIN | CLOSE, b"\x03\xED"), (FIN | CLOSE, b"\x03")]
        {
            let stream = frames(role, &[list]);
            let tunnel = passed(role, LIMITS, [&stream[..]]);
            assert_eq!((&tunnel.out, tunnel.error), (&stream, None));
            assert!(in_pieces(role, 1000, [&stream[..]]).1.is_some());
        }
    }
}
