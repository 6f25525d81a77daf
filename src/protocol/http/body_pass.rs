//! A body on its way through a proxy: received by one framing, sent by the same one or another.
//!
//! [`BodyPass`] owns no buffer and copies no data that needs no new framing. Chunks are decoded and
//! encoded again, so that chunk extensions, trailers and unusual size lines never reach the
//! receiver. A body whose input is truncated never looks complete to the receiver. When to read and
//! what to do at an error is the caller's to decide.

use std::io::Write;

use super::body::{BodyDecoder, Framing, Truncated};
use crate::protocol::handshake::Refusal;

/// The last chunk, without trailers (RFC 9112, 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl Framing {
    /// The framing by which a body is sent on to a receiver of HTTP/1.`minor_version`. The length of
    /// a chunked body is not known; HTTP/1.0 has no chunks (RFC 9112, 6.1).
    pub fn relayed(self, minor_version: u8) -> Framing {
        match self {
            Framing::Length(length) => Framing::Length(length),
            _ if minor_version == 0 => Framing::UntilClose,
            _ => Framing::Chunked,
        }
    }
}

/// One body that passes through.
#[derive(Debug, Clone, Copy)]
pub struct BodyPass {
    decoder: BodyDecoder,
    /// Whether the receiver gets the bytes as they arrive.
    is_unchanged: bool,
    /// Whether the receiver gets chunks. Never with `is_unchanged`.
    is_chunked: bool,
}

/// What [`BodyPass::pass`] took of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassedBody {
    /// Bytes of the input that belong to the body: all, unless the body is complete.
    pub consumed: usize,
    /// Forward these bytes of the input. Otherwise forward the bytes that were appended.
    pub is_unchanged: bool,
}

impl BodyPass {
    /// A pass for one body, to a receiver of HTTP/1.`minor_version`. It is sent by
    /// [`input.relayed(minor_version)`](Framing::relayed), with at most `body_bytes_max` bytes of
    /// data.
    ///
    /// # Errors
    ///
    /// [`BodyTooLarge`](Refusal::BodyTooLarge) if the length exceeds `body_bytes_max`.
    pub fn new(
        input: Framing,
        minor_version: u8,
        body_bytes_max: u64,
    ) -> Result<BodyPass, Refusal> {
        let output = input.relayed(minor_version);
        Ok(BodyPass {
            decoder: BodyDecoder::with_limit(input, body_bytes_max)?,
            is_unchanged: input == output && input != Framing::Chunked,
            is_chunked: output == Framing::Chunked,
        })
    }

    /// The pass of a message without a body.
    pub const fn empty() -> BodyPass {
        let decoder = BodyDecoder::complete();
        BodyPass { decoder, is_unchanged: true, is_chunked: false }
    }

    /// Whether the whole body was received. Further bytes of the sender do not belong to it.
    pub fn is_complete(&self) -> bool {
        self.decoder.is_complete()
    }

