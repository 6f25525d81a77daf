//! Invalid frames, and the byte that fails the connection: RFC 6455, 5.1, 5.2, 5.5 and 7.4.

use weir::protocol::ProtocolError::{self, *};
use weir::protocol::Role;

use super::reader::{Found, Reader, fails_at, text, whole};
use super::wire::*;

const MAX: usize = 1 << 20;

/// Expects this error for `bytes` read at once, and at byte `at` if they are read one by one.
fn refused(role: Role, bytes: &[u8], at: usize, error: ProtocolError) {
    assert_eq!(whole(role, bytes), (vec![], Some(error)), "{role:?}: {bytes:x?}");
    assert_eq!(fails_at(role, MAX, bytes), (at, error), "{role:?}: {bytes:x?}");
}

#[test]
fn section_5_1_a_server_reads_only_masked_frames_and_a_client_none() {
    for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
        for reader in ROLES {
            let (other, error) = match reader {
                Role::Server => (Role::Client, Unmasked),
                Role::Client => (Role::Server, Masked),
            };
            let frame = frame(other, FIN | opcode, b"");
            refused(reader, &frame, 2, error);
            // The bytes that follow could be a masking key and a payload.
            refused(reader, &[&frame[..], &[0; 8]].concat(), 2, error);
        }
    }
}

#[test]
fn section_5_2_reserved_bits_are_refused_by_the_first_byte() {
    for role in ROLES {
        for bits in 1..8u8 {
            for opcode in [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] {
                let rsv = bits << 4;
                assert_eq!(rsv & !(RSV1 | RSV2 | RSV3), 0);
                refused(role, &frame(role, FIN | rsv | opcode, b"x"), 1, ReservedBits);
            }
        }
    }
}

#[test]
fn section_5_2_reserved_opcodes_are_refused_by_the_first_byte() {
    for role in ROLES {
        for opcode in (0x3..=0x7).chain(0xB..=0xF) {
            for fin in [0, FIN] {
                let huge = announced(role, fin | opcode, 1 << 40);
                refused(role, &huge, 1, ReservedOpcode);
            }
        }
    }
}

#[test]
fn section_5_2_a_length_must_be_in_its_shortest_form() {
    for role in ROLES {
        for len in [0, 1, 125] {
            refused(role, &header(role, FIN | BINARY, Form::Medium, len), 4, NonMinimalLength);
        }
        for len in [0, 125, 126, 127, 65535] {
            refused(role, &header(role, FIN | BINARY, Form::Long, len), 10, NonMinimalLength);
        }
        for (form, len) in [(Form::Medium, 126), (Form::Medium, 127), (Form::Long, 65536)] {
            let payload = vec![7; len];
            let stream = frame_in(role, FIN | BINARY, form, &payload);
            assert!(whole(role, &stream) == (vec![Found::Binary(payload)], None));
        }
    }
}

#[test]
fn section_5_2_huge_lengths_are_refused_and_nothing_is_allocated() {
    let cases = [
        (1 << 32, MessageTooBig),
        (1 << 53, MessageTooBig),
        ((1 << 63) - 1, MessageTooBig),
        (1 << 63, LengthOverflow),
        (u64::MAX - 3, LengthOverflow),
        (u64::MAX, LengthOverflow),
    ];
    for role in ROLES {
        for max in [0, MAX, u32::MAX as usize, usize::MAX] {
            for (len, error) in cases {
                for started in [false, true] {
                    let mut reader = Reader::new(role, max);
                    let opcode = if started {
                        reader.read(&frame(role, BINARY, b""));
                        CONTINUATION
                    } else {
                        BINARY
                    };
                    let held = reader.decoder.held_bytes();
                    reader.read(&announced(role, FIN | opcode, len));
                    assert_eq!(reader.error, Some(error), "{len:#x} within {max}");
                    assert_eq!(reader.decoder.held_bytes(), held);
                }
            }
        }
    }
}

#[test]
fn section_5_5_control_frames_are_not_fragmented() {
    for role in ROLES {
        for opcode in [CLOSE, PING, PONG] {
            refused(role, &frame(role, opcode, b""), 1, FragmentedControl);
        }
    }
}

#[test]
fn section_5_5_control_frames_have_at_most_125_bytes() {
    for role in ROLES {
        for opcode in [CLOSE, PING, PONG] {
            for (form, len) in [
                (Form::Medium, 126),
                (Form::Medium, 65535),
                (Form::Medium, 5),
                (Form::Long, 65536),
                (Form::Long, u64::MAX),
            ] {
                refused(role, &header(role, FIN | opcode, form, len), 2, OversizedControl);
            }
        }
    }
}

#[test]
fn section_5_5_1_invalid_close_payloads_are_refused() {
    let header_len = |role| announced(role, FIN | CLOSE, 2).len();
    for role in ROLES {
        let lone = frame(role, FIN | CLOSE, b"\x03");
        refused(role, &lone, lone.len(), InvalidClosePayload);
        for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            let close = frame(role, FIN | CLOSE, &code.to_be_bytes());
            refused(role, &close, header_len(role) + 2, InvalidCloseCode);
        }
        for reason in [&b"\xFF"[..], b"ok \xED\xA0\x80", b"cut \xE2\x82"] {
            let close = frame(role, FIN | CLOSE, &[b"\x03\xE8", reason].concat());
            refused(role, &close, close.len(), InvalidUtf8);
        }
    }
}

#[test]
fn section_5_4_and_7_4_1_a_frame_is_refused_by_its_header() {
    for role in ROLES {
        let continuation = announced(role, FIN | CONTINUATION, 5);
        refused(role, &continuation, continuation.len(), UnexpectedContinuation);
        let too_big = announced(role, FIN | TEXT, MAX as u64 + 1);
        refused(role, &too_big, too_big.len(), MessageTooBig);
    }
}

#[test]
fn section_7_1_7_messages_before_a_violation_are_delivered_and_none_after_it() {
    for role in ROLES {
        let valid = [(FIN | TEXT, &b"one"[..]), (FIN | PING, b"two"), (BINARY, b"three")];
        let violations = [
            (frame(role, FIN | RSV1 | TEXT, b"x"), ReservedBits),
            (frame(role, FIN | 0x3, b"x"), ReservedOpcode),
            (frame(role, PING, b"x"), FragmentedControl),
            (header(role, FIN | CONTINUATION, Form::Medium, 3), NonMinimalLength),
            (announced(role, CONTINUATION, u64::MAX), LengthOverflow),
            (announced(role, CONTINUATION, MAX as u64), MessageTooBig),
            (frame(role, FIN | BINARY, b"x"), ExpectedContinuation),
            (frame(role, FIN | CLOSE, b"x"), InvalidClosePayload),
        ];
        for (violation, error) in violations {
            let mut stream = frames(role, &valid);
            stream.extend(violation);
            stream.extend(frames(role, &[(FIN | CONTINUATION, b"x"), (FIN | TEXT, b"after")]));
            let found = vec![text("one"), Found::Ping(b"two".to_vec())];
            assert_eq!(whole(role, &stream), (found, Some(error)));
        }
    }
}

#[test]
fn section_7_4_1_each_violation_has_its_code() {
    for error in ProtocolError::ALL {
        let code = match error {
            InvalidUtf8 => 1007,
            MessageTooBig => 1009,
            _ => 1002,
        };
        assert_eq!(error.close_code().get(), code, "{error:?}");
    }
}
