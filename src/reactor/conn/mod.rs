//! The state of one connection, and what follows from it. No file here has an effect on the loop.
//!
//! [`connection`] has the fields, [`cold`] those that few connections need; [`interest`] and
//! [`deadline`] are functions of them. [`table`] finds connections, and [`outboxes`] is the only way to
//! change their output.

pub(super) mod admitted;
pub(super) mod batch;
pub(super) mod cold;
pub(super) mod connection;
pub(super) mod deadline;
pub(super) mod due;
#[cfg(feature = "proxy")]
pub(super) mod exchange;
#[cfg_attr(not(feature = "proxy"), path = "../without/conn/exchanging.rs")]
pub(super) mod exchanging;
pub(super) mod gated;
pub(super) mod handshake;
pub(super) mod heartbeat;
pub(super) mod identified;
pub(super) mod identity;
pub(super) mod input;
pub(super) mod interest;
pub(super) mod outbox;
pub(super) mod outboxes;
pub(super) mod pause;
pub(super) mod phase;
#[cfg_attr(not(feature = "proxy"), path = "../without/conn/pipe.rs")]
pub(super) mod pipe;
#[cfg_attr(not(feature = "proxy"), path = "../without/conn/piped.rs")]
pub(super) mod piped;
pub(super) mod rated;
pub(super) mod rates;
pub(super) mod reading;
#[cfg_attr(not(feature = "proxy"), path = "../without/conn/relayed.rs")]
pub(super) mod relayed;
pub(super) mod table;
pub(super) mod unread;
#[cfg_attr(not(feature = "deflate"), path = "../without/conn/windows.rs")]
pub(super) mod windows;
