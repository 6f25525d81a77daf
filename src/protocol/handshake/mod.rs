//! The opening handshake of RFC 6455, section 4, in the server and the client role.
//!
//! A server feeds received bytes to a [`HeadScan`] until the head is complete and parses it with
//! [`Request::parse`]. Then it either checks the upgrade ([`Request::upgrade`]) and answers with
//! an [`Accept`], or answers with a [`Response`]. Every rejection is a [`Refusal`].
//! A client writes a [`ClientRequest`] and checks the answer with [`Expected`].
//!
//! Nothing here does I/O or knows routes and connection limits. No byte from the peer is repeated
//! in an answer, except for the digest of its key and the subprotocol that was chosen.

pub(super) mod accept;
pub(super) mod client;
pub(super) mod expected;
pub(super) mod extension;
pub(super) mod field;
pub(super) mod head;
pub(super) mod key;
pub(super) mod refusal;
pub(super) mod request;
pub(super) mod response;
pub(super) mod target;
pub(super) mod token_offer;
pub(super) mod upgrade;

pub use accept::{ACCEPT_HEADER_BYTES_MAX, ACCEPT_PROTOCOL_BYTES_MAX, Accept};
pub use client::ClientRequest;
pub use expected::{ClientError, Expected, Settled};
pub use extension::MalformedExtensions;
pub use field::FieldError;
pub use head::{EMPTY_SLOTS, HEADERS_MAX, HeadScan, Slots};
pub use key::accept_key;
pub use refusal::Refusal;
pub use request::Request;
pub use response::{Body, ConnectionOption, Response};
pub use token_offer::{TOKEN_PREFIX, TOKEN_PROTOCOL};
pub use upgrade::Upgrade;
