//! Rooms without the feature `auth`: no subprotocol, all messages are relayed.

use crate::protocol::Message;
use crate::protocol::handshake::Refusal;
use crate::reactor::{ConnId, Context};

/// The subprotocols of rooms.
pub(super) const PROTOCOLS: &[&str] = &[];

/// The commands of one member.
#[derive(Debug)]
pub(super) struct Refreshing;

impl Refreshing {
    /// For a member without a subprotocol.
    pub(super) fn new(_: Option<&str>) -> Refreshing {
        Refreshing
    }

    /// No message is a command.
    pub(super) fn handles(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) -> bool {
        false
    }

    /// No token was sent.
    pub(super) fn answer(&mut self, _: &mut Context<'_>, _: ConnId, _: Result<(), Refusal>) {}
}
