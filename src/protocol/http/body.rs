//! Decodes bodies incrementally: by length, chunked, or until the end of the stream (RFC 9112, 6.2,
//! 6.3 and 7.1).
//!
//! [`BodyDecoder`] looks at each byte once, and the result does not depend on how the bytes were
//! split. It allocates nothing itself: the caller's buffer grows by the bytes that arrived, never
//! by an announced size. Chunk extensions and trailers are checked and dropped. Lines must end in
//! exactly CR LF: a proxy in front of the server must find the end of the body at the same byte.

use std::fmt;

use crate::protocol::handshake::field::is_tchar;
use crate::protocol::handshake::refusal::Refusal;

/// Maximum number of hexadecimal digits in a chunk size, including leading zeros: they fit 64 bits.
pub const CHUNK_SIZE_DIGITS_MAX: u8 = 16;

/// Maximum size of a chunk's size line, without CR LF. Chunk extensions are ignored.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;

/// Maximum size of all trailer lines of one body. Trailers are ignored.
pub const TRAILERS_BYTES_MAX: usize = 8 * 1024;

/// How the end of a body is found (RFC 9112, 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The body has this many bytes.
    Length(u64),
    /// The body ends with a chunk of size 0 and the trailers after it.
    Chunked,
    /// The body ends with the sender's stream: responses only.
    UntilClose,
}

/// The sender's stream ended inside the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncated;

impl fmt::Display for Truncated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("body is truncated")
    }
}

impl std::error::Error for Truncated {}

/// Decodes one body.
#[derive(Debug, Clone, Copy)]
pub struct BodyDecoder {
    state: State,
    is_chunked: bool,
    /// Bytes left of the chunk, or of the body. In `Size`: the size of the next chunk so far.
    left: u64,
    /// Bytes that further chunks, or the rest of a body until the end of the stream, may have.
    room: u64,
    /// Bytes of the current size line, or of all trailers.
    line_bytes: usize,
}

/// What the next byte belongs to. The states from `Size` on are for chunked bodies only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Complete,
    Data,
    /// Data until the end of the stream.
    Stream,
    /// The size of the chunk, after this many digits.
    Size {
        digits: u8,
    },
    /// White space between size and extension.
    Blank,
    Extension,
    SizeLf,
    DataCr,
    DataLf,
    /// The first byte of a trailer line, or of the final empty line.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
}

impl BodyDecoder {
    /// A decoder for one body of at most `body_bytes_max` bytes of data.
    ///
    /// # Errors
    ///
    /// [`BodyTooLarge`](Refusal::BodyTooLarge) if the length exceeds `body_bytes_max`.
    pub fn new(framing: Framing, body_bytes_max: usize) -> Result<BodyDecoder, Refusal> {
        BodyDecoder::with_limit(framing, body_bytes_max as u64)
    }

    /// As [`new`](BodyDecoder::new): a body that passes through may exceed the address space.
    pub(super) fn with_limit(framing: Framing, room: u64) -> Result<BodyDecoder, Refusal> {
        let (state, left) = match framing {
            Framing::Length(length) if length > room => return Err(Refusal::BodyTooLarge),
            Framing::Length(0) => (State::Complete, 0),
            Framing::Length(length) => (State::Data, length),
            Framing::Chunked => (State::Size { digits: 0 }, 0),
            Framing::UntilClose => (State::Stream, 0),
        };
        let is_chunked = framing == Framing::Chunked;
        Ok(BodyDecoder { state, is_chunked, left, room, line_bytes: 0 })
    }

    /// The decoder after a body without data.
    #[cfg(feature = "proxy")]
    pub(super) const fn complete() -> BodyDecoder {
        BodyDecoder { state: State::Complete, is_chunked: false, left: 0, room: 0, line_bytes: 0 }
    }

    /// Whether the whole body was decoded. Further bytes belong to the next request.
    pub fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// Appends the data in `input` to `body`. Returns how many bytes of `input` belong to the body:
    /// all, unless the body is complete.
    ///
    /// # Errors
    ///
    /// [`ChunkedBody`](Refusal::ChunkedBody) (400) for invalid syntax,
    /// [`BodyTooLarge`](Refusal::BodyTooLarge) (413) as soon as a chunk's size exceeds the limit,
    /// [`TrailersTooLong`](Refusal::TrailersTooLong) (431). Do not use the decoder after an error.
    pub fn decode(&mut self, input: &[u8], body: &mut Vec<u8>) -> Result<usize, Refusal> {
        let mut rest = input;
        loop {
            let data = self.next_data(&mut rest)?;
            if data.is_empty() {
                return Ok(input.len() - rest.len());
            }
            body.extend_from_slice(data);
        }
    }

