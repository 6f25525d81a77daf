//! The frame header: RFC 6455, 5.2.
//!
//! Parses and writes the 2 to 14 bytes before a payload. Rejects an illegal header as soon as its
//! bytes prove it illegal. Does not know messages: the [`Decoder`](super::Decoder) checks whether a
//! continuation is in place and whether a length is acceptable.

use super::error::ProtocolError;

/// The longest header: two bytes, a 64-bit length, a masking key.
pub(crate) const HEADER_BYTES_MAX: usize = 14;
/// The longest payload of a control frame (5.5).
pub(crate) const CONTROL_BYTES_MAX: usize = 125;

pub(super) const FIN: u8 = 0x80;
pub(super) const RSV: u8 = 0x70;
pub(super) const RSV1: u8 = 0x40;
pub(super) const MASK: u8 = 0x80;
pub(super) const LENGTH_16: u8 = 126;
pub(super) const LENGTH_64: u8 = 127;
pub(super) const FIN_TEXT: u8 = FIN | Opcode::Text as u8;
pub(super) const FIN_BINARY: u8 = FIN | Opcode::Binary as u8;

/// The role of this endpoint, which decides on masking (5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We accepted the connection: input is masked, output is not.
    Server,
    /// We opened the connection: output is masked, input is not.
    Client,
}

/// The type of a frame (5.2, 11.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of the current message.
    Continuation = 0x0,
    /// UTF-8 text.
    Text = 0x1,
    /// Bytes.
    Binary = 0x2,
    /// Starts or answers the closing handshake.
    Close = 0x8,
    /// Requests a pong.
    Ping = 0x9,
    /// Answers a ping, or is an unsolicited heartbeat.
    Pong = 0xA,
}

/// Opcodes by the four bits of the header; undefined ones are `None`.
const OPCODES: [Option<Opcode>; 16] = {
    let mut opcodes = [None; 16];
    opcodes[0x0] = Some(Opcode::Continuation);
    opcodes[0x1] = Some(Opcode::Text);
    opcodes[0x2] = Some(Opcode::Binary);
    opcodes[0x8] = Some(Opcode::Close);
    opcodes[0x9] = Some(Opcode::Ping);
    opcodes[0xA] = Some(Opcode::Pong);
    opcodes
};

impl Opcode {
    /// Whether this is a control frame, which may appear between the fragments of a message (5.4).
    pub fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// The header of one frame, parsed or to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Whether this frame is the last of its message.
    pub fin: bool,
    /// RSV1: whether this frame starts a compressed message (RFC 7692, 6).
    pub compressed: bool,
    /// The frame's type.
    pub opcode: Opcode,
    /// The masking key.
    pub mask: Option<[u8; 4]>,
    /// Announced payload length, at most 2^63 - 1. The peer chose it: never allocate from it.
    pub payload_len: u64,
}

impl FrameHeader {
    /// Parses the header at the start of `bytes`, as read by an endpoint of role `reader`.
    /// `deflate` is whether permessage-deflate was agreed on; otherwise RSV1 has no meaning.
    ///
    /// Returns the header and its length, or `None` if `bytes` is a valid but incomplete header.
    ///
    /// # Errors
    /// Anything that makes the frame illegal by its header alone, as soon as the offending field is
    /// complete.
    #[inline(always)]
    pub fn parse(
        bytes: &[u8],
        reader: Role,
        deflate: bool,
    ) -> Result<Option<(FrameHeader, usize)>, ProtocolError> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        let (opcode, fin) = parse_first(first, deflate)?;
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        check_second(second, opcode.is_control(), reader)?;
        let Some((payload_len, length_end)) = parse_length(bytes, second & !MASK)? else {
            return Ok(None);
        };
        // `check_second` has already rejected a frame whose mask bit does not fit the reader's
        // role.
        if reader == Role::Client {
            let compressed = first & RSV1 != 0;
            let header = FrameHeader { fin, compressed, opcode, mask: None, payload_len };
            return Ok(Some((header, length_end)));
        }
        let key = bytes[length_end..].first_chunk::<4>();
        let compressed = first & RSV1 != 0;
        let header = |&key| FrameHeader { fin, compressed, opcode, mask: Some(key), payload_len };
        Ok(key.map(|key| (header(key), length_end + 4)))
    }

    /// Appends the header's bytes to `out`, the length in its shortest form (5.2): at most 14 bytes.
    #[inline(always)]
    pub fn write(&self, out: &mut Vec<u8>) {
        let first = self.opcode as u8
            | if self.fin { FIN } else { 0 }
            | if self.compressed { RSV1 } else { 0 };
        write_parts(first, self.payload_len, self.mask, out);
    }
}

/// Appends a header with this first byte to `out`, the length in its shortest form.
#[inline(always)]
pub(super) fn write_parts(first: u8, payload_len: u64, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let masked = if mask.is_some() { MASK } else { 0 };
    match payload_len {
        short @ 0..=125 => out.extend_from_slice(&[first, masked | short as u8]),
        medium @ 126..=0xFFFF => {
            let [a, b] = (medium as u16).to_be_bytes();
            out.extend_from_slice(&[first, masked | LENGTH_16, a, b]);
        }
        long => {
            out.extend_from_slice(&[first, masked | LENGTH_64]);
            out.extend_from_slice(&long.to_be_bytes());
        }
    }
    if let Some(key) = mask {
        out.extend_from_slice(&key);
    }
}

