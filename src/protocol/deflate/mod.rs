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

pub(super) mod agreement;
pub(super) mod compressed;
#[cfg(feature = "deflate")]
pub(super) mod deflater;
#[cfg(feature = "deflate")]
pub(super) mod inflater;
#[cfg(feature = "deflate")]
pub(super) mod inflation;
pub(super) mod levels;
pub(super) mod offer;
pub(super) mod window;

pub use agreement::{Agreement, Direction, NAME};
pub use compressed::{Compressed, PIECE_BYTES_MAX};
#[cfg(feature = "deflate")]
pub use deflater::Deflater;
#[cfg(feature = "deflate")]
pub use inflater::{Effort, Inflater, Unfinished};
pub use levels::{LEVELS, MEM_LEVELS};
pub use offer::{Offer, Terms, negotiate};
pub use window::{WINDOW_BITS_MAX, WINDOW_BITS_MIN, Window};
