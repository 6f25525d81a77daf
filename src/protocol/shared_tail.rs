//! The end of a text message that many messages share, behind heads of their own.
//!
//! A message to many receivers often differs only in its first bytes, such as the id of a
//! subscription. The rest is in memory once, and compressed once: DEFLATE refers to earlier bytes by
//! their distance, so what was compressed with an empty window is valid behind any head. The head
//! precedes it as a stored block (RFC 1951, 3.2.4). [`SharedFrame`](super::SharedFrame) is the form
//! for messages that are the same as a whole.

use std::fmt;
use std::sync::Arc;
#[cfg(feature = "deflate")]
use std::sync::OnceLock;

#[cfg(feature = "deflate")]
use super::deflate::{Deflater, WINDOW_BITS_MAX};

/// The shared end of text messages, for
/// [`Context::send_joined`](crate::reactor::Context::send_joined). Clones share the bytes and their
/// compressed form.
///
/// ```
/// use weir::protocol::SharedTail;
/// use weir::reactor::{ConnId, Context};
///
/// fn deliver(cx: &mut Context<'_>, subscriptions: &[(ConnId, &str)], event: &str) {
///     let tail = SharedTail::new(format!("{event}]").into_bytes());
///     for (conn, subscription) in subscriptions {
///         let head = format!(r#"["EVENT","{subscription}","#);
///         let _ = cx.send_joined(*conn, head.as_bytes(), &tail);
///     }
/// }
/// ```
#[derive(Clone)]
pub struct SharedTail(Arc<Tail>);

struct Tail {
    bytes: Arc<[u8]>,
    /// Compressed for the first connection that needs it; `None` inside if that is not smaller.
    #[cfg(feature = "deflate")]
    compressed: OnceLock<Option<Arc<[u8]>>>,
}

impl SharedTail {
    /// The end of messages; each head and the tail together must be UTF-8 (RFC 6455, 5.6).
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> SharedTail {
        SharedTail(Arc::new(Tail {
            bytes: bytes.into(),
            #[cfg(feature = "deflate")]
            compressed: OnceLock::new(),
        }))
    }

    /// The bytes, uncompressed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The bytes, for sharing.
    pub(crate) fn bytes(&self) -> &Arc<[u8]> {
        &self.0.bytes
    }
}

#[cfg(feature = "deflate")]
impl SharedTail {
    /// The tail in compressed form, to follow a [`stored_block`] of the head. `None` if the message
    /// would not become smaller. The first result is kept.
    ///
    /// It refers back no further than its own length, so it suits every window that is at least
    /// that long (RFC 7692, 7.1.2).
    pub(crate) fn compressed(&self, deflater: &mut Deflater) -> Option<&Arc<[u8]>> {
        let make = || {
            let payload = deflater.deflate(&self.0.bytes, WINDOW_BITS_MAX, &[])?;
            let is_smaller = payload.len() + STORED_HEADER_BYTES < self.0.bytes.len();
            is_smaller.then(|| payload.into())
        };
        self.0.compressed.get_or_init(make).as_ref()
    }

    /// Whether [`compressed`](SharedTail::compressed) was called, so that the next call costs
    /// nothing.
    pub(crate) fn was_compressed(&self) -> bool {
        self.0.compressed.get().is_some()
    }
}

impl fmt::Debug for SharedTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedTail({} bytes)", self.0.bytes.len())
    }
}

/// Size of [`stored_block`].
#[cfg(feature = "deflate")]
const STORED_HEADER_BYTES: usize = 5;

/// The header of a stored block with `len` bytes at the start of a compressed message (RFC 1951,
/// 3.2.4): not the last block, type 0, zero bits up to the next byte, `LEN` and its complement.
#[cfg(feature = "deflate")]
pub(crate) fn stored_block(len: u16) -> [u8; STORED_HEADER_BYTES] {
    let ([a, b], [c, d]) = (len.to_le_bytes(), (!len).to_le_bytes());
    [0, a, b, c, d]
}

#[cfg(all(test, feature = "deflate"))]
mod tests {
    use zlib_rs::{Inflate, InflateFlush};

    use super::*;

    /// JSON of this length.
    fn json(len: usize) -> Vec<u8> {
        let item = |i: usize| format!("{{\"id\":{},\"price\":{}.5}},", i, i * 7919 % 1000);
        let mut text: Vec<u8> = (0..len / 8).flat_map(|i| item(i).into_bytes()).collect();
        text.truncate(len);
        text
    }

    /// Inflates in chunks of `chunk` bytes with a window of 2^`bits` bytes, as a peer may that has
    /// agreed to it. (zlib-rs keeps more than that; zlib does not.)
    fn inflated(payload: &[u8], bits: u8, chunk: usize, len: usize) -> Result<Vec<u8>, String> {
        let mut stream = Inflate::new(false, bits);
        let mut out = vec![0; len + 1];
        let mut parts = payload.chunks(chunk).chain([&[0, 0, 0xFF, 0xFF][..]]);
        let mut part: &[u8] = &[];
        loop {
            let (read, at) = (stream.total_in(), stream.total_out() as usize);
            // Little room at once, so that the stream must copy from its own window.
            let end = out.len().min(at + chunk);
            let room = &mut out[at..end];
            stream
                .decompress(part, room, InflateFlush::SyncFlush)
                .map_err(|error| format!("{error:?}"))?;
            part = &part[(stream.total_in() - read) as usize..];
            if part.is_empty() && stream.total_out() as usize == at {
                match parts.next() {
                    Some(next) => part = next,
                    None => break,
                }
            }
        }
        out.truncate(stream.total_out() as usize);
        Ok(out)
    }

    #[test]
    fn the_compressed_tail_is_valid_behind_any_head() {
        let mut deflater = Deflater::new(6, 8);
        for bits in [9, 12, 15] {
            for tail in [json((1 << bits) - 1), json(1 << bits)] {
                let shared = SharedTail::new(tail.clone());
                assert!(!shared.was_compressed());
                for head_len in [0, 1, 20, 600, usize::from(u16::MAX)] {
                    let head = json(head_len);
                    let again = shared.clone();
                    let compressed = again.compressed(&mut deflater).expect("JSON shrinks");
                    let stored = stored_block(head.len() as u16);
                    // It refers to nothing before its start, so no distance exceeds its length.
                    assert!(inflated(compressed, bits, 100, tail.len()).as_ref() == Ok(&tail));
                    let payload = [&stored[..], &head, compressed].concat();
                    let whole = [&head[..], &tail].concat();
                    assert!(payload.len() < whole.len());
                    for chunk in [1, 100, 1 << 16] {
                        let out = inflated(&payload, bits, chunk, whole.len());
                        assert!(out.as_ref() == Ok(&whole), "{bits} bits, head of {head_len}");
                    }
                }
                assert!(shared.was_compressed(), "clones share the compressed form");
            }
        }
    }

    #[test]
    fn a_tail_that_does_not_shrink_is_not_compressed() {
        let mut deflater = Deflater::new(6, 8);
        for short in [&b""[..], b"a", b"{\"a\":1}"] {
            let tail = SharedTail::new(short);
            assert_eq!(tail.compressed(&mut deflater), None);
            assert!(tail.was_compressed());
        }
    }
}
