//! Compresses messages: RFC 7692, 7.2.1.
//!
//! All connections share two streams (for long and for short messages) for each window size in use,
//! and one buffer. The window that a message may refer to is a parameter. There is no result if it
//! would not be smaller than the message.

use std::fmt;

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Status};

use super::compressed::{TAIL, compressed_bytes_max};
use super::levels::{LEVELS, MEM_LEVELS};
use super::window::{WINDOW_BITS_MAX, WINDOW_BITS_MIN};

/// A larger output buffer is replaced by a smaller one at the next message that fits.
const SPARE_BYTES: usize = 256 * 1024;
/// A message that fits into a window of this size gets no smaller with a larger window, and a
/// smaller window stays in the CPU's cache.
const SMALL_WINDOW_BITS: u8 = 12;
/// A short message has no more symbols than a stream with this memory level collects in a block, so
/// more memory makes it no smaller. But more memory costs more setup for each message: for 1 KiB of
/// JSON the difference to memory level 8 is a sixth of the time, at level 1 as at level 6. (Most of
/// the remaining setup, 2 µs, is the hash table, whose size zlib-rs fixes.)
const SHORT_MEM_LEVEL: u8 = 6;
/// Maximum size of a short message: below the number of symbols that ends a block.
const SHORT_BYTES_MAX: usize = (1 << (SHORT_MEM_LEVEL + 6)) - 2;
/// Bytes of a window that zlib cannot use (its `MIN_LOOKAHEAD`).
const LOOKAHEAD_BYTES: usize = 262;
const WINDOW_SIZES: usize = (WINDOW_BITS_MAX - WINDOW_BITS_MIN + 1) as usize;

/// Compresses the messages of any number of connections, one at a time.
pub struct Deflater {
    level: u8,
    mem_level: u8,
    /// By window bits, from [`WINDOW_BITS_MIN`] on; for long messages and for short ones.
    streams: [[Option<Deflate>; 2]; WINDOW_SIZES],
    /// Zeroed once and filled many times.
    out: Vec<u8>,
}

impl Deflater {
    /// A deflater of this level, 1 to 9. Its streams have about 2^(`mem_level` + 9) bytes to
    /// collect a block in, or as many as a short message needs. Values out of range are clamped.
    pub fn new(level: u8, mem_level: u8) -> Deflater {
        Deflater {
            level: level.clamp(*LEVELS.start(), *LEVELS.end()),
            mem_level: mem_level.clamp(*MEM_LEVELS.start(), *MEM_LEVELS.end()),
            streams: Default::default(),
            out: Vec::new(),
        }
    }

    /// Compresses `message` for a peer whose window has 2^`window_bits` bytes (9 to 15; other values
    /// are clamped) and contains `window` from earlier messages. Returns the payload to send (RFC
    /// 7692, 7.2.1), or `None` if it would not be smaller than the message.
    pub fn deflate(&mut self, message: &[u8], window_bits: u8, window: &[u8]) -> Option<&[u8]> {
        let bits = stream_bits(window.len() + message.len(), window_bits);
        let is_short = message.len() <= SHORT_BYTES_MAX;
        let mem_level = if is_short { self.mem_level.min(SHORT_MEM_LEVEL) } else { self.mem_level };
        let slot = &mut self.streams[usize::from(bits - WINDOW_BITS_MIN)][usize::from(is_short)];
        let stream = slot.get_or_insert_with(|| {
            Deflate::new_with_config(DeflateConfig {
                level: self.level.into(),
                // Negative: raw data, without a zlib header.
                window_bits: -i32::from(bits),
                mem_level: mem_level.into(),
                ..DeflateConfig::default()
            })
        });
        stream.reset();
        if !window.is_empty() {
            stream.set_dictionary(window).ok()?;
        }
        let room = compressed_bytes_max(message.len());
        if self.out.len() < room {
            self.out.resize(room, 0);
        } else if self.out.len() > SPARE_BYTES && room <= SPARE_BYTES {
            self.out = vec![0; room];
        }
        let status = stream.compress(message, &mut self.out[..room], DeflateFlush::SyncFlush);
        let (read, written) = (stream.total_in(), stream.total_out() as usize);
        // A full buffer could mean that output is missing.
        if status != Ok(Status::Ok) || read != message.len() as u64 || written == room {
            *slot = None;
            return None;
        }
        let payload = self.out[..written].strip_suffix(&TAIL)?;
        (payload.len() < message.len()).then_some(payload)
    }
}

/// The window bits to compress this many bytes with.
fn stream_bits(bytes: usize, window_bits: u8) -> u8 {
    let most = window_bits.clamp(WINDOW_BITS_MIN, WINDOW_BITS_MAX);
    if bytes + LOOKAHEAD_BYTES <= 1 << SMALL_WINDOW_BITS {
        most.min(SMALL_WINDOW_BITS)
    } else {
        most
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater")
            .field("level", &self.level)
            .field("mem_level", &self.mem_level)
            .finish_non_exhaustive()
    }
}
