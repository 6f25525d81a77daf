//! Pauses and resumes reading from a connection.
//!
//! The poll interest and the timeouts of silence follow from a pause. Its owners are in
//! [`conn::pause`](crate::reactor::conn::pause).

use crate::reactor::api::id::ConnId;
use crate::reactor::api::time::Time;
use crate::reactor::conn::pause::PauseOwner;
use crate::reactor::core::Core;

impl Core {
    /// Pauses reading from a connection for one more owner; false if it is not open.
    pub(crate) fn pause(&mut self, id: ConnId, owner: PauseOwner) -> bool {
        let Some(conn) = self.conns.get_mut(id).filter(|conn| conn.is_open()) else {
            return false;
        };
        if conn.pauses.add(owner) {
            self.enqueue_flush(id);
        }
        true
    }

    /// Resumes reading. Silence while reading was paused does not count: all timeouts of silence
    /// restart.
    pub(crate) fn resume(&mut self, id: ConnId, owner: PauseOwner) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if !conn.pauses.end(owner) {
            return;
        }
        conn.last_heard = self.now;
        conn.last_data = self.now;
        if conn.decoder.is_mid_message() || conn.is_piped() && conn.message_since != Time::MAX {
            conn.message_since = self.now;
        }
        self.enqueue_flush(id);
        self.enqueue_read(id);
        self.arm(id);
    }
}
