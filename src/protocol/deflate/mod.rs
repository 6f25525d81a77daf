//! permessage-deflate: RFC 7692, section 7, without I/O.
//!
//! A server reads the client's offers with [`negotiate`]; a client makes an [`Offer`] and checks
//! the answer against it. The result on both ends is an [`Agreement`]. Then an [`Inflater`]
//! inflates the [`Compressed`] messages that a decoder found, and a [`Deflater`] compresses
//! messages to send. One of each serves all connections of a loop: a connection owns at most a
//! [`Window`] for each direction, and only with context takeover.
//!
//! The caller decides which connections compress and how much memory their windows may use.
//!
//! Without the feature `deflate` there is no codec, and no endpoint can agree on the extension.

mod agreement;
mod compressed;
#[cfg(feature = "deflate")]
mod deflater;
#[cfg(feature = "deflate")]
mod inflater;
#[cfg(feature = "deflate")]
mod inflation;
mod offer;
mod window;

pub use agreement::{Agreement, Direction};
pub use compressed::Compressed;
#[cfg(feature = "deflate")]
pub use deflater::Deflater;
#[cfg(feature = "deflate")]
pub use inflater::{Effort, Inflater, Unfinished};
pub use offer::{Offer, Terms, negotiate};
pub use window::Window;

pub(super) use compressed::compressed_bytes_max;

/// Maximum number of compressed bytes that are inflated in one step. They expand to at most 2 MiB,
/// in 1 to 2 ms, since DEFLATE makes at most 1032 bytes of one.
pub const PIECE_BYTES_MAX: usize = 2 * 1024;

/// The name of the extension (RFC 7692, 7).
pub const NAME: &str = "permessage-deflate";

/// The largest window of DEFLATE: 2^15 bytes (RFC 7692, 7.1.2).
pub const WINDOW_BITS_MAX: u8 = 15;
/// The smallest window that messages are compressed with. RFC 7692 also allows 2^8 bytes, but zlib
/// and its derivatives cannot limit a raw stream to that.
pub const WINDOW_BITS_MIN: u8 = 9;
/// Valid levels for [`Deflater::new`], from the fastest to the smallest output.
pub const LEVELS: std::ops::RangeInclusive<u8> = 1..=9;
/// Valid memory levels for [`Deflater::new`].
pub const MEM_LEVELS: std::ops::RangeInclusive<u8> = 1..=9;

/// The end of a message's DEFLATE data that is not sent: an empty uncompressed block, without its
/// header (RFC 7692, 7.2.1).
#[cfg(feature = "deflate")]
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
