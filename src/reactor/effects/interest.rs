//! Readiness events of connections, and the registration of their interest with the poll.
//!
//! No other file registers connections. The interest itself is a function of a connection's state:
//! [`conn::interest`](crate::reactor::conn::interest).

use log::debug;
use mio::Token;
use mio::event::Event;

use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::{ConnId, Source};
use crate::reactor::core::Core;

impl Core {
    /// Records what the poll reported, and queues the connection to be read or flushed.
    pub(crate) fn record_readiness(&mut self, id: ConnId, event: &Event) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.readable |= event.is_readable() || event.is_error() || event.is_read_closed();
        conn.read_closed |= event.is_read_closed();
        if event.is_error() && conn.is_unread_by_choice() {
            return self.drop_connection(id, CloseReason::PeerReset);
        }
        if conn.should_read() {
            conn.reading.enter_queue();
            self.queues.read.push_back(id);
        }
        if conn.awaits_write() && (event.is_writable() || event.is_error()) {
            self.enqueue_flush(id);
        }
    }

    /// Registers the interest that a connection needs now, if it has changed.
    pub(crate) fn sync_interest(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let wanted = conn.wanted_interest();
        if wanted == conn.interest {
            return;
        }
        let token = Token::from(Source::Connection(id));
        let result = match (conn.interest, wanted) {
            (None, Some(interest)) => self.registry.register(&mut conn.socket, token, interest),
            (Some(_), Some(interest)) => {
                self.registry.reregister(&mut conn.socket, token, interest)
            }
            (_, None) => self.registry.deregister(&mut conn.socket),
        };
        match result {
            Ok(()) => conn.interest = wanted,
            Err(error) => {
                debug!("{id}: poll registration failed: {error}");
                self.drop_connection(id, CloseReason::PeerReset);
            }
        }
    }
}
