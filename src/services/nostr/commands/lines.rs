//! Reads the lines of an import, in blocks. A line has a limit; what is behind it is dropped.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::sync::mpsc::SyncSender;

use memchr::memchr;

/// Limits of a block, in lines and bytes; the last line may exceed the second.
const BLOCK_LINES_MAX: usize = 512;
const BLOCK_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one read.
const READ_BYTES: usize = 128 * 1024;

/// Lines that one thread verifies at once.
pub(super) type Block = Vec<Line>;

/// A line that is not blank.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// From 1 on.
    pub(super) number: u64,
    /// Without the line feed.
    pub(super) bytes: Vec<u8>,
    /// Whether the line was longer than the limit.
    pub(super) is_cut: bool,
}

/// Gives the blocks of `input` to the threads, in turn. Ends early if one of them has ended.
pub(super) fn read_blocks(
    input: impl Read,
    line_bytes_max: usize,
    threads: &[SyncSender<Block>],
) -> io::Result<()> {
    let mut lines =
        Lines { input: BufReader::with_capacity(READ_BYTES, input), line_bytes_max, number: 0 };
    for thread in threads.iter().cycle() {
        let (block, read) = lines.block();
        if !block.is_empty() && thread.send(block).is_err() {
            return Ok(());
        }
        match read {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

struct Lines<R> {
    input: R,
    line_bytes_max: usize,
    /// Of the last line.
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// The next lines, and whether there may be more.
    fn block(&mut self) -> (Block, io::Result<bool>) {
        let (mut block, mut bytes) = (Block::new(), 0);
        while block.len() < BLOCK_LINES_MAX && bytes < BLOCK_BYTES_MAX {
            match self.line() {
                Ok(Some(line)) if line.bytes.trim_ascii().is_empty() && !line.is_cut => {}
                Ok(Some(line)) => {
                    bytes += line.bytes.len();
                    block.push(line);
                }
                Ok(None) => return (block, Ok(false)),
                Err(error) => return (block, Err(error)),
            }
        }
        (block, Ok(true))
    }

    /// The next line; `None` at the end.
    fn line(&mut self) -> io::Result<Option<Line>> {
        self.number += 1;
        let mut line = Line { number: self.number, bytes: Vec::new(), is_cut: false };
        let mut is_empty = true;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                return Ok((!is_empty).then_some(line));
            }
            is_empty = false;
            let end = memchr(b'\n', chunk);
            let part = &chunk[..end.unwrap_or(chunk.len())];
            let room = self.line_bytes_max - line.bytes.len();
            line.is_cut |= part.len() > room;
            line.bytes.extend_from_slice(&part[..part.len().min(room)]);
            let used = part.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() {
                return Ok(Some(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], line_bytes_max: usize) -> Block {
        // A buffer of a few bytes: lines span reads.
        let input = BufReader::with_capacity(3, input);
        Lines { input, line_bytes_max, number: 0 }.block().0
    }

    fn line(number: u64, bytes: &[u8], is_cut: bool) -> Line {
        Line { number, bytes: bytes.to_vec(), is_cut }
    }

    #[test]
    fn blank_lines_count_but_are_skipped() {
        let expected = [line(1, b"one", false), line(4, b"four", false)];
        assert_eq!(lines(b"one\n\n \r\nfour", 10), expected);
        assert_eq!(lines(b"one\n\n\nfour\n", 10), expected);
        assert_eq!(lines(b"", 10), []);
    }

    #[test]
    fn lines_above_the_limit_are_cut_and_the_next_one_is_whole() {
        let expected = [line(1, b"12345", true), line(2, b"12345", false), line(3, b"x", false)];
        assert_eq!(lines(b"123456789\n12345\nx\n", 5), expected);
        assert_eq!(lines(b"     123\n", 5), [line(1, b"     ", true)]);
    }

    #[test]
    fn a_block_ends_at_its_limits() {
        let input = b"x\n".repeat(BLOCK_LINES_MAX + 1);
        assert_eq!(lines(&input, 5).len(), BLOCK_LINES_MAX);
        let input = [vec![b'x'; BLOCK_BYTES_MAX], b"\nx\n".to_vec()].concat();
        assert_eq!(lines(&input, usize::MAX).len(), 1);
    }
}