/// A message of at most 125 bytes, in one frame that `reader` accepts, complete at the start of
/// `bytes`. Most frames are like this, and a few comparisons recognize them. `None` for any other
/// input, valid or not: [`FrameHeader::parse`] decides on it.
#[inline(always)]
pub(super) fn short_message(bytes: &[u8], reader: Role) -> Option<ShortMessage> {
    let (mask, key, payload_start) = match reader {
        Role::Server => {
            let &[_, _, key @ ..] = bytes.first_chunk::<6>()?;
            (MASK, Some(key), 6)
        }
        Role::Client => (0, None, 2),
    };
    let &[first, second] = bytes.first_chunk()?;
    let opcode = match first {
        FIN_TEXT => Opcode::Text,
        FIN_BINARY => Opcode::Binary,
        _ => return None,
    };
    // If the mask bit is wrong, the result is above 125, too.
    let payload_len = usize::from(second ^ mask);
    let is_whole = payload_len <= CONTROL_BYTES_MAX && payload_len <= bytes.len() - payload_start;
    is_whole.then_some(ShortMessage { opcode, key, payload_start, payload_len })
}

/// The result of [`short_message`].
pub(super) struct ShortMessage {
    pub(super) opcode: Opcode,
    pub(super) key: Option<[u8; 4]>,
    pub(super) payload_start: usize,
    pub(super) payload_len: usize,
}

/// Parses the first byte: opcode and FIN.
#[inline(always)]
pub(super) fn parse_first(first: u8, deflate: bool) -> Result<(Opcode, bool), ProtocolError> {
    // 5.2: "MUST be 0 unless an extension is negotiated that defines meanings".
    if first & RSV != 0 && !(deflate && is_compressed(first)) {
        return Err(ProtocolError::ReservedBits);
    }
    // 5.2: "If an unknown opcode is received, the receiving endpoint MUST fail".
    let opcode = OPCODES[usize::from(first & 0x0F)].ok_or(ProtocolError::ReservedOpcode)?;
    let fin = first & FIN != 0;
    // 5.5: "and MUST NOT be fragmented".
    if opcode.is_control() && !fin {
        return Err(ProtocolError::FragmentedControl);
    }
    Ok((opcode, fin))
}

/// Whether RSV1 is the only reserved bit and the frame may have it (RFC 7692, 6): an endpoint "MUST
/// NOT set" it on "control frames and non-first fragments".
#[cold]
fn is_compressed(first: u8) -> bool {
    let begins = matches!(OPCODES[usize::from(first & 0x0F)], Some(Opcode::Text | Opcode::Binary));
    first & RSV == RSV1 && begins
}

/// Checks the mask bit and the short length.
#[inline]
pub(super) fn check_second(
    second: u8,
    is_control: bool,
    reader: Role,
) -> Result<(), ProtocolError> {
    // 5.1: "The server MUST close the connection upon receiving a frame that is not masked",
    // "A client MUST close a connection if it detects a masked frame".
    match (reader, second & MASK != 0) {
        (Role::Server, false) => return Err(ProtocolError::Unmasked),
        (Role::Client, true) => return Err(ProtocolError::Masked),
        _ => {}
    }
    // 5.5: "All control frames MUST have a payload length of 125 bytes or less".
    if is_control && usize::from(second & !MASK) > CONTROL_BYTES_MAX {
        return Err(ProtocolError::OversizedControl);
    }
    Ok(())
}

/// The payload length and the offset behind it. 5.2: "the minimal number of bytes MUST be used to
/// encode the length", "the most significant bit MUST be 0".
#[inline]
pub(super) fn parse_length(bytes: &[u8], short: u8) -> Result<Option<(u64, usize)>, ProtocolError> {
    match short {
        LENGTH_16 => {
            let Some(&[a, b]) = bytes.get(2..4) else {
                return Ok(None);
            };
            let length = u64::from(u16::from_be_bytes([a, b]));
            if length < u64::from(LENGTH_16) {
                return Err(ProtocolError::NonMinimalLength);
            }
            Ok(Some((length, 4)))
        }
        LENGTH_64 => {
            let Some(length) = bytes.get(2..10).and_then(|eight| eight.try_into().ok()) else {
                return Ok(None);
            };
            let length = u64::from_be_bytes(length);
            if length > i64::MAX as u64 {
                return Err(ProtocolError::LengthOverflow);
            }
            if length <= 0xFFFF {
                return Err(ProtocolError::NonMinimalLength);
            }
            Ok(Some((length, 10)))
        }
        short => Ok(Some((u64::from(short), 2))),
    }
}

/// The length of the frame at the start of `bytes`, header and payload. `bytes` must be frames that
/// we encoded, with a complete header.
pub(crate) fn frame_len(bytes: &[u8]) -> usize {
    let second = bytes[1];
    let (header, payload) = match second & !MASK {
        LENGTH_16 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
        LENGTH_64 => {
            let length = bytes[2..10].iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
            (10, length)
        }
        short => (2, usize::from(short)),
    };
    let mask = if second & MASK != 0 { 4 } else { 0 };
    header + mask + payload
}

/// Whether the frame at the start of `bytes`, which we encoded, carries a message or a fragment.
pub(crate) fn is_message(bytes: &[u8]) -> bool {
    bytes[0] & 0x8 == 0
}

/// Whether the frame at the start of `bytes`, which we encoded, is a Close.
pub(crate) fn is_close(bytes: &[u8]) -> bool {
    bytes[0] & 0x0F == Opcode::Close as u8
}
