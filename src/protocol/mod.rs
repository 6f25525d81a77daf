//! RFC 6455 and 7692 without I/O: input is `&mut [u8]`, output is appended to a caller's `Vec`.
//!
//! Nothing here opens a socket, reads a clock, draws a random number or writes a log line; return
//! values say what the caller must do next. [`Decoder`] turns bytes into [`Event`]s, [`Encoder`]
//! turns messages into frames. Terms are those of the RFC: a *frame* is the unit on the wire; a
//! *message* is the application's unit, made of one frame or of several fragments.
//!
//! ```
//! use weir::protocol::{Decoder, Encoder, Event, Message, Role, Spares};
//!
//! let mut wire = Vec::new();
//! Encoder::client(&mut wire, [1, 2, 3, 4]).message(Message::Text("Grüße"));
//!
//! let mut decoder = Decoder::new(Role::Server);
//! let step = decoder.decode(&mut wire, 1024, &mut Spares::default()).unwrap();
//! assert!(matches!(step.event, Some(Event::Message(Message::Text("Grüße")))));
//! ```

mod assembly;
mod close;
mod close_code;
mod decoder;
pub mod deflate;
pub(crate) mod encoder;
mod error;
pub(crate) mod frame;
mod frame_batch;
pub(crate) mod growth;
pub mod handshake;
pub mod http;
pub mod mask;
mod message;
#[cfg(feature = "proxy")]
pub mod passage;
mod piece;
pub mod proxy_header;
pub(crate) mod secret;
pub(crate) mod shared_tail;
pub mod utf8;

pub use assembly::Spares;
pub use close::CloseFrame;
pub use close_code::CloseCode;
pub use decoder::{Decoder, Step};
pub use encoder::{Encoder, SharedFrame, frame_bytes};
pub use error::ProtocolError;
pub use frame::{FrameHeader, Opcode, Role};
pub(crate) use frame_batch::BatchCounts;
pub use frame_batch::{BatchDeflater, DeflateTerms, FrameBatch};
pub use message::{Event, Masked, Message};
pub use piece::Piece;
pub use shared_tail::SharedTail;