    /// Takes bytes from `input` up to the end of the next run of data, which it returns. The run is
    /// empty if the body is complete or `input` is used up.
    pub(super) fn next_data<'a>(&mut self, input: &mut &'a [u8]) -> Result<&'a [u8], Refusal> {
        while let Some((&byte, behind)) = input.split_first() {
            match self.state {
                State::Complete => break,
                State::Data => return Ok(self.take_data(input)),
                State::Stream => {
                    let len = input.len() as u64;
                    self.room = self.room.checked_sub(len).ok_or(Refusal::BodyTooLarge)?;
                    return Ok(std::mem::take(input));
                }
                _ => {
                    self.take_syntax(byte)?;
                    *input = behind;
                }
            }
        }
        Ok(&[])
    }

    /// Takes data up to the end of the chunk.
    fn take_data<'a>(&mut self, input: &mut &'a [u8]) -> &'a [u8] {
        let len = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        let (data, rest) = input.split_at(len);
        *input = rest;
        self.left -= len as u64;
        if self.left == 0 {
            self.state = if self.is_chunked { State::DataCr } else { State::Complete };
        }
        data
    }

    /// Ends the body with the sender's stream.
    ///
    /// # Errors
    ///
    /// The body is incomplete (RFC 9112, 8).
    pub fn end(&mut self) -> Result<(), Truncated> {
        match self.state {
            State::Stream | State::Complete => {
                self.state = State::Complete;
                Ok(())
            }
            _ => Err(Truncated),
        }
    }

    /// Takes one byte of a size line, a line end, or a trailer.
    fn take_syntax(&mut self, byte: u8) -> Result<(), Refusal> {
        self.state = match (self.state, byte) {
            (State::Size { digits }, _) if byte.is_ascii_hexdigit() => {
                self.take_digit(digits, byte)?
            }
            (State::Size { digits: 1.. }, b'\r') | (State::Extension, b'\r') => State::SizeLf,
            (State::Size { digits: 1.. } | State::Blank, b' ' | b'\t') => State::Blank,
            (State::Size { digits: 1.. } | State::Blank, b';') => State::Extension,
            (State::Extension, _) if is_field_byte(byte) => State::Extension,
            (State::SizeLf, b'\n') => return self.begin_chunk(),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.line_bytes = 0;
                State::Size { digits: 0 }
            }
            (State::Trailer, b'\r') => State::EndLf,
            (State::Trailer | State::TrailerName, _) if is_tchar(byte) => State::TrailerName,
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, _) if is_field_byte(byte) => State::TrailerValue,
            (State::TrailerLf, b'\n') => State::Trailer,
            (State::EndLf, b'\n') => State::Complete,
            _ => return Err(Refusal::ChunkedBody),
        };
        self.count_byte()
    }

    fn take_digit(&mut self, digits: u8, digit: u8) -> Result<State, Refusal> {
        if digits == CHUNK_SIZE_DIGITS_MAX {
            return Err(Refusal::ChunkedBody);
        }
        let value = char::from(digit).to_digit(16).unwrap_or_default();
        self.left = self.left << 4 | u64::from(value);
        Ok(State::Size { digits: digits + 1 })
    }

    /// Bounds the bytes that are dropped: the size line, and all trailers.
    fn count_byte(&mut self) -> Result<(), Refusal> {
        match self.state {
            State::Size { digits: 1.. } | State::Blank | State::Extension => {
                self.line_bytes += 1;
                let fits = self.line_bytes <= CHUNK_LINE_BYTES_MAX;
                if fits { Ok(()) } else { Err(Refusal::ChunkedBody) }
            }
            State::Trailer | State::TrailerName | State::TrailerValue | State::TrailerLf => {
                self.line_bytes += 1;
                let fits = self.line_bytes <= TRAILERS_BYTES_MAX;
                if fits { Ok(()) } else { Err(Refusal::TrailersTooLong) }
            }
            _ => Ok(()),
        }
    }

    /// Ends the size line: data or trailers follow.
    fn begin_chunk(&mut self) -> Result<(), Refusal> {
        self.line_bytes = 0;
        if self.left == 0 {
            self.state = State::Trailer;
            return Ok(());
        }
        self.room = self.room.checked_sub(self.left).ok_or(Refusal::BodyTooLarge)?;
        self.state = State::Data;
        Ok(())
    }
}

