//! Parts of a request head that a gate has marked: credentials, to be overwritten before anything else
//! sees the head.
//!
//! It knows the place of the head in memory, not its bytes: while a gate looks at the head, nothing can
//! change it.

use std::ops::Range;

use crate::reactor::api::id::ConnId;

/// What marked bytes are overwritten with: valid in a header, a query, a cookie and a token.
const FILLER: u8 = b'*';

/// The marked parts of one head. There are at most as many as the head has bytes.
#[derive(Debug)]
pub(crate) struct Redaction {
    conn: ConnId,
    /// The addresses of the head's bytes.
    head: Range<usize>,
    /// Offsets in the head.
    parts: Vec<Range<usize>>,
}

impl Redaction {
    /// Nothing of this head is marked.
    pub(crate) fn new(conn: ConnId, head: &[u8]) -> Redaction {
        Redaction { conn, head: addresses(head), parts: Vec::new() }
    }

    /// Marks a part of the head of this connection's request; false if it is not within that head.
    pub(crate) fn mark(&mut self, conn: ConnId, part: &[u8]) -> bool {
        let Range { start, end } = addresses(part);
        if conn != self.conn || start < self.head.start || end > self.head.end {
            return false;
        }
        let part = start - self.head.start..end - self.head.start;
        if !part.is_empty() && self.parts.len() < self.head.len() {
            self.parts.push(part);
        }
        true
    }

    /// Overwrites the marked parts of the head.
    pub(crate) fn apply(&self, head: &mut [u8]) {
        debug_assert_eq!(head.len(), self.head.len(), "another head");
        for part in &self.parts {
            if let Some(bytes) = head.get_mut(part.clone()) {
                bytes.fill(FILLER);
            }
        }
    }
}

fn addresses(bytes: &[u8]) -> Range<usize> {
    let range = bytes.as_ptr_range();
    range.start.addr()..range.end.addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_parts_are_overwritten_and_nothing_else() {
        let conn = ConnId::new(3, 7);
        let mut head = b"GET /?a=secret&b=1 HTTP/1.1".to_vec();
        let mut redaction = Redaction::new(conn, &head);
        assert!(redaction.mark(conn, &head[8..14]));
        assert!(redaction.mark(conn, &head[8..14]) && redaction.mark(conn, &head[17..18]));
        assert!(redaction.mark(conn, &head[5..5]), "an empty part");
        redaction.apply(&mut head);
        assert_eq!(head, b"GET /?a=******&b=* HTTP/1.1");
    }

    #[test]
    fn bytes_elsewhere_are_not_marked() {
        let (conn, other) = (ConnId::new(3, 7), ConnId::new(3, 8));
        let whole = b"before GET / after".to_vec();
        let mut redaction = Redaction::new(conn, &whole[7..12]);
        let copy = whole.clone();
        for part in [&whole[6..8], &whole[11..13], &copy[7..12]] {
            assert!(!redaction.mark(conn, part), "{part:?}");
        }
        assert!(!redaction.mark(other, &whole[7..12]));
        let mut head = whole[7..12].to_vec();
        redaction.apply(&mut head);
        assert_eq!(head, b"GET /");
    }
}
