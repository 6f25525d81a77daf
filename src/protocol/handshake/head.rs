//! Finds the end of an HTTP head in bytes that arrive in parts of any size.
//!
//! [`HeadScan`] looks at each byte once, and fails as soon as the bytes prove that no acceptable
//! head can follow. It does not parse: parsing happens once, when the head is complete. It serves
//! requests and responses.

use memchr::memchr_iter;

use super::field::is_tchar;
use std::fmt;

use super::refusal::Refusal;

/// Maximum number of headers in one head; more are answered with 431.
pub const HEADERS_MAX: usize = 64;

/// Storage for the headers of one head, provided by the caller so that parsing allocates nothing: 2 KiB,
/// which start as [`EMPTY_SLOTS`].
#[derive(Clone)]
pub struct Slots<'a>(pub(in crate::protocol) [httparse::Header<'a>; HEADERS_MAX]);

/// Omits the headers, which may contain credentials.
impl fmt::Debug for Slots<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slots")
    }
}

/// Empty [`Slots`].
pub const EMPTY_SLOTS: Slots<'static> = Slots([httparse::EMPTY_HEADER; HEADERS_MAX]);

const _: () = assert!(size_of::<Slots<'_>>() == 2048);

/// Maximum number of empty lines before the start line. RFC 9112, 2.2 asks for at least one;
/// without a limit a peer could send them forever.
const EMPTY_LINES_MAX: u8 = 4;

/// Finds the end of one head. Use a new one for the next head.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeadScan {
    /// Bytes that no later call needs to look at, except for the last three.
    scanned: usize,
    /// Empty lines before the start line.
    empty_lines: u8,
}

const _: () = assert!(size_of::<HeadScan>() <= 16, "every connection holds one");

impl HeadScan {
    /// Scans the bytes that arrived since the last call; `buffered` holds everything since the
    /// start of the head. Returns the length of the head, its final empty line included, once it is
    /// complete. The result does not depend on how the bytes were split.
    ///
    /// # Errors
    ///
    /// [`NotHttp`](Refusal::NotHttp) if the first byte cannot start a token, so that a TLS hello on
    /// a plaintext port is answered at once; [`BareLf`](Refusal::BareLf) for a line that ends
    /// without CR; [`HeadTooLong`](Refusal::HeadTooLong) if the head cannot end within
    /// `head_bytes_max`.
    pub fn scan(
        &mut self,
        buffered: &[u8],
        head_bytes_max: usize,
    ) -> Result<Option<usize>, Refusal> {
        let window = &buffered[..buffered.len().min(head_bytes_max)];
        if let Some(start) = self.start_line(window)? {
            let from = self.scanned.max(start);
            for lf in memchr_iter(b'\n', window.get(from..).unwrap_or_default()) {
                let line_end = from + lf + 1;
                let seen = &window[..line_end];
                // RFC 9112, 2.2 lets a recipient accept a bare LF as a line end. A proxy that does
                // not would see other headers than we do.
                if !seen.ends_with(b"\r\n") {
                    return Err(Refusal::BareLf);
                }
                if seen.ends_with(b"\r\n\r\n") {
                    return Ok(Some(line_end));
                }
            }
            self.scanned = window.len();
        }
        if buffered.len() >= head_bytes_max {
            return Err(Refusal::HeadTooLong);
        }
        Ok(None)
    }

    /// Skips empty lines; returns the offset of the start line once its first byte has arrived.
    fn start_line(&mut self, window: &[u8]) -> Result<Option<usize>, Refusal> {
        loop {
            let start = 2 * usize::from(self.empty_lines);
            match window.get(start..).unwrap_or_default() {
                [] | [b'\r'] => return Ok(None),
                [b'\r', b'\n', ..] if self.empty_lines < EMPTY_LINES_MAX => self.empty_lines += 1,
                [b'\n', ..] => return Err(Refusal::BareLf),
                [first, ..] if is_tchar(*first) => return Ok(Some(start)),
                _ => return Err(Refusal::NotHttp),
            }
        }
    }
}

