//! Sends each message back: the smallest service, and lossless whatever the peer does.

use crate::protocol::Message;
use crate::reactor::{ConnId, Context, SendOutcome, Service};

/// Sends back what it gets. A peer that does not read is not listened to until it has.
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
