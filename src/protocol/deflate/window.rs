//! The LZ77 window that one direction of a connection carries from message to message.
//!
//! Holds the end of what was said in compressed messages, and no more than what was said: it grows
//! with use, up to the agreed size. It is all that context takeover needs to be remembered (RFC 7692,
//! 7.1.1); the streams that work with it are the loop's.

use super::WINDOW_BITS_MIN;

/// The latest bytes of one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    bytes: Vec<u8>,
    bits: u8,
}

impl Window {
    /// Bytes that a window of 2^`bits` may come to hold. One of 2^8 is taken for the next larger, as
    /// the peers do that agreed to it (see [`WINDOW_BITS_MIN`]).
    pub const fn bytes_max(bits: u8) -> usize {
        1 << if bits < WINDOW_BITS_MIN { WINDOW_BITS_MIN } else { bits }
    }

    /// An empty window of 2^`bits` bytes, which holds no memory yet.
    pub fn new(bits: u8) -> Window {
        Window { bytes: Vec::new(), bits }
    }

    /// Notes what was said last.
    pub fn push(&mut self, said: &[u8]) {
        let most = Window::bytes_max(self.bits);
        let kept = &said[said.len().saturating_sub(most)..];
        let excess = (self.bytes.len() + kept.len()).saturating_sub(most);
        self.bytes.drain(..excess);
        // Exactly: a vector's own growth would go past the window's size.
        let wanted = (self.bytes.len() + kept.len()).next_power_of_two().min(most);
        self.bytes.reserve_exact(wanted - self.bytes.len());
        self.bytes.extend_from_slice(kept);
    }

    /// Forgets everything, and gives the memory back. A compressor may always do that: it refers to
    /// nothing then. A decompressor must not while its peer may refer to what was said.
    pub fn clear(&mut self) {
        self.bytes = Vec::new();
    }

    /// What is remembered, the latest last.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its agreed size, as an exponent of 2.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Memory held beyond this struct.
    pub fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_end_of_what_was_said_and_no_more() {
        let said: Vec<u8> = (0..5000).map(|i| (i % 251) as u8).collect();
        for piece in [1, 7, 100, 511, 512, 513, 2000] {
            let mut window = Window::new(9);
            assert_eq!(window.held_bytes(), 0);
            let mut at = 0;
            for piece in said.chunks(piece) {
                window.push(piece);
                at += piece.len();
                assert_eq!(window.as_bytes(), &said[at.saturating_sub(512)..at]);
                assert!(window.held_bytes() <= 512, "{} bytes", window.held_bytes());
            }
            window.clear();
            assert_eq!((window.as_bytes(), window.held_bytes()), (&b""[..], 0));
        }
    }

    #[test]
    fn a_little_said_costs_little() {
        let mut window = Window::new(15);
        window.push(&[7; 100]);
        assert!(window.held_bytes() <= 128);
    }
}
