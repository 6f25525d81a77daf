//! Messages in fragments: RFC 6455, 5.4.

use weir::protocol::ProtocolError::{ExpectedContinuation, UnexpectedContinuation};

use super::reader::{Found, Reader, in_pieces, text, whole};
use super::wire::*;

#[test]
fn section_5_4_fragments_form_one_message_of_the_first_ones_kind() {
    for role in ROLES {
        let rest = [(CONTINUATION, &b"lo "[..]), (FIN | CONTINUATION, b"World")];
        for (opcode, found) in
            [(TEXT, text("Hello World")), (BINARY, Found::Binary(b"Hello World".to_vec()))]
        {
            let stream = frames(role, &[(opcode, b"Hel"), rest[0], rest[1]]);
            assert_eq!(whole(role, &stream), (vec![found], None));
        }
    }
}

#[test]
fn section_5_4_any_fragment_may_be_empty() {
    for role in ROLES {
        for full in 0..4 {
            let part = |index| if index == full { &b"x"[..] } else { b"" };
            let stream = frames(
                role,
                &[(TEXT, part(0)), (CONTINUATION, part(1)), (FIN | CONTINUATION, part(2))],
            );
            let expected = if full < 3 { "x" } else { "" };
            assert_eq!(whole(role, &stream), (vec![text(expected)], None));
        }
    }
}

#[test]
fn section_5_4_control_frames_may_come_between_fragments() {
    for role in ROLES {
        let stream = frames(
            role,
            &[
                (TEXT, b"a"),
                (FIN | PING, b"1"),
                (FIN | PONG, b""),
                (CONTINUATION, b"b"),
                (FIN | PING, b"2"),
                (FIN | CONTINUATION, b"c"),
            ],
        );
        let found = vec![
            Found::Ping(b"1".to_vec()),
            Found::Pong(vec![]),
            Found::Ping(b"2".to_vec()),
            text("abc"),
        ];
        assert_eq!(whole(role, &stream), (found.clone(), None));
        assert_eq!(in_pieces(role, 3, stream.chunks(1)), (found, None));
    }
}

#[test]
fn section_5_4_a_control_frame_split_over_reads_does_not_change_the_message() {
    for role in ROLES {
        let first = frame(role, TEXT, "Grü".as_bytes());
        let ping = frame(role, FIN | PING, b"still there?");
        let last = frame(role, FIN | CONTINUATION, "ße".as_bytes());
        for split in 0..=ping.len() {
            let mut reader = Reader::new(role, 100);
            reader.read(&first);
            for round in 1..=2 {
                reader.read(&ping[..split]);
                assert!(reader.decoder.is_mid_message());
                reader.release();
                reader.read(&ping[split..]);
                assert_eq!(reader.found, vec![Found::Ping(b"still there?".to_vec()); round]);
                reader.release();
            }
            reader.read(&last);
            assert_eq!(reader.found.last(), Some(&text("Grüße")));
        }
    }
}

#[test]
fn section_5_4_a_close_may_interrupt_a_message() {
    for role in ROLES {
        let stream = frames(role, &[(TEXT, b"a"), (FIN | CLOSE, b"")]);
        assert_eq!(whole(role, &stream), (vec![Found::Close(None)], None));
    }
}

#[test]
fn section_5_4_a_continuation_needs_a_message() {
    for role in ROLES {
        for fin in [0, FIN] {
            let lone = frame(role, fin | CONTINUATION, b"x");
            let error = Some(UnexpectedContinuation);
            assert_eq!(whole(role, &lone), (vec![], error));
            let after_whole = [frame(role, FIN | TEXT, b"a"), lone.clone()].concat();
            assert_eq!(whole(role, &after_whole), (vec![text("a")], error));
            let parts = frames(role, &[(TEXT, b"a"), (FIN | CONTINUATION, b"b")]);
            let after_parts = [parts, lone.clone()].concat();
            assert_eq!(whole(role, &after_parts), (vec![text("ab")], error));
            let after_ping = [frame(role, FIN | PING, b""), lone].concat();
            assert_eq!(whole(role, &after_ping), (vec![Found::Ping(vec![])], error));
        }
    }
}

#[test]
fn section_5_4_a_message_does_not_begin_inside_another() {
    for role in ROLES {
        for opcode in [TEXT, BINARY, FIN | TEXT, FIN | BINARY] {
            for started in [TEXT, BINARY] {
                for payload in [&b""[..], b"x"] {
                    let stream = frames(role, &[(started, payload), (opcode, payload)]);
                    let expected = (vec![], Some(ExpectedContinuation));
                    assert_eq!(whole(role, &stream), expected);
                    assert_eq!(in_pieces(role, 100, stream.chunks(1)), expected);
                }
            }
        }
    }
}

#[test]
fn section_5_4_the_decoder_reports_an_unfinished_message() {
    for role in ROLES {
        let mut reader = Reader::new(role, 100);
        let steps = [
            (frame(role, TEXT, b""), true),
            (frame(role, FIN | PING, b"x"), true),
            (frame(role, FIN | CONTINUATION, b""), false),
            (frame(role, FIN | TEXT, b"whole"), false),
            (vec![FIN | TEXT], true),
            (frame(role, FIN | TEXT, b"rest")[1..].to_vec(), false),
            (announced(role, FIN | BINARY, 1), true),
            (masked(role, b"x"), false),
        ];
        assert!(!reader.decoder.is_mid_message());
        for (bytes, is_mid_message) in steps {
            reader.read(&bytes);
            assert_eq!(reader.error, None);
            assert_eq!(reader.decoder.is_mid_message(), is_mid_message, "{bytes:x?}");
        }
    }
}
