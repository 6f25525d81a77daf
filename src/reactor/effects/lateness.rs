//! Our own lateness: a pong that we have not read, or that a stop of the process has delayed, is not
//! missed.
//!
//! Under load a deadline may fire while the pong waits in the kernel: the poll reports a limited number of
//! connections, and a turn reads a limited number. So the connection is read first. After a stop of the
//! process, or a suspension of the machine, pongs may have been lost with the network: the ping is sent
//! again.

use std::io;
use std::time::Duration;

use crate::reactor::api::id::ConnId;
use crate::reactor::core::Core;

/// A pong deadline that fires later than this after its time looks into the socket first.
const PONG_LATE: Duration = Duration::from_millis(250);

/// What a missing pong means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingPong {
    /// The peer is silent.
    Silence,
    /// Input waits to be read; the deadline fires again afterwards.
    Unread,
    /// The process was stopped after the ping.
    Stopped,
}

impl Core {
    /// What the missing pong of a connection means, whose deadline has passed.
    pub(crate) fn judge_missing_pong(&mut self, id: ConnId) -> MissingPong {
        let Some(conn) = self.conns.get_mut(id) else {
            return MissingPong::Silence;
        };
        if conn.heartbeat.was_sent_before(self.load.stopped_until) {
            self.metrics.pongs_excused += 1;
            return MissingPong::Stopped;
        }
        let route = self.router.settings(conn.route);
        let (due, _) = conn.deadline(&self.settings, route, self.load.grace_shift);
        let is_unread = conn.reading.is_queued()
            || self.now.since(due) > PONG_LATE && {
                let peeked = conn.socket.peek(&mut [0]);
                // The end of the stream and errors are for the read, too.
                !peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            };
        if !is_unread {
            return MissingPong::Silence;
        }
        conn.readable = true;
        self.metrics.pongs_excused += 1;
        self.enqueue_read(id);
        MissingPong::Unread
    }
}
