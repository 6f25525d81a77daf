//! Encodes frames by hand, valid or invalid (RFC 6455, 5.2).

use weir::protocol::Role;

pub(super) const FIN: u8 = 0x80;
pub(super) const RSV1: u8 = 0x40;
pub(super) const RSV2: u8 = 0x20;
pub(super) const RSV3: u8 = 0x10;

pub(super) const CONTINUATION: u8 = 0x0;
pub(super) const TEXT: u8 = 0x1;
pub(super) const BINARY: u8 = 0x2;
pub(super) const CLOSE: u8 = 0x8;
pub(super) const PING: u8 = 0x9;
pub(super) const PONG: u8 = 0xA;

pub(super) const ROLES: [Role; 2] = [Role::Server, Role::Client];

const MASK: u8 = 0x80;
/// The key of the examples in 5.7.
const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// The form of a payload length: 7, 16 or 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Short,
    Medium,
    Long,
}

impl Form {
    fn shortest(len: u64) -> Form {
        match len {
            0..=125 => Form::Short,
            126..=65535 => Form::Medium,
            _ => Form::Long,
        }
    }
}

/// The header of a frame for a reader of this role. `len` is written in `form`, even if that is not the
/// shortest.
pub(super) fn header(reader: Role, first: u8, form: Form, len: u64) -> Vec<u8> {
    let (mask_bit, key) = match reader {
        Role::Server => (MASK, &KEY[..]),
        Role::Client => (0, &[][..]),
    };
    let mut bytes = vec![first];
    match form {
        Form::Short => bytes.push(mask_bit | len as u8),
        Form::Medium => {
            bytes.push(mask_bit | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        Form::Long => {
            bytes.push(mask_bit | 127);
            bytes.extend(len.to_be_bytes());
        }
    }
    bytes.extend(key);
    bytes
}

/// The header of a frame that announces `len` bytes.
pub(super) fn announced(reader: Role, first: u8, len: u64) -> Vec<u8> {
    header(reader, first, Form::shortest(len), len)
}

/// `payload`, masked if the reader expects that.
pub(super) fn masked(reader: Role, payload: &[u8]) -> Vec<u8> {
    match reader {
        Role::Server => {
            payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
        }
        Role::Client => payload.to_vec(),
    }
}

/// A frame whose length is written in `form`.
pub(super) fn frame_in(reader: Role, first: u8, form: Form, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(reader, first, form, payload.len() as u64);
    bytes.extend(masked(reader, payload));
    bytes
}

/// A frame with its length in the shortest form.
pub(super) fn frame(reader: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    frame_in(reader, first, Form::shortest(payload.len() as u64), payload)
}

/// Several frames, each `(first byte, payload)`.
pub(super) fn frames(reader: Role, frames: &[(u8, &[u8])]) -> Vec<u8> {
    frames.iter().flat_map(|(first, payload)| frame(reader, *first, payload)).collect()
}
