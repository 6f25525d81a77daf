//! Returns each message to its sender: the smallest service, without loss if the peer is slow.

use crate::protocol::Message;
use crate::reactor::{ConnId, Context, SendOutcome, Service};

/// Returns each message to its sender. Reading pauses while the peer's outbox is congested.
#[derive(Debug, Default)]
pub struct Echo;

impl Service for Echo {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        if cx.send(conn, message) == SendOutcome::Congested {
            cx.pause(conn);
        }
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        cx.resume(conn);
    }
}
