//! Control frames: RFC 6455, 5.5. They are held until complete; a Close ends the direction.

use weir::protocol::passage::PassageEvent::{Close, OwnPong, Ping, Pong};
use weir::protocol::passage::{Extensions, Output, Passage};
use weir::protocol::{CloseCode, CloseFrame, Role};

use super::tunnel::{LIMITS, Tunnel, holding, passed, wires};
use crate::protocol::wire::*;

/// The payload of our ping with the sequence number 1.
const OURS: [u8; 12] = *b"\x00our own\0\0\0\x01";
/// That of an earlier one.
const EARLIER: [u8; 12] = *b"\x00our own\0\0\0\0";
const MARKER: [u8; 8] = *b"\x00our own";

fn new(role: Role) -> Tunnel {
    Tunnel::new(role, Extensions::Nothing, LIMITS)
}

#[test]
fn control_frames_are_held_until_complete() {
    // The limit for held data does not apply to them.
    for role in ROLES {
        for first in [FIN | CLOSE, FIN | PING, FIN | PONG] {
            let stream = frame(role, first, &[5; 125]);
            let mut tunnel = Tunnel::new(role, Extensions::Nothing, holding(0));
            for byte in stream.chunks(1) {
                assert_eq!((tunnel.out.len(), tunnel.events.len()), (0, 0));
                tunnel.read(byte);
            }
            assert_eq!((tunnel.out, tunnel.events.len(), tunnel.fragments), (stream, 1, 0));
            assert!(tunnel.held_bytes_peak <= 131 + 150, "{}", tunnel.held_bytes_peak);
        }
    }
}

#[test]
fn pings_and_pongs_are_reported_in_order() {
    for role in ROLES {
        let stream = frames(
            role,
            &[
                (FIN | PING, b"1"),
                (TEXT, b"a"),
                (FIN | PONG, b"2"),
                (FIN | PING, b""),
                (FIN | CONTINUATION, b"b"),
                (FIN | PONG, &OURS),
            ],
        );
        for len in [1, 3, stream.len()] {
            let tunnel = passed(role, LIMITS, stream.chunks(len));
            assert_eq!(tunnel.events, [Ping, Pong, Ping, Pong], "in pieces of {len}");
            assert_eq!((tunnel.out, tunnel.messages), (stream.clone(), 1));
        }
    }
}

#[test]
fn pongs_to_our_pings_are_dropped_however_late_they_are() {
    for role in ROLES {
        let list = [
            (FIN | TEXT, &b"a"[..]),
            (FIN | PONG, b"another one!"),
            (FIN | PONG, &MARKER),
            (FIN | PONG, b"\x00our own number"),
            (FIN | PONG, &OURS),
            (FIN | TEXT, b"b"),
            (FIN | PONG, &EARLIER),
            (FIN | PONG, &OURS),
            (FIN | PONG, b""),
        ];
        let stream = frames(role, &list);
        let expected: Vec<u8> = [0, 1, 2, 3, 5, 8]
            .iter()
            .flat_map(|&at: &usize| frame(role, list[at].0, list[at].1))
            .collect();
        for len in 1..=stream.len() {
            let mut tunnel = new(role);
            assert_eq!(tunnel.passage.ping_marker(|| MARKER), MARKER);
            stream.chunks(len).for_each(|read| tunnel.read(read));
            assert_eq!(tunnel.out, expected, "in pieces of {len}");
            let events = [Pong, Pong, Pong, OwnPong(1), OwnPong(0), OwnPong(1), Pong];
            assert_eq!(tunnel.events, events);
            assert_eq!(tunnel.frames, list.len());
        }
    }
}

#[test]
fn a_tunnel_keeps_the_marker_of_its_first_ping() {
    let mut tunnel = new(Role::Server);
    assert_eq!(tunnel.passage.ping_marker(|| MARKER), MARKER);
    assert_eq!(tunnel.passage.ping_marker(|| *b"another1"), MARKER);
    tunnel.read(&frame(Role::Server, FIN | PONG, &OURS));
    assert_eq!((tunnel.out.len(), tunnel.events), (0, vec![OwnPong(1)]));
}

#[test]
fn a_close_is_forwarded_recorded_and_ends_the_direction() {
    for role in ROLES {
        for payload in [&b""[..], b"\x03\xE8", b"\x0F\xA0bye", b"\x03\xED\xFF", b"\x03", &[6; 125]]
        {
            let close = frame(role, FIN | CLOSE, payload);
            let before = frame(role, FIN | TEXT, b"before");
            let behind = [frame(role, FIN | TEXT, b"behind"), vec![0xFF; 300]].concat();
            let stream = [&before[..], &close, &behind].concat();
            for len in [1, 4, stream.len()] {
                let tunnel = passed(role, LIMITS, stream.chunks(len));
                assert_eq!(tunnel.out, [&before[..], &close].concat());
                assert_eq!((tunnel.events, tunnel.error), (vec![Close], None));
                assert_eq!((tunnel.frames, tunnel.messages), (2, 1));
                assert!(tunnel.passage.has_closed() && tunnel.passage.is_at_boundary());
                assert_eq!(tunnel.passage.close_payload(), Some(payload));
                assert!(tunnel.passage.held_bytes() <= 200);
            }
        }
    }
}

