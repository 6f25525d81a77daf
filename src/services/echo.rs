//! Returns each message to its sender: the smallest service, without loss if the peer is slow.

use crate::protocol::Message;
use crate::reactor::{ConnId, Context, SendOutcome, Service};

/// Returns each message to its sender. Reading pauses while the peer's outbox is congested.
#[derive(Debug, Default)]
pub struct Echo;

impl Service for Echo {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        match cx.send(conn, message) {
            SendOutcome::Congested => cx.pause(conn),
            // After Full and Overloaded the route's policy applies: the connection is closed, or the
            // loop counts the lost message. The other outcomes lose nothing: a route accepts no
            // message that its queue could not hold, and the service masks none.
            SendOutcome::Queued
            | SendOutcome::Full
            | SendOutcome::Overloaded
            | SendOutcome::TooLarge
            | SendOutcome::WrongRole
            | SendOutcome::Gone => {}
        }
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        cx.resume(conn);
    }
}