/// Whether `byte` is valid in a chunk extension or a trailer's value (RFC 9110, 5.5; RFC 9112,
/// 7.1.1).
fn is_field_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 100;

    /// The body and the number of bytes it took; `None` if it is incomplete.
    type Outcome = Result<Option<(Vec<u8>, usize)>, Refusal>;

    fn decoded(framing: Framing, pieces: &[&[u8]], max: usize) -> Outcome {
        let mut decoder = BodyDecoder::new(framing, max)?;
        let (mut body, mut taken) = (Vec::new(), 0);
        for piece in pieces {
            taken += decoder.decode(piece, &mut body)?;
        }
        Ok(decoder.is_complete().then_some((body, taken)))
    }

    fn chunked(wire: &str) -> Outcome {
        decoded(Framing::Chunked, &[wire.as_bytes()], MAX)
    }

    fn whole(body: &str, wire: &str) -> Outcome {
        Ok(Some((body.as_bytes().to_vec(), wire.len())))
    }

    #[test]
    fn chunks_are_joined_and_later_bytes_are_left() {
        for (wire, body) in [
            ("0\r\n\r\n", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("1\r\n\r\r\n1\r\n\n\r\n00\r\n\r\n", "\r\n"),
            ("00a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"),
            ("0000000000000002\r\nab\r\n0000000000000000\r\n\r\n", "ab"),
            ("2;a\r\nab\r\n1 ; a = \"b;\u{e9}\"\r\nc\r\n0;\t\r\n\r\n", "abc"),
            ("1\r\na\r\n0\r\nX: y\r\nContent-Length:\r\n\r\n", "a"),
        ] {
            assert_eq!(chunked(wire), whole(body, wire), "{wire:?}");
            assert_eq!(chunked(&format!("{wire}GET /")), whole(body, wire), "{wire:?}");
            for end in 0..wire.len() {
                let start = decoded(Framing::Chunked, &[&wire.as_bytes()[..end]], MAX);
                assert_eq!(start, Ok(None), "{:?}", &wire[..end.min(3)]);
            }
        }
    }

    #[test]
    fn splitting_at_every_byte_equals_decoding_whole() {
        let long_line = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(255));
        let long_trailer = format!("0\r\nX: {}\r\n\r\n", "x".repeat(TRAILERS_BYTES_MAX));
        let samples = [
            "3;x=y\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nA: b\r\nC: d\r\n\r\nnext",
            "3\r\nabcd",
            "64\r\n",
            "65\r\n",
            "x",
            "0\r\n\rx",
            &long_line,
            &long_trailer,
        ];
        for wire in samples {
            let wire = wire.as_bytes();
            let expected = decoded(Framing::Chunked, &[wire], MAX);
            for cut in 0..=wire.len() {
                let (first, second) = wire.split_at(cut);
                assert_eq!(decoded(Framing::Chunked, &[first, second], MAX), expected);
            }
            let bytes: Vec<&[u8]> = wire.chunks(1).collect();
            assert_eq!(decoded(Framing::Chunked, &bytes, MAX), expected);
        }
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for wire in [
            "\r\n",
            " 1\r\n",
            ";a\r\n",
            "g",
            "-1",
            "+1",
            "0x1",
            "1\n",
            "1\r\r",
            "1 \r\n",
            "1 a",
            "1\u{b};",
            "1;a\n",
            "1;a\0",
            "1;a\x7f",
            "1;a\rb",
            "1\r\nab",
            "1\r\na\n",
            "1\r\na\rb",
            "1\r\na0\r\n",
            "0\r\n\n",
            "0\r\n\r\r",
            "0\r\n X: y",
            "0\r\n: y",
            "0\r\nX y",
            "0\r\nX : y",
            "0\r\nX\r\n",
            "0\r\nX: y\n",
            "0\r\nX: \0",
            "0\r\nX: y\r\r",
            "0\r\nX: y\r\n z",
            "00000000000000001",
            "00000000000000000",
        ] {
            assert_eq!(chunked(wire), Err(Refusal::ChunkedBody), "{wire:?}");
        }
    }

    #[test]
    fn body_limits_are_exact() {
        let chunks = |sizes: &[usize]| {
            let chunk = |&size: &usize| format!("{size:x}\r\n{}\r\n", "a".repeat(size));
            sizes.iter().map(chunk).collect::<String>() + "0\r\n\r\n"
        };
        assert!(chunked(&chunks(&[MAX])).is_ok_and(|outcome| outcome.is_some()));
        assert!(chunked(&chunks(&[1; MAX])).is_ok_and(|outcome| outcome.is_some()));
        for sizes in [&[MAX + 1][..], &[1; MAX + 1], &[MAX, 1]] {
            assert_eq!(chunked(&chunks(sizes)), Err(Refusal::BodyTooLarge));
        }
        assert_eq!(chunked("ffffffffffffffff\r\n"), Err(Refusal::BodyTooLarge));
        assert_eq!(chunked("65\r\n"), Err(Refusal::BodyTooLarge), "before any of its data arrived");

        let line = |len: usize| format!("0;{}\r\n\r\n", "x".repeat(len - 2));
        assert!(chunked(&line(CHUNK_LINE_BYTES_MAX)).is_ok_and(|outcome| outcome.is_some()));
        assert_eq!(chunked(&line(CHUNK_LINE_BYTES_MAX + 1)), Err(Refusal::ChunkedBody));

        let trailers =
            |len: usize| format!("0\r\n{}X:{}\r\n\r\n", "A:\r\n".repeat(2), "x".repeat(len - 12));
        assert!(chunked(&trailers(TRAILERS_BYTES_MAX)).is_ok_and(|outcome| outcome.is_some()));
        let too_long = chunked(&trailers(TRAILERS_BYTES_MAX + 1));
        assert_eq!(too_long, Err(Refusal::TrailersTooLong));
    }

    #[test]
    fn a_body_ends_after_its_content_length() {
        let by_length = |length: u64, wire: &[u8]| decoded(Framing::Length(length), &[wire], MAX);
        assert_eq!(by_length(0, b"x"), Ok(Some((Vec::new(), 0))));
        assert_eq!(by_length(2, b"abc"), Ok(Some((b"ab".to_vec(), 2))));
        assert_eq!(by_length(2, b"a"), Ok(None));
        assert_eq!(by_length(MAX as u64, b"a"), Ok(None));
        assert_eq!(by_length(MAX as u64 + 1, b""), Err(Refusal::BodyTooLarge));
        assert_eq!(by_length(u64::MAX, b""), Err(Refusal::BodyTooLarge));
    }

    #[test]
    fn a_body_may_last_until_the_end_of_the_stream() {
        let mut decoder = BodyDecoder::new(Framing::UntilClose, 5).unwrap();
        let mut body = Vec::new();
        for piece in ["ab", "", "c\r\n"] {
            assert_eq!(decoder.decode(piece.as_bytes(), &mut body), Ok(piece.len()));
            assert!(!decoder.is_complete());
        }
        assert_eq!(decoder.clone().decode(b"d", &mut body), Err(Refusal::BodyTooLarge));
        assert_eq!(decoder.end(), Ok(()));
        assert!(decoder.is_complete());
        assert_eq!(decoder.decode(b"d", &mut body), Ok(0));
        assert_eq!(body, b"abc\r\n");
    }

    #[test]
    fn the_end_of_the_stream_truncates_other_bodies() {
        for (framing, wire) in
            [(Framing::Length(2), &b"ab"[..]), (Framing::Chunked, b"1\r\na\r\n0\r\n\r\n")]
        {
            for end in 0..=wire.len() {
                let mut decoder = BodyDecoder::new(framing, MAX).unwrap();
                decoder.decode(&wire[..end], &mut Vec::new()).unwrap();
                let expected = if end == wire.len() { Ok(()) } else { Err(Truncated) };
                assert_eq!(decoder.end(), expected, "{framing:?} after {end}");
            }
        }
    }

    /// A size that a peer announces, however large, does not allocate.
    #[test]
    fn nothing_is_allocated_from_an_announced_size() {
        for framing in [Framing::Length(1 << 40), Framing::Chunked] {
            let mut decoder = BodyDecoder::new(framing, usize::MAX).unwrap();
            let mut body = Vec::new();
            if framing == Framing::Chunked {
                decoder.decode(b"10000000000\r\n", &mut body).unwrap();
            }
            decoder.decode(b"a", &mut body).unwrap();
            assert!(body.capacity() < 64, "{} bytes", body.capacity());
        }
    }
}
