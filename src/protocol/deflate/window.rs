//! The LZ77 window that one direction of a connection carries from message to message.
//!
//! Holds the last bytes of the uncompressed messages and grows with use, up to the agreed size. It
//! is the only state that context takeover needs (RFC 7692, 7.1.1); the streams that use it belong
//! to the loop.

/// The latest message bytes of one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    bytes: Vec<u8>,
    bits: u8,
}

impl Window {
    /// Maximum size in bytes of a window of 2^`bits`. 2^8 is rounded up to 2^9, as peers do that
    /// agree to it (see [`WINDOW_BITS_MIN`]); more than [`WINDOW_BITS_MAX`] bits count as that.
    pub const fn bytes_max(bits: u8) -> usize {
        1 << match bits {
            0..WINDOW_BITS_MIN => WINDOW_BITS_MIN,
            WINDOW_BITS_MIN..=WINDOW_BITS_MAX => bits,
            _ => WINDOW_BITS_MAX,
        }
    }

    /// An empty window of at most [`bytes_max(bits)`](Window::bytes_max) bytes; it allocates nothing
    /// yet.
    pub fn new(bits: u8) -> Window {
        Window { bytes: Vec::new(), bits }
    }

    /// Appends message bytes and drops the oldest.
    pub fn push(&mut self, message: &[u8]) {
        let most = Window::bytes_max(self.bits);
        let kept = &message[message.len().saturating_sub(most)..];
        let excess = (self.bytes.len() + kept.len()).saturating_sub(most);
        self.bytes.drain(..excess);
        // Exact: a vector's own growth would exceed the window's size.
        let wanted = (self.bytes.len() + kept.len()).next_power_of_two().min(most);
        self.bytes.reserve_exact(wanted - self.bytes.len());
        self.bytes.extend_from_slice(kept);
    }

    /// Drops all bytes and frees the memory. A compressor may always do that: it then refers to no
    /// earlier message. A decompressor must not while its peer may refer to earlier messages.
    pub fn clear(&mut self) {
        self.bytes = Vec::new();
    }

    /// The window's bytes, the latest last.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The agreed size, as an exponent of 2.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Memory held beyond this struct.
    pub fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

/// The largest window of DEFLATE: 2^15 bytes (RFC 7692, 7.1.2).
pub const WINDOW_BITS_MAX: u8 = 15;
/// The smallest window that messages are compressed with. RFC 7692 also allows 2^8 bytes, but zlib
/// and its derivatives cannot limit a raw stream to that.
pub const WINDOW_BITS_MIN: u8 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_only_the_last_bytes() {
        let message: Vec<u8> = (0..5000).map(|i| (i % 251) as u8).collect();
        for piece in [1, 7, 100, 511, 512, 513, 2000] {
            let mut window = Window::new(9);
            assert_eq!(window.held_bytes(), 0);
            let mut at = 0;
            for piece in message.chunks(piece) {
                window.push(piece);
                at += piece.len();
                assert_eq!(window.as_bytes(), &message[at.saturating_sub(512)..at]);
                assert!(window.held_bytes() <= 512, "{} bytes", window.held_bytes());
            }
            window.clear();
            assert_eq!((window.as_bytes(), window.held_bytes()), (&b""[..], 0));
        }
    }

    #[test]
    fn a_window_has_a_size_that_deflate_can_use() {
        let sizes = [0, 8, 9, 12, 15, 16, 255].map(Window::bytes_max);
        assert_eq!(sizes, [512, 512, 512, 4096, 32768, 32768, 32768]);
    }

    #[test]
    fn a_window_allocates_little_for_few_bytes() {
        let mut window = Window::new(15);
        window.push(&[7; 100]);
        assert!(window.held_bytes() <= 128);
    }
}