    /// Takes the bytes of one read, and appends to `out` what to forward, unless the bytes can be
    /// forwarded where they are. Each byte of input appends at most six, and the last chunk five.
    ///
    /// # Errors
    ///
    /// [`ChunkedBody`](Refusal::ChunkedBody) (400), [`BodyTooLarge`](Refusal::BodyTooLarge) (413) or
    /// [`TrailersTooLong`](Refusal::TrailersTooLong) (431). What was appended by this call must not
    /// be followed by anything that completes the body.
    pub fn pass(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<PassedBody, Refusal> {
        if self.is_complete() {
            return Ok(PassedBody { consumed: 0, is_unchanged: self.is_unchanged });
        }
        let mut rest = input;
        loop {
            let data = self.decoder.next_data(&mut rest)?;
            if data.is_empty() {
                break;
            }
            if !self.is_unchanged {
                self.forward(data, out);
            }
        }
        if self.is_complete() && self.is_chunked {
            out.extend_from_slice(LAST_CHUNK);
        }
        let consumed = input.len() - rest.len();
        Ok(PassedBody { consumed, is_unchanged: self.is_unchanged })
    }

    fn forward(&self, data: &[u8], out: &mut Vec<u8>) {
        if !self.is_chunked {
            out.extend_from_slice(data);
            return;
        }
        let size = format_args!("{:x}\r\n", data.len());
        out.write_fmt(size).expect("writing to a Vec does not fail");
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }

    /// Ends the body with the sender's stream, and appends the last chunk if one is due.
    ///
    /// # Errors
    ///
    /// The body is incomplete: end the receiver's connection in a way that shows it.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Truncated> {
        if self.is_complete() {
            return Ok(());
        }
        self.decoder.end()?;
        if self.is_chunked {
            out.extend_from_slice(LAST_CHUNK);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u64 = 1000;

    /// The bytes that the receiver gets, the number of bytes consumed, and whether the body is
    /// complete.
    type Outcome = Result<(Vec<u8>, usize, bool), Refusal>;

    fn passed(input: Framing, minor_version: u8, pieces: &[&[u8]]) -> Outcome {
        let mut pass = BodyPass::new(input, minor_version, MAX)?;
        let (mut received, mut consumed) = (Vec::new(), 0);
        for piece in pieces {
            let before = received.len();
            let step = pass.pass(piece, &mut received)?;
            assert!(step.consumed == piece.len() || pass.is_complete());
            if step.is_unchanged {
                assert_eq!(received.len(), before, "nothing is copied");
                received.extend_from_slice(&piece[..step.consumed]);
            }
            let appended = received.len() - before;
            assert!(appended <= 6 * step.consumed + LAST_CHUNK.len(), "{appended} bytes");
            consumed += step.consumed;
        }
        Ok((received, consumed, pass.is_complete()))
    }

    fn whole(input: Framing, minor_version: u8, wire: &str) -> (String, usize, bool) {
        let (received, consumed, is_complete) =
            passed(input, minor_version, &[wire.as_bytes()]).unwrap();
        (String::from_utf8(received).unwrap(), consumed, is_complete)
    }

    /// The data of what the receiver got, by the decoder for its framing.
    fn data(received: &[u8], framing: Framing) -> Option<Vec<u8>> {
        let mut decoder = BodyDecoder::new(framing, usize::MAX).unwrap();
        let mut data = Vec::new();
        assert_eq!(decoder.decode(received, &mut data), Ok(received.len()));
        if framing == Framing::UntilClose {
            decoder.end().unwrap();
        }
        decoder.is_complete().then_some(data)
    }

    #[test]
    fn chunks_are_encoded_again_without_extensions_and_trailers() {
        let wire =
            "0003;a=b\r\nabc\r\nA \t;x\r\n0123456789\r\n000;y\r\nX: y\r\nContent-Length: 1\r\n\r\n";
        let expected = "3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n";
        let outcome = whole(Framing::Chunked, 1, &format!("{wire}GET /"));
        assert_eq!(outcome, (expected.to_owned(), wire.len(), true));
        let outcome = whole(Framing::Chunked, 0, wire);
        assert_eq!(outcome, ("abc0123456789".to_owned(), wire.len(), true), "HTTP/1.0");
    }

    #[test]
    fn bodies_by_length_pass_unchanged() {
        for minor_version in [0, 1] {
            let outcome = whole(Framing::Length(3), minor_version, "abcGET /");
            assert_eq!(outcome, ("abc".to_owned(), 3, true));
            assert!(!whole(Framing::Length(4), minor_version, "abc").2);
            assert_eq!(whole(Framing::Length(0), minor_version, "abc"), (String::new(), 0, true));
            let mut pass = BodyPass::new(Framing::Length(3), minor_version, MAX).unwrap();
            let step = pass.pass(b"ab", &mut Vec::new());
            assert_eq!(step, Ok(PassedBody { consumed: 2, is_unchanged: true }));
        }
        assert_eq!(passed(Framing::Length(MAX + 1), 1, &[]), Err(Refusal::BodyTooLarge));
        assert!(BodyPass::new(Framing::Length(u64::MAX), 1, u64::MAX).is_ok());
    }

    #[test]
    fn the_end_of_the_stream_completes_only_a_body_without_length() {
        let ended = |input, minor_version, wire: &str| {
            let mut pass = BodyPass::new(input, minor_version, MAX).unwrap();
            let mut out = Vec::new();
            let step = pass.pass(wire.as_bytes(), &mut out).unwrap();
            if step.is_unchanged {
                out.extend_from_slice(&wire.as_bytes()[..step.consumed]);
            }
            let outcome = pass.end(&mut out);
            assert_eq!(pass.is_complete(), outcome.is_ok());
            let first = out.len();
            assert_eq!(pass.end(&mut out).is_ok(), outcome.is_ok(), "again");
            assert_eq!(out.len(), first);
            outcome.map(|()| String::from_utf8(out).unwrap())
        };
        assert_eq!(ended(Framing::UntilClose, 0, "ab").as_deref(), Ok("ab"));
        assert_eq!(ended(Framing::UntilClose, 1, "ab").as_deref(), Ok("2\r\nab\r\n0\r\n\r\n"));
        assert_eq!(ended(Framing::UntilClose, 1, "").as_deref(), Ok("0\r\n\r\n"));
        assert_eq!(ended(Framing::Length(2), 1, "ab").as_deref(), Ok("ab"));
        assert_eq!(ended(Framing::Length(3), 1, "ab"), Err(Truncated));
        assert_eq!(ended(Framing::Length(3), 0, "ab"), Err(Truncated));
        assert_eq!(ended(Framing::Chunked, 1, "0\r\n\r\n").as_deref(), Ok("0\r\n\r\n"));
        for minor_version in [0, 1] {
            for wire in
                ["", "2", "2\r\na", "2\r\nab", "2\r\nab\r\n", "0\r\n", "0\r\n\r", "0\r\nX: "]
            {
                assert_eq!(
                    ended(Framing::Chunked, minor_version, wire),
                    Err(Truncated),
                    "{wire:?}"
                );
            }
        }
    }

    /// The sender's framing cannot end the receiver's body early: neither in a prefix, nor by
    /// malformed input.
    #[test]
    fn truncated_and_malformed_bodies_never_look_complete() {
        let wire = b"3;x\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\n";
        for end in 0..wire.len() {
            let (received, consumed, is_complete) =
                passed(Framing::Chunked, 1, &[&wire[..end]]).unwrap();
            assert_eq!((consumed, is_complete), (end, false));
            assert_eq!(data(&received, Framing::Chunked), None, "cut at {end}");
        }
        for wire in
            ["3\r\nabcX", "3\r\nabc\r\n0\r\n\r\r", "3\r\nabc\r\nx", "3\r\nabc\r\n0\r\n X: y"]
        {
            let mut pass = BodyPass::new(Framing::Chunked, 1, MAX).unwrap();
            let mut out = Vec::new();
            assert_eq!(pass.pass(wire.as_bytes(), &mut out), Err(Refusal::ChunkedBody));
            assert_eq!(data(&out, Framing::Chunked), None, "{wire:?}");
        }
        let mut pass = BodyPass::new(Framing::Chunked, 1, 4).unwrap();
        let mut out = Vec::new();
        let outcome = pass.pass(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", &mut out);
        assert_eq!(outcome, Err(Refusal::BodyTooLarge));
        assert_eq!(data(&out, Framing::Chunked), None);
    }

    #[test]
    fn splitting_at_every_byte_equals_passing_whole() {
        let samples: [(Framing, &[u8]); 7] = [
            (Framing::Length(5), b"abcdeGET"),
            (Framing::UntilClose, b"0\r\n\r\nabc"),
            (Framing::Chunked, b"3;x=y\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nA: b\r\n\r\nnext"),
            (Framing::Chunked, b"0\r\n\r\nnext"),
            (Framing::Chunked, b"3\r\nabcd"),
            (Framing::Chunked, b"ffffffffffffffff\r\nabc"),
            (Framing::Chunked, b"3\nabc"),
        ];
        for (input, wire) in samples {
            for minor_version in [0, 1] {
                let output = input.relayed(minor_version);
                // Chunks may be cut differently: the data, and whether they are complete, are equal.
                let reduced = |outcome: Outcome| {
                    outcome.map(|(received, consumed, is_complete)| {
                        let data = match output {
                            Framing::Chunked if !is_complete => None,
                            Framing::Chunked => data(&received, output),
                            _ => Some(received),
                        };
                        (data, consumed, is_complete)
                    })
                };
                let expected = reduced(passed(input, minor_version, &[wire]));
                for cut in 0..=wire.len() {
                    let (first, second) = wire.split_at(cut);
                    let outcome = reduced(passed(input, minor_version, &[first, second]));
                    assert_eq!(outcome, expected, "{} at {cut}", wire.escape_ascii());
                }
                let bytes: Vec<&[u8]> = wire.chunks(1).collect();
                assert_eq!(reduced(passed(input, minor_version, &bytes)), expected);
            }
        }
    }

    #[test]
    fn large_chunks_pass_in_parts_without_being_collected() {
        let mut pass = BodyPass::new(Framing::Chunked, 1, u64::MAX).unwrap();
        let mut out = Vec::new();
        pass.pass(b"fffffffffffffff0\r\n", &mut out).unwrap();
        assert!(out.is_empty());
        for _ in 0..3 {
            out.clear();
            pass.pass(&[b'x'; 300], &mut out).unwrap();
            assert_eq!(out, [b"12c\r\n", &[b'x'; 300][..], b"\r\n"].concat());
        }
        assert!(out.capacity() <= 1024, "{} bytes", out.capacity());
    }
}
