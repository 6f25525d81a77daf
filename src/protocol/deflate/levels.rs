//! Levels of the compressor, known without the feature `deflate`, too.

use std::ops::RangeInclusive;

/// Valid levels for [`Deflater::new`](super::Deflater::new), from the fastest to the smallest output.
pub const LEVELS: RangeInclusive<u8> = 1..=9;
/// Valid memory levels for [`Deflater::new`](super::Deflater::new).
pub const MEM_LEVELS: RangeInclusive<u8> = 1..=9;
