//! Text must be UTF-8, and is refused at its first invalid byte: RFC 6455, 8.1.

use weir::protocol::ProtocolError::InvalidUtf8;
use weir::protocol::Role;

use super::reader::{Found, Reader, fails_at, in_pieces, text, whole};
use super::wire::*;

/// Invalid text, and its length up to the first byte that proves it (RFC 3629, 4).
const BROKEN: [(&[u8], usize); 12] = [
    (b"\x80", 1),
    (b"ok\xBF", 3),
    (b"\xC0\xAF", 1),
    (b"\xC1\xBF", 1),
    (b"\xC3\x28", 2),
    (b"\xE0\x9F\x80", 2),
    (b"\xED\xA0\x80", 2),
    (b"\xE2\x82\x28", 3),
    (b"\xF0\x8F\xBF\xBF", 2),
    (b"\xF4\x90\x80\x80", 2),
    (b"\xF5\x80\x80\x80", 1),
    (b"\xF0\x9F\x98\xFF", 4),
];

const SOUND: &str =
    "ascii, \u{7F}\u{80}\u{7FF}\u{800}\u{D7FF}\u{E000}\u{FFFF}\u{10000}\u{10FFFF}\0";

#[test]
fn section_8_1_errors_are_found_at_their_byte_in_an_unfinished_frame() {
    for role in ROLES {
        for (broken, at) in BROKEN {
            // The frame announces far more bytes than are sent.
            let mut stream = announced(role, FIN | TEXT, 70_000);
            let before = stream.len() + SOUND.len();
            let payload = [SOUND.as_bytes(), broken].concat();
            stream.extend(masked(role, &payload));
            let expected = (before + at, InvalidUtf8);
            assert_eq!(fails_at(role, 1 << 20, &stream), expected, "{broken:x?}");
            let in_one_read = in_pieces(role, 1 << 20, [&stream[..before + at]]);
            assert_eq!(in_one_read, (vec![], Some(InvalidUtf8)), "{broken:x?}");
        }
    }
}

#[test]
fn section_8_1_errors_are_found_at_their_byte_across_fragments() {
    for role in ROLES {
        for (broken, at) in BROKEN {
            let mut stream = frame(role, TEXT, b"");
            let mut expected = 0;
            for (index, byte) in broken.chunks(1).enumerate() {
                stream.extend(frame(role, CONTINUATION, byte));
                if index + 1 == at {
                    expected = stream.len();
                }
                stream.extend(frame(role, FIN | PING, b""));
            }
            assert_eq!(fails_at(role, 100, &stream), (expected, InvalidUtf8), "{broken:x?}");
        }
    }
}

#[test]
fn section_8_1_errors_are_found_in_whole_frames() {
    for role in ROLES {
        for (broken, _) in BROKEN {
            let stream = frame(role, FIN | TEXT, broken);
            assert_eq!(whole(role, &stream), (vec![], Some(InvalidUtf8)), "{broken:x?}");
            let binary = frame(role, FIN | BINARY, broken);
            assert_eq!(whole(role, &binary), (vec![Found::Binary(broken.to_vec())], None));
        }
    }
}

#[test]
fn section_8_1_errors_are_found_in_direct_reads() {
    let mut payload = vec![b'x'; 60_000];
    payload[50_000] = 0xFF;
    let stream = frame(Role::Server, FIN | TEXT, &payload);
    let mut reader = Reader::new(Role::Server, 1 << 20);
    for piece in stream.chunks(5_000) {
        reader.read_direct(piece);
    }
    assert!(reader.direct_bytes > 40_000);
    assert_eq!(reader.outcome(), (vec![], Some(InvalidUtf8)));
}

#[test]
fn section_8_1_characters_may_straddle_fragments() {
    for role in ROLES {
        for first in 0..=SOUND.len() {
            for second in first..=SOUND.len() {
                let bytes = SOUND.as_bytes();
                let stream = frames(
                    role,
                    &[
                        (TEXT, &bytes[..first]),
                        (CONTINUATION, &bytes[first..second]),
                        (FIN | CONTINUATION, &bytes[second..]),
                    ],
                );
                assert_eq!(whole(role, &stream), (vec![text(SOUND)], None));
            }
        }
    }
}

#[test]
fn section_8_1_a_message_does_not_end_inside_a_character() {
    for role in ROLES {
        for cut in ["é", "€", "\u{1F600}"] {
            for end in 1..cut.len() {
                let cut = &cut.as_bytes()[..end];
                let expected = (vec![], Some(InvalidUtf8));
                assert_eq!(whole(role, &frame(role, FIN | TEXT, cut)), expected);
                let fragments = frames(role, &[(TEXT, cut), (FIN | CONTINUATION, b"")]);
                assert_eq!(whole(role, &fragments), expected);
                let then_ascii = frames(role, &[(TEXT, cut), (FIN | CONTINUATION, b"a")]);
                assert_eq!(whole(role, &then_ascii), expected);
            }
        }
    }
}

#[test]
fn section_8_1_only_text_is_checked() {
    for role in ROLES {
        let cut = &"€".as_bytes()[..2];
        let stream = frames(
            role,
            &[
                (BINARY, cut),
                (FIN | PING, b"\xFF"),
                (FIN | CONTINUATION, b"\xFF"),
                (TEXT, cut),
                (FIN | PONG, b"\xFF"),
                (FIN | CONTINUATION, &"€".as_bytes()[2..]),
            ],
        );
        let found = vec![
            Found::Ping(vec![0xFF]),
            Found::Binary(vec![0xE2, 0x82, 0xFF]),
            Found::Pong(vec![0xFF]),
            text("€"),
        ];
        for piece in [1, 2, stream.len()] {
            assert_eq!(in_pieces(role, 100, stream.chunks(piece)), (found.clone(), None));
        }
    }
}
