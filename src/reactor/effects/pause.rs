//! Pauses and resumes reading from a connection.
//!
//! The poll interest and the timeouts of silence follow from a pause. Its owners are in
//! [`conn::pause`](crate::reactor::conn::pause).

use std::time::Duration;

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
    /// restart. A pause by a rate, which the peer itself has caused, does not count as time of an
    /// unfinished message, and restarts no more than the heartbeat.
    pub(crate) fn resume(&mut self, id: ConnId, owner: PauseOwner) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let is_by_rate = owner == PauseOwner::Rate;
        let was_paused = conn.pauses.has(owner);
        let is_last = conn.pauses.end(owner);
        let is_last_of_others =
            !is_by_rate && (is_last || was_paused && conn.pauses.is_only(PauseOwner::Rate));
        if is_by_rate {
            let length = conn.rates_mut().map_or(Duration::ZERO, |rates| rates.end_pause(now));
            if conn.message_since != Time::MAX {
                conn.message_since = now.min(conn.message_since + length);
            }
        } else if is_last_of_others {
            conn.last_data = now;
            if conn.decoder.is_mid_message() || conn.is_piped() && conn.message_since != Time::MAX {
                conn.message_since = now;
            }
        }
        if !is_last {
            return;
        }
        conn.last_heard = now;
        self.enqueue_flush(id);
        self.enqueue_read(id);
        self.arm(id);
    }
}
