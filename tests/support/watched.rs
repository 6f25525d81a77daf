//! A service that reports the events of its connections.

use std::sync::mpsc::{Receiver, Sender, channel};

use weir::protocol::Message;
use weir::reactor::{CloseReason, ConnId, Context, Metrics, SendOutcome, Service};

use super::{DEADLINE, Server};

/// An event that a [`Watched`] service reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// Reported only by [`Deferring`](crate::deferring::Deferring).
    Deferred(ConnId),
    Opened(ConnId),
    Message(ConnId, Vec<u8>),
    Drained(ConnId),
    Closed(ConnId, CloseReason),
}

/// What a [`Watched`] service does with a message.
type Reply = Box<dyn FnMut(&mut Context<'_>, ConnId, Message<'_>) + Send>;

/// A service that reports the events of its connections, and calls a closure of the test for each message.
pub struct Watched {
    sender: Sender<Seen>,
    reply: Reply,
}

impl Watched {
    pub fn new(
        reply: impl FnMut(&mut Context<'_>, ConnId, Message<'_>) + Send + 'static,
    ) -> (Watched, Receiver<Seen>) {
        let (sender, seen) = channel();
        (Watched { sender, reply: Box::new(reply) }, seen)
    }

    /// Echoes each message; a congested connection is paused until it has drained.
    pub fn echo() -> (Watched, Receiver<Seen>) {
        Watched::new(|cx, conn, message| {
            if cx.send(conn, message) == SendOutcome::Congested {
                cx.pause(conn);
            }
        })
    }

    pub fn report(&self, seen: Seen) {
        // A test that needs no more events has dropped the receiver.
        let _ = self.sender.send(seen);
    }
}

impl Service for Watched {
    fn on_open(&mut self, _: &mut Context<'_>, conn: ConnId) {
        self.report(Seen::Opened(conn));
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        self.report(Seen::Message(conn, message.as_bytes().to_vec()));
        (self.reply)(cx, conn, message);
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.report(Seen::Drained(conn));
        cx.resume(conn);
    }

    fn on_close(&mut self, _: &mut Context<'_>, conn: ConnId, why: CloseReason) {
        self.report(Seen::Closed(conn, why));
    }
}

/// Waits until a connection ends; returns the reason.
pub fn next_end(seen: &Receiver<Seen>) -> CloseReason {
    loop {
        if let Seen::Closed(_, why) = seen.recv_timeout(DEADLINE).expect("a connection ends") {
            return why;
        }
    }
}

/// Waits for the end of the only connection, then for that of the server. Returns the reason, which is
/// reported exactly once, and the metrics.
pub fn only_end(server: Server, seen: &Receiver<Seen>) -> (CloseReason, Metrics) {
    let reason = next_end(seen);
    let metrics = server.stop();
    let more: Vec<Seen> = seen.iter().filter(|seen| matches!(seen, Seen::Closed(..))).collect();
    assert_eq!(more, [], "on_close is called once");
    assert_eq!((metrics.connections_now, metrics.buffered_now), (0, 0));
    (reason, metrics)
}
