//! Limits: the size of messages by their headers, and the number of frames per call.

use weir::protocol::ProtocolError::MessageTooBig;
use weir::protocol::passage::{Extensions, Output, Passage, PassageLimits};

use super::tunnel::{LIMITS, Tunnel, passed};
use crate::protocol::wire::*;

fn messages_up_to(message_bytes_max: u64) -> PassageLimits {
    PassageLimits { message_bytes_max, ..LIMITS }
}

#[test]
fn a_message_above_the_limit_is_refused_by_its_header() {
    for role in ROLES {
        for max in [0, 5, 125, 126, 1000, 70_000] {
            let fits = frame(role, FIN | BINARY, &vec![0; max as usize]);
            let tunnel = passed(role, messages_up_to(max), [&fits[..]]);
            assert_eq!((tunnel.out, tunnel.error), (fits, None));
            let header = announced(role, FIN | BINARY, max + 1);
            for len in [1, header.len()] {
                let tunnel = passed(role, messages_up_to(max), header.chunks(len));
                assert_eq!((tunnel.out, tunnel.error), (vec![], Some(MessageTooBig)));
            }
            let whole = frame(role, FIN | BINARY, &vec![0; max as usize + 1]);
            let tunnel = passed(role, messages_up_to(max), [&whole[..]]);
            assert_eq!((tunnel.out, tunnel.error), (vec![], Some(MessageTooBig)));
        }
    }
}

#[test]
fn the_limit_holds_for_the_sum_of_a_messages_frames() {
    for role in ROLES {
        let fits =
            [(BINARY, &[0; 60][..]), (FIN | PING, &[0; 110]), (FIN | CONTINUATION, &[0; 40])];
        let fits = [frames(role, &fits), frames(role, &fits)].concat();
        let start = frames(role, &[(BINARY, &[0; 60]), (CONTINUATION, &[0; 40])]);
        let tunnel = passed(role, messages_up_to(100), [&fits[..], &start]);
        assert_eq!((tunnel.messages, tunnel.error), (2, None));
        let stream = [&fits[..], &start, &frame(role, FIN | CONTINUATION, &[0; 1])].concat();
        for len in [1, 50, stream.len()] {
            let tunnel = passed(role, messages_up_to(100), stream.chunks(len));
            assert_eq!((tunnel.messages, tunnel.error), (2, Some(MessageTooBig)));
            assert_eq!(tunnel.out, [&fits[..], &start].concat());
        }
    }
}

#[test]
fn a_refused_message_does_not_count_twice() {
    // The violation behind whole frames is found again by the next call.
    for role in ROLES {
        let stream = frames(role, &[(TEXT, &[0; 60]), (CONTINUATION, &[0; 50])]);
        let mut tunnel = Tunnel::new(role, Extensions::Nothing, messages_up_to(100));
        tunnel.read(&stream);
        assert_eq!((tunnel.frames, tunnel.error), (1, Some(MessageTooBig)));
    }
}

#[test]
fn without_a_limit_the_sum_does_not_overflow() {
    for role in ROLES {
        let stream =
            [frame(role, TEXT, b"a"), announced(role, CONTINUATION, i64::MAX as u64)].concat();
        let tunnel = passed(role, LIMITS, [&stream[..]]);
        assert_eq!((tunnel.frames, tunnel.error), (1, None));
    }
}

#[test]
fn a_call_handles_a_limited_number_of_frames() {
    for role in ROLES {
        let one = frame(role, FIN | TEXT, b"");
        let stream = one.repeat(10);
        let mut passage = Passage::new(role, Extensions::Nothing);
        let limits = PassageLimits { frames_max: 4, ..LIMITS };
        let passed = passage.pass(&stream, &limits).unwrap();
        assert_eq!((passed.frames, passed.consumed), (4, 4 * one.len()));
        // Also behind a frame that was held.
        passage.pass(&stream[..1], &limits).unwrap();
        let passed = passage.pass(&stream[1..], &limits).unwrap();
        assert_eq!((passed.frames, passed.consumed), (4, 4 * one.len() - 1));
        let limits = PassageLimits { frames_max: 0, ..LIMITS };
        let passed = passage.pass(&stream, &limits).unwrap();
        assert_eq!((passed.frames, passed.output), (1, Output::Input(0..one.len())));
    }
}
