//! Streams of frames from a target's input: mostly valid ones, with some faults.

use weir::protocol::Role;

use crate::bytes::Bytes;

/// Maximum size of a stream: longer ones would find nothing more.
const STREAM_BYTES_MAX: usize = 128 * 1024;
/// The text of messages: one character of each width.
const TEXT: &str = "aé€\u{1F600}";

/// Interprets the input as instructions, one frame or one fault each.
pub(crate) fn build(role: Role, input: &mut Bytes<'_>) -> Vec<u8> {
    let mut stream = Stream { role, bytes: Vec::new(), in_message: false, text_at: 0 };
    while stream.bytes.len() < STREAM_BYTES_MAX && stream.step(input).is_some() {}
    stream.bytes
}

struct Stream {
    role: Role,
    bytes: Vec<u8>,
    /// Whether the next data frame must be a continuation.
    in_message: bool,
    /// Payload bytes of the message so far.
    text_at: usize,
}

impl Stream {
    fn step(&mut self, input: &mut Bytes<'_>) -> Option<()> {
        match input.below(128)? {
            0..=39 => self.data(input.below(8)?, input.u8()?),
            40..=63 => self.data(input.below(130)?, input.u8()?),
            64..=79 => self.data(usize::from(input.u16()?), input.u8()?),
            80..=123 => {
                let payload = input.below(126).map(|len| input.up_to(len))?;
                self.frame(0x89 + input.u8()? % 2, payload.len() as u64, payload);
            }
            124 => self.close(input)?,
            125 => self.wild(input)?,
            126 => self.flip(input)?,
            _ => self.bytes.extend(input.up_to(1)),
        }
        Some(())
    }

    /// A data frame that is valid at its place. `kind` selects whether it starts a text, whether it
    /// is marked as compressed, and whether it is the last of its message. Characters may continue
    /// in the next fragment; the last one is complete.
    fn data(&mut self, mut len: usize, kind: u8) {
        let compressed = if kind & 0x70 == 0x70 { 0x40 } else { 0 };
        let opcode = if self.in_message { 0 } else { compressed | (1 + kind % 2) };
        let fin = kind & 0x80;
        if !self.in_message {
            self.text_at = 0;
        }
        self.in_message = fin == 0;
        while fin != 0 && !TEXT.is_char_boundary((self.text_at + len) % TEXT.len()) {
            len += 1;
        }
        let payload = text(self.text_at, len);
        self.text_at += len;
        self.frame(fin | opcode, len as u64, &payload);
    }

    /// A Close whose code and reason are often wrong, and which is often followed by more frames.
    fn close(&mut self, input: &mut Bytes<'_>) -> Option<()> {
        let code = 995 + u16::from(input.u8()? % 24);
        let len = input.below(8)?;
        let payload = [&code.to_be_bytes(), input.up_to(len)].concat();
        let payload = &payload[..payload.len().min(input.below(12)?)];
        self.frame(0x88, payload.len() as u64, payload);
        Some(())
    }

    /// A frame with any first byte, any length in any form, and an unrelated payload.
    fn wild(&mut self, input: &mut Bytes<'_>) -> Option<()> {
        let first = input.u8()?;
        let exponent = input.below(64)?;
        let len = (1u64 << exponent).wrapping_add(u64::from(input.u8()? % 4)).wrapping_sub(2);
        let form = [shortest(len), 126, 127, len as u8 % 128][input.below(4)?];
        let payload_len = input.below(256)?;
        self.frame_in(form, first, len, &text(0, payload_len));
        Some(())
    }

    /// Flips a bit in the last few bytes.
    fn flip(&mut self, input: &mut Bytes<'_>) -> Option<()> {
        let bit = input.below(256)?;
        let back = bit / 8;
        if let Some(at) = self.bytes.len().checked_sub(1 + back) {
            self.bytes[at] ^= 1 << (bit % 8);
        }
        Some(())
    }

    fn frame(&mut self, first: u8, len: u64, payload: &[u8]) {
        self.frame_in(shortest(len), first, len, payload);
    }

    /// A frame whose 7-bit length field is `form`.
    fn frame_in(&mut self, form: u8, first: u8, len: u64, payload: &[u8]) {
        let (mask_bit, key) = match self.role {
            Role::Server => (0x80, [0x37, 0xFA, 0x21, first]),
            Role::Client => (0, [0; 4]),
        };
        self.bytes.extend([first, mask_bit | form]);
        match form {
            126 => self.bytes.extend((len as u16).to_be_bytes()),
            127 => self.bytes.extend(len.to_be_bytes()),
            _ => {}
        }
        if mask_bit != 0 {
            self.bytes.extend(key);
        }
        let masked = payload.iter().zip(key.iter().cycle());
        self.bytes.extend(masked.map(|(byte, key)| byte ^ key));
    }
}

/// The 7-bit length field of a length's shortest form (5.2).
fn shortest(len: u64) -> u8 {
    match len {
        0..126 => len as u8,
        126..65536 => 126,
        _ => 127,
    }
}

/// The repeated text, from its byte `at` on.
fn text(at: usize, len: usize) -> Vec<u8> {
    let at = at % TEXT.len();
    TEXT.bytes().cycle().skip(at).take(len).collect()
}
