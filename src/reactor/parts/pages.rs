//! Buffers in memory pages of their own, which return to the system as soon as they are freed.
//!
//! For data that thousands of connections may hold briefly at the same time, such as incomplete
//! request heads. The C library keeps freed pages as long as one small allocation after them lives:
//! after 9,900 such heads it kept all of 149 MiB.

use std::fmt;
use std::ops::Deref;

use memmap2::MmapMut;

/// A smaller buffer is not worth a system call and a page.
const PAGES_BYTES_MIN: usize = 1024;
const PAGE_BYTES: usize = 4096;

/// A buffer that grows at its end.
#[derive(Default)]
pub(crate) struct Pages {
    bytes: Memory,
    len: usize,
}

enum Memory {
    /// Few bytes, or more than the system has a mapping for.
    Allocated(Vec<u8>),
    Mapped(MmapMut),
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::Allocated(Vec::new())
    }
}

impl Pages {
    pub(crate) fn extend_from_slice(&mut self, more: &[u8]) {
        let len = self.len + more.len();
        if let Memory::Mapped(pages) = &mut self.bytes
            && len <= pages.len()
        {
            pages[self.len..len].copy_from_slice(more);
        } else if let Some(mut pages) = map(len) {
            pages[..self.len].copy_from_slice(self);
            pages[self.len..len].copy_from_slice(more);
            self.bytes = Memory::Mapped(pages);
        } else {
            self.allocate(more);
        }
        self.len = len;
    }

    fn allocate(&mut self, more: &[u8]) {
        if let Memory::Mapped(pages) = &self.bytes {
            self.bytes = Memory::Allocated(pages[..self.len].to_vec());
        }
        if let Memory::Allocated(bytes) = &mut self.bytes {
            bytes.extend_from_slice(more);
        }
    }

    /// Bytes of allocated memory.
    pub(crate) fn held_bytes(&self) -> usize {
        match &self.bytes {
            Memory::Allocated(bytes) => bytes.capacity(),
            Memory::Mapped(pages) => pages.len(),
        }
    }
}

/// Maps pages for `len` bytes, if they are worth it and the system has some. Large buffers get a
/// quarter more, so that bytes which arrive one by one are not copied with each page.
fn map(len: usize) -> Option<MmapMut> {
    let more = if len < 16 * PAGE_BYTES { 0 } else { len / 4 };
    let wanted = (len + more).next_multiple_of(PAGE_BYTES);
    (len >= PAGES_BYTES_MIN).then(|| MmapMut::map_anon(wanted).ok())?
}

impl From<&[u8]> for Pages {
    fn from(bytes: &[u8]) -> Pages {
        let mut pages = Pages::default();
        pages.extend_from_slice(bytes);
        pages
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Memory::Allocated(bytes) => bytes,
            Memory::Mapped(pages) => &pages[..self.len],
        }
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pages({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_does_not_depend_on_the_size_of_appends() {
        let bytes: Vec<u8> = (0..40_000).map(|at| (at % 251) as u8).collect();
        for piece in [1, 7, 500, 1023, 1024, 5000, 40_000] {
            let mut pages = Pages::default();
            assert_eq!((pages.len(), pages.held_bytes()), (0, 0));
            let mut given = 0;
            for piece in bytes.chunks(piece) {
                pages.extend_from_slice(piece);
                given += piece.len();
                assert_eq!(*pages, bytes[..given]);
                assert!((given..=2 * given + 2 * PAGE_BYTES).contains(&pages.held_bytes()));
            }
            assert_eq!(*Pages::from(&bytes[..given]), bytes);
        }
    }
}
