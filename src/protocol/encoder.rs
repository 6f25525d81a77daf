//! Encodes messages into frames: RFC 6455, 5.2 to 5.6 and 6.1.
//!
//! Appends to a caller's `Vec`, one frame per message, lengths in their shortest form. A server's
//! frames are not masked; a client's frames are masked with a key that the caller draws (10.3). It
//! does not compress, but marks a payload that is already compressed.

use std::rc::Rc;

use super::close::CloseFrame;
use super::frame::{CONTROL_BYTES_MAX, FrameHeader, Opcode};
use super::mask;
use super::message::{Masked, Message};

/// Writes one frame, or one message in one frame, to the end of a buffer (RFC 6455, 5.2).
#[derive(Debug)]
pub struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    mask: Option<[u8; 4]>,
}

impl<'a> Encoder<'a> {
    /// Writes server frames: unmasked (5.1).
    pub fn server(out: &'a mut Vec<u8>) -> Encoder<'a> {
        Encoder { out, mask: None }
    }

    /// Writes client frames, masked with `key`, which must be fresh and unpredictable (5.3).
    pub fn client(out: &'a mut Vec<u8>, key: [u8; 4]) -> Encoder<'a> {
        Encoder { out, mask: Some(key) }
    }

    /// Writes client frames if `mask` is a key, else server frames.
    pub fn with_mask(out: &'a mut Vec<u8>, mask: Option<[u8; 4]>) -> Encoder<'a> {
        Encoder { out, mask }
    }

    /// Writes a message in one frame.
    #[inline]
    pub fn message(self, message: Message<'_>) {
        self.frame(true, message.opcode(), message.as_bytes());
    }

    /// Writes the header of a server frame that is a whole message. The payload is written
    /// elsewhere.
    pub(crate) fn header(out: &mut Vec<u8>, compressed: bool, opcode: Opcode, payload_len: usize) {
        let payload_len = payload_len as u64;
        FrameHeader { fin: true, compressed, opcode, mask: None, payload_len }.write(out);
    }

    /// Writes a text message in one frame; the parts together are its payload.
    pub(crate) fn parts(self, compressed: bool, parts: &[&[u8]]) {
        let payload_len = parts.iter().map(|part| part.len() as u64).sum();
        let (mask, opcode) = (self.mask, Opcode::Text);
        FrameHeader { fin: true, compressed, opcode, mask, payload_len }.write(self.out);
        let start = self.out.len();
        parts.iter().for_each(|part| self.out.extend_from_slice(part));
        if let Some(key) = mask {
            mask::apply(key, 0, &mut self.out[start..]);
        }
    }

    /// Writes a message that is already masked, in one frame.
    #[inline]
    pub fn masked(out: &mut Vec<u8>, message: Masked<'_>) {
        let Masked { key, payload } = message;
        let payload_len = payload.len() as u64;
        FrameHeader {
            fin: true,
            compressed: false,
            opcode: Opcode::Binary,
            mask: Some(key),
            payload_len,
        }
        .write(out);
        out.extend_from_slice(payload);
    }

    /// Writes a message of this kind in one frame; `payload` is its compressed form (RFC 7692,
    /// 6.1).
    pub fn compressed(self, opcode: Opcode, payload: &[u8]) {
        self.write(true, true, opcode, payload);
    }

    /// Writes a ping. A payload of more than 125 bytes is truncated.
    pub fn ping(self, payload: &[u8]) {
        self.frame(true, Opcode::Ping, clip(payload));
    }

    /// Writes a pong. A payload of more than 125 bytes is truncated.
    pub fn pong(self, payload: &[u8]) {
        self.frame(true, Opcode::Pong, clip(payload));
    }

    /// Writes a Close frame (5.5.1), empty if `close` is `None`. A reason that does not fit is cut.
    pub fn close(self, close: Option<CloseFrame<'_>>) {
        let mut payload = [0; CONTROL_BYTES_MAX];
        let len = match close {
            None => 0,
            Some(CloseFrame { code, reason }) => {
                let CloseFrame { code, reason } = CloseFrame::new(code, reason);
                payload[..2].copy_from_slice(&code.get().to_be_bytes());
                payload[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
                2 + reason.len()
            }
        };
        self.frame(true, Opcode::Close, &payload[..len]);
    }

    /// Writes any frame. The caller is responsible for its place in the stream (5.4), and for the rules
    /// of control frames: one frame each, with at most 125 bytes (5.5).
    #[inline(always)]
    pub fn frame(self, fin: bool, opcode: Opcode, payload: &[u8]) {
        self.write(fin, false, opcode, payload);
    }

    #[inline(always)]
    fn write(self, fin: bool, compressed: bool, opcode: Opcode, payload: &[u8]) {
        let header = FrameHeader {
            fin,
            compressed,
            opcode,
            mask: self.mask,
            payload_len: payload.len() as u64,
        };
        header.write(self.out);
        let start = self.out.len();
        self.out.extend_from_slice(payload);
        if let Some(key) = self.mask {
            mask::apply(key, 0, &mut self.out[start..]);
        }
    }
}

pub(crate) fn clip(payload: &[u8]) -> &[u8] {
    &payload[..payload.len().min(CONTROL_BYTES_MAX)]
}

/// Size in bytes of a server's frame with a payload of `payload_len` bytes (5.2).
#[inline]
pub fn frame_bytes(payload_len: usize) -> usize {
    payload_len
        + match payload_len {
            0..=125 => 2,
            126..=0xFFFF => 4,
            _ => 10,
        }
}

/// A server frame that is encoded once and shared by all connections that receive it. A clone shares
/// the bytes. Not `Send`: each loop encodes its own.
#[derive(Debug, Clone)]
pub struct SharedFrame {
    bytes: Rc<[u8]>,
    opcode: Opcode,
    /// Compressed for the first connection that needs it; `None` inside if that would not be
    /// smaller.
    #[cfg(feature = "deflate")]
    compressed: std::cell::OnceCell<Option<Rc<[u8]>>>,
}

impl SharedFrame {
    /// Encodes a message.
    pub fn message(message: Message<'_>) -> SharedFrame {
        SharedFrame::new(message.opcode(), message.as_bytes())
    }

    /// Encodes a ping. A payload of more than 125 bytes is truncated.
    pub fn ping(payload: &[u8]) -> SharedFrame {
        SharedFrame::new(Opcode::Ping, clip(payload))
    }

    fn new(opcode: Opcode, payload: &[u8]) -> SharedFrame {
        let mut bytes = Vec::with_capacity(frame_bytes(payload.len()));
        Encoder::server(&mut bytes).frame(true, opcode, payload);
        SharedFrame {
            bytes: bytes.into(),
            opcode,
            #[cfg(feature = "deflate")]
            compressed: Default::default(),
        }
    }

    /// The encoded frame.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The encoded frame, for sharing.
    pub(crate) fn bytes(&self) -> &Rc<[u8]> {
        &self.bytes
    }

    /// The frame's opcode.
    pub fn opcode(&self) -> Opcode {
        self.opcode
    }

    /// The payload without the header, for a client, which must mask it.
    pub fn payload(&self) -> &[u8] {
        payload(&self.bytes)
    }
}

#[cfg(feature = "deflate")]
impl SharedFrame {
    /// The encoded frame with its message compressed, for connections with permessage-deflate.
    /// `None` if that is not smaller, or if `deflater` declined. The first result is kept,
    /// even if a later call passes another deflater.
    ///
    /// The compressed message does not refer to earlier messages, and refers back no further than
    /// its own length. So it suits every window that is at least that long (RFC 7692, 7.1.2).
    pub fn compressed(&self, deflater: &mut super::deflate::Deflater) -> Option<&Rc<[u8]>> {
        let make = || {
            let payload = deflater.deflate(self.payload(), super::deflate::WINDOW_BITS_MAX, &[])?;
            let mut bytes = Vec::with_capacity(frame_bytes(payload.len()));
            Encoder::server(&mut bytes).compressed(self.opcode, payload);
            Some(bytes.into())
        };
        self.compressed.get_or_init(make).as_ref()
    }

    /// Whether [`compressed`](SharedFrame::compressed) was called, so that the next call costs
    /// nothing.
    pub(crate) fn was_compressed(&self) -> bool {
        self.compressed.get().is_some()
    }
}

/// The payload of a server frame that we encoded.
pub(crate) fn payload(frame: &[u8]) -> &[u8] {
    let header = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    &frame[header..]
}

#[cfg(test)]
mod tests {
    use super::super::{CloseCode, Role};
    use super::*;

    #[test]
    fn lengths_take_their_shortest_form() {
        for (len, header) in [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)] {
            let payload = vec![7; len];
            let mut out = Vec::with_capacity(frame_bytes(len));
            let allocated = out.as_ptr();
            Encoder::server(&mut out).message(Message::Binary(&payload));
            assert_eq!(out.as_ptr(), allocated, "an exact buffer has grown");
            assert_eq!(out.len(), header + len);
            assert_eq!(out.len(), frame_bytes(len));
            let (parsed, end) = FrameHeader::parse(&out, Role::Client, false).unwrap().unwrap();
            assert_eq!((parsed.payload_len, end), (len as u64, header));
            let shared = SharedFrame::message(Message::Binary(&payload));
            assert_eq!(shared.as_bytes(), out);
            assert_eq!(shared.payload(), payload);
        }
    }

    #[test]
    fn encoding_equals_the_examples_of_the_rfc() {
        // 5.7.
        let mut out = Vec::new();
        Encoder::server(&mut out).message(Message::Text("Hello"));
        assert_eq!(out, b"\x81\x05Hello");
        out.clear();
        Encoder::client(&mut out, [0x37, 0xFA, 0x21, 0x3D]).message(Message::Text("Hello"));
        assert_eq!(out, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        out.clear();
        let key = [0x37, 0xFA, 0x21, 0x3D];
        Encoder::masked(&mut out, Masked { key, payload: b"\x7f\x9f\x4d\x51\x58" });
        assert_eq!(out, b"\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    }

    #[test]
    fn a_close_is_empty_or_has_a_truncated_reason() {
        let mut out = Vec::new();
        Encoder::server(&mut out).close(None);
        assert_eq!(out, b"\x88\x00");
        out.clear();
        let reason = "x".repeat(200);
        let close = CloseFrame { code: CloseCode::NORMAL, reason: &reason };
        Encoder::server(&mut out).close(Some(close));
        assert_eq!(out.len(), 2 + CONTROL_BYTES_MAX);
        assert_eq!(&out[..4], b"\x88\x7d\x03\xe8");
    }
}