/// Whether `head` is exactly one complete head. httparse alone would accept a bare LF as a line
/// end.
///
/// # Errors
///
/// Those of [`HeadScan::scan`].
pub(in crate::protocol) fn is_whole(head: &[u8]) -> Result<bool, Refusal> {
    let end = HeadScan::default().scan(head, usize::MAX)?;
    Ok(end == Some(head.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 16 * 1024;

    fn whole(bytes: &[u8], max: usize) -> Result<Option<usize>, Refusal> {
        HeadScan::default().scan(bytes, max)
    }

    /// Feeds `bytes` one at a time, and overwrites each byte once the scan must not look at it
    /// again: all but the first of the start line and the last three.
    fn by_byte(bytes: &[u8], max: usize) -> Result<Option<usize>, Refusal> {
        let mut scan = HeadScan::default();
        let mut buffered = Vec::new();
        for &byte in bytes {
            buffered.push(byte);
            let outcome = scan.scan(&buffered, max);
            if outcome != Ok(None) {
                return outcome;
            }
            let first = 2 * usize::from(scan.empty_lines);
            if buffered.len() > first + 4 {
                let spent = buffered.len() - 4;
                buffered[spent] = b'\n';
            }
        }
        Ok(None)
    }

    #[test]
    fn the_head_is_found_however_it_is_split() {
        let samples: [&[u8]; 15] = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\x81\x80\n\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n\n",
            b"\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            b"\r\n\r\n\r\n\r\n\r\n\r\n",
            b"\r\rGET / HTTP/1.1\r\n\r\n",
            b"\nGET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\n\n",
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
            b"\r\n\r\n\x00\r\nQUIT\n",
            b" GET / HTTP/1.1\r\n\r\n",
            b"G",
        ];
        for sample in samples {
            for max in (0..=sample.len() + 1).chain([MAX]) {
                let expected = whole(sample, max);
                assert_eq!(by_byte(sample, max), expected, "{sample:?} within {max}");
                for cut in 0..=sample.len() {
                    let mut scan = HeadScan::default();
                    let first = scan.scan(&sample[..cut], max);
                    let outcome = if first == Ok(None) { scan.scan(sample, max) } else { first };
                    assert_eq!(outcome, expected, "{sample:?} cut at {cut} within {max}");
                }
            }
        }
    }

    #[test]
    fn the_head_ends_after_its_empty_line() {
        assert_eq!(whole(b"GET / HTTP/1.1\r\n\r\nrest", MAX), Ok(Some(18)));
        let padded = b"\r\n\r\nGET / HTTP/1.1\r\n\r\nrest";
        assert_eq!(whole(padded, MAX), Ok(Some(22)));
        assert_eq!(whole(b"GET / HTTP/1.1\r\n\r", MAX), Ok(None));
    }

    #[test]
    fn invalid_first_bytes_are_refused_at_once() {
        for byte in 0..=u8::MAX {
            let expected = match byte {
                b'\n' => Err(Refusal::BareLf),
                b'\r' => Ok(None),
                _ if is_tchar(byte) => Ok(None),
                _ => Err(Refusal::NotHttp),
            };
            assert_eq!(whole(&[byte], MAX), expected, "{byte:#x}");
        }
        assert_eq!(whole(&b"\r\n".repeat(5), MAX), Err(Refusal::NotHttp));
        assert_eq!(whole(b"GET / HTTP/1.1\n", MAX), Err(Refusal::BareLf));
    }

    #[test]
    fn the_head_limit_is_exact() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(whole(head, head.len()), Ok(Some(head.len())));
        assert_eq!(whole(head, head.len() - 1), Err(Refusal::HeadTooLong));
        let (almost, _) = head.split_at(head.len() - 1);
        assert_eq!(whole(almost, almost.len()), Err(Refusal::HeadTooLong));
    }

    /// 20 MB without an end cost no more than the limit. In a head of 16 KiB that arrives byte by
    /// byte, a later call looks again only at the last three bytes.
    #[test]
    fn work_is_linear_and_bounded() {
        let mut head = b"GET / HTTP/1.1\r\nX: ".to_vec();
        head.resize(20 * 1024 * 1024, b'a');
        let mut scan = HeadScan::default();
        assert_eq!(scan.scan(&head, MAX), Err(Refusal::HeadTooLong));
        assert_eq!(scan.scanned, MAX);

        head.truncate(MAX - 4);
        head.extend_from_slice(b"\r\n\r\n");
        assert_eq!(by_byte(&head, MAX), Ok(Some(MAX)));
    }
}
