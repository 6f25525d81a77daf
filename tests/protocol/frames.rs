//! Valid frames: RFC 6455, 5.2 to 5.6.

use weir::protocol::{Decoder, Encoder, Message, Role, Spares};

use super::reader::{Found, Reader, text, whole};
use super::wire::*;

#[test]
fn section_5_2_every_opcode_has_its_event() {
    for role in ROLES {
        let stream = frames(
            role,
            &[
                (FIN | TEXT, b"text"),
                (FIN | BINARY, b"\xFF\x00"),
                (FIN | PING, b"ping"),
                (FIN | PONG, b"pong"),
                (TEXT, b"to be "),
                (FIN | CONTINUATION, b"continued"),
                (FIN | CLOSE, b"\x03\xE8bye"),
            ],
        );
        let found = vec![
            text("text"),
            Found::Binary(b"\xFF\x00".to_vec()),
            Found::Ping(b"ping".to_vec()),
            Found::Pong(b"pong".to_vec()),
            text("to be continued"),
            Found::Close(Some((1000, "bye".to_owned()))),
        ];
        assert_eq!(whole(role, &stream), (found, None), "{role:?}");
    }
}

#[test]
fn section_5_2_every_length_is_read_in_its_shortest_form() {
    for role in ROLES {
        for len in [0, 1, 125, 126, 127, 65535, 65536, 1 << 20] {
            let payload: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let stream = frame(role, FIN | BINARY, &payload);
            let outcome = whole(role, &stream);
            assert!(outcome == (vec![Found::Binary(payload)], None), "{role:?}, {len}");
        }
    }
}

#[test]
fn section_5_3_any_key_unmasks() {
    for key in [[0; 4], [0xFF; 4], [1, 2, 3, 4], [0, 0, 0, 0x80]] {
        for len in [0, 1, 3, 4, 5, 7, 8, 9, 125] {
            let payload = "x".repeat(len);
            let mut stream = vec![FIN | TEXT, 0x80 | len as u8];
            stream.extend(key);
            stream.extend((0..len).map(|i| b'x' ^ key[i % 4]));
            assert_eq!(whole(Role::Server, &stream), (vec![text(&payload)], None));
        }
    }
}

#[test]
fn section_5_5_control_payloads_have_up_to_125_bytes() {
    for role in ROLES {
        for len in [0, 1, 124, 125] {
            let payload = vec![b'p'; len];
            let stream = frames(role, &[(FIN | PING, &payload), (FIN | PONG, &payload)]);
            let found = vec![Found::Ping(payload.clone()), Found::Pong(payload)];
            assert_eq!(whole(role, &stream), (found, None));
        }
    }
}

#[test]
fn section_5_5_1_close_payloads_are_parsed() {
    let close = |code: u16, reason: &str| [&code.to_be_bytes(), reason.as_bytes()].concat();
    for role in ROLES {
        let empty = frame(role, FIN | CLOSE, b"");
        assert_eq!(whole(role, &empty), (vec![Found::Close(None)], None));
        let longest = "é".repeat(61) + "!";
        for reason in ["", "going", &longest] {
            for code in [1000, 1001, 1003, 1007, 1014, 3000, 4999] {
                let stream = frame(role, FIN | CLOSE, &close(code, reason));
                let found = vec![Found::Close(Some((code, reason.to_owned())))];
                assert_eq!(whole(role, &stream), (found, None));
            }
        }
    }
}

#[test]
fn section_5_5_1_bytes_after_a_close_are_not_consumed() {
    for role in ROLES {
        let mut stream = frame(role, FIN | CLOSE, b"\x03\xE8");
        let close_len = stream.len();
        stream.extend(b"\xFF\xFF not a frame");
        let mut decoder = Decoder::new(role);
        let mut spares = Spares::default();
        let step = decoder.decode(&mut stream, 1024, &mut spares).unwrap();
        assert_eq!(step.consumed, close_len);
        assert!(step.event.is_some());
    }
}

#[test]
fn section_5_7_the_examples_are_decoded() {
    let hello = |role, bytes: &[u8]| assert_eq!(whole(role, bytes), (vec![text("Hello")], None));
    hello(Role::Client, b"\x81\x05Hello");
    hello(Role::Server, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    hello(Role::Client, b"\x01\x03Hel\x80\x02lo");
    let ping = (vec![Found::Ping(b"Hello".to_vec())], None);
    assert_eq!(whole(Role::Client, b"\x89\x05Hello"), ping);
    let pong = (vec![Found::Pong(b"Hello".to_vec())], None);
    assert_eq!(whole(Role::Server, b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), pong);
}

#[test]
fn section_6_each_role_decodes_the_frames_of_the_other() {
    let long = "Grüße ".repeat(20_000);
    for body in ["", "Grüße", &long] {
        for message in [Message::Text(body), Message::Binary(body.as_bytes())] {
            let mut masked = Vec::new();
            Encoder::client(&mut masked, [9, 8, 7, 6]).message(message);
            let mut plain = Vec::new();
            Encoder::server(&mut plain).message(message);
            for (role, wire) in [(Role::Server, masked), (Role::Client, plain)] {
                let mut reader = Reader::new(role, body.len());
                reader.read(&wire);
                let expected = match message {
                    Message::Text(body) => text(body),
                    Message::Binary(body) => Found::Binary(body.to_vec()),
                };
                assert!(reader.outcome() == (vec![expected], None));
            }
        }
    }
}