#[test]
fn frames_of_later_reads_are_discarded_behind_a_close() {
    for role in ROLES {
        let close = frame(role, FIN | CLOSE, b"");
        let mut tunnel = new(role);
        tunnel.read(&close);
        for behind in [frame(role, FIN | TEXT, b"b"), frame(role, FIN | PING, b"p"), close.clone()]
        {
            tunnel.read(&behind);
        }
        assert_eq!((tunnel.out, tunnel.events, tunnel.frames), (close, vec![Close], 1));
    }
}

#[test]
fn a_close_between_fragments_of_a_message_ends_the_direction() {
    for role in ROLES {
        let mut tunnel = new(role);
        tunnel.read(&frame(role, TEXT, b"unfinished"));
        assert_eq!(tunnel.passage.close_payload(), None);
        tunnel.read(&frame(role, FIN | CLOSE, b"\x03\xF3reason"));
        let payload = tunnel.passage.close_payload().unwrap();
        let close = CloseFrame::parse(payload).unwrap().unwrap();
        assert_eq!((close.code, close.reason), (CloseCode::INTERNAL_ERROR, "reason"));
    }
}

#[test]
fn a_withheld_close_is_recorded_and_not_forwarded() {
    for role in ROLES {
        let data = frames(role, &[(FIN | TEXT, b"a"), (FIN | PING, b"p"), (FIN | TEXT, b"b")]);
        let stream = [&data[..], &frame(role, FIN | CLOSE, b"\x03\xE9")].concat();
        for len in 1..=stream.len() {
            let mut tunnel = new(role);
            tunnel.passage.withhold_close();
            stream.chunks(len).for_each(|read| tunnel.read(read));
            assert_eq!((&tunnel.out, tunnel.events), (&data, vec![Ping, Close]));
            assert_eq!(tunnel.passage.close_payload(), Some(&b"\x03\xE9"[..]));
        }
    }
}

#[test]
fn discarding_follows_the_frames_up_to_the_close() {
    for role in ROLES {
        let long = vec![7; 5000];
        let stream = frames(
            role,
            &[
                (FIN | TEXT, b"a"),
                (FIN | PING, b"p"),
                (BINARY, &long),
                (FIN | PONG, b"q"),
                (FIN | CONTINUATION, &long),
                (FIN | CLOSE, b"\x03\xE8"),
                (FIN | TEXT, b"b"),
            ],
        );
        // From any byte on, in a header, in a held frame, in a fragment.
        for start in (0..60).chain([900, 1200, 5000, 5200, stream.len() - 20]) {
            for len in [1, 700, stream.len()] {
                let mut tunnel = new(role);
                tunnel.read(&stream[..start]);
                let before = tunnel.out.len();
                tunnel.events.clear();
                tunnel.passage.discard();
                // A message above the limit is discarded like others.
                tunnel.limits.message_bytes_max = 3000;
                assert!(tunnel.passage.held_bytes() <= 200, "{}", tunnel.passage.held_bytes());
                stream[start..].chunks(len).for_each(|read| {
                    tunnel.read(read);
                    assert!(tunnel.passage.held_bytes() <= 200);
                });
                assert_eq!((tunnel.out.len(), tunnel.error), (before, None), "from {start}");
                assert_eq!(tunnel.events, [Close]);
                let _ = wires(&tunnel.out);
            }
        }
    }
}

#[test]
fn discarding_forwards_no_frame_that_is_whole_in_its_read() {
    for role in ROLES {
        let mut tunnel = new(role);
        tunnel.passage.discard();
        for list in [[(FIN | TEXT, &b"a"[..])], [(FIN | BINARY, &[1; 300])], [(FIN | PING, b"p")]] {
            tunnel.read(&frames(role, &list));
        }
        assert_eq!((tunnel.out.len(), tunnel.frames, tunnel.events), (0, 3, vec![]));
    }
}

#[test]
fn discarding_within_a_close_reports_it() {
    for role in ROLES {
        let close = frame(role, FIN | CLOSE, b"\x03\xE8bye");
        for split in 0..close.len() {
            let mut tunnel = new(role);
            tunnel.read(&close[..split]);
            tunnel.passage.discard();
            tunnel.read(&close[split..]);
            assert_eq!((tunnel.out.len(), tunnel.events), (0, vec![Close]), "at {split}");
            assert_eq!(tunnel.passage.close_payload(), Some(&b"\x03\xE8bye"[..]));
        }
    }
}

#[test]
fn a_violation_is_found_while_discarding() {
    for role in ROLES {
        let mut passage = Passage::new(role, Extensions::Nothing);
        passage.discard();
        let stream = frame(role, FIN | TEXT, &[1; 300]);
        let passed = passage.pass(&stream[..100], &LIMITS).unwrap();
        assert_eq!((passed.consumed, passed.output), (100, Output::Nothing));
        passage.pass(&stream[100..], &LIMITS).unwrap();
        assert!(passage.pass(&frame(role, CLOSE, b""), &LIMITS).is_err());
    }
}
