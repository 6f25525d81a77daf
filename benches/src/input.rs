//! The input of the benchmarks: the same bytes in every run.

use weir::protocol::{Encoder, Message};

/// The masking key of every frame.
pub const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// Text of one byte per character.
pub fn ascii(len: usize) -> String {
    "The quick brown fox jumps over the lazy dog. ".chars().cycle().take(len).collect()
}

/// Text of one to four bytes per character, as close to `len` bytes as whole characters allow.
pub fn mixed(len: usize) -> String {
    let mut text = String::with_capacity(len + 4);
    for character in "Grüße, κόσμε: 日本語 \u{1F600}; ".chars().cycle() {
        if text.len() + character.len_utf8() > len {
            return text;
        }
        text.push(character);
    }
    text
}

/// A client's frame with this message.
pub fn frame(message: Message<'_>) -> Vec<u8> {
    let mut wire = Vec::new();
    Encoder::client(&mut wire, KEY).message(message);
    wire
}
