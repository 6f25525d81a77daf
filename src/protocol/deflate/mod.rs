//! permessage-deflate: RFC 7692, section 7, without I/O.
//!
//! A server reads the client's offers with [`negotiate`], a client makes an [`Offer`] and holds the
//! answer against it; both come to an [`Agreement`]. From then on an [`Inflater`] takes the
//! [`Compressed`] messages that a decoder found, and a [`Deflater`] makes the payloads of those to
//! send. One of each serves all connections of a loop: what a connection owns is, at the most, a
//! [`Window`] for each direction, and only where context takeover was agreed on.
//!
//! Which connections compress, and what their windows may cost, is for the caller to say.

mod agreement;
mod deflater;
mod inflater;
mod inflation;
mod offer;
mod window;

pub use agreement::{Agreement, Direction};
pub use deflater::Deflater;
pub use inflater::{Compressed, Effort, Inflater, Unfinished};
pub use offer::{Offer, Terms, negotiate};
pub use window::Window;

pub(super) use inflation::compressed_bytes_max;

/// Compressed bytes that are inflated in one step, at the most: they come to 2 MiB, in a millisecond or
/// two, since DEFLATE makes of one byte no more than 1032.
pub const PIECE_BYTES_MAX: usize = 2 * 1024;

/// The name of the extension (RFC 7692, 7).
pub const NAME: &str = "permessage-deflate";

/// The largest window of DEFLATE: 2^15 bytes (RFC 7692, 7.1.2).
pub const WINDOW_BITS_MAX: u8 = 15;
/// The smallest window that messages are compressed with. RFC 7692 knows one of 2^8 bytes, too, but
/// zlib and its kin cannot keep to that in a raw stream.
pub const WINDOW_BITS_MIN: u8 = 9;
/// What [`Deflater::new`] takes for a level: from the fastest to the smallest.
pub const LEVELS: std::ops::RangeInclusive<u8> = 1..=9;
/// What [`Deflater::new`] takes for the memory of its streams.
pub const MEM_LEVELS: std::ops::RangeInclusive<u8> = 1..=9;

/// The end of a message's DEFLATE data that does not go over the wire: an empty block without
/// compression, after its header (RFC 7692, 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
