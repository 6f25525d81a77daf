//! The reserve: the last part of `connections_max`, for high and critical priorities.
//!
//! While the share below it is full, each new connection is provisional until its priority is known. So
//! many silent connections must not use it up: if half of it is in handshake, the oldest connection
//! without a complete head is dropped. [`admission`](crate::reactor::parts::admission) counts.

use crate::protocol::handshake::Refusal;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::ConnId;
use crate::reactor::api::priority::Priority;
use crate::reactor::api::settings::Limit;
use crate::reactor::conn::connection::Connection;
use crate::reactor::conn::phase::Phase;
use crate::reactor::core::Core;

impl Core {
    /// Determines the reserve: it is 0 unless a route has a gate or a high priority.
    pub(crate) fn review_reserve(&mut self) {
        let percent = usize::from(self.settings.reserve_percent);
        let whole = self.settings.connections_max.saturating_mul(percent) / 100;
        self.admission.set_reserve(if self.router.has_high_priorities() { whole } else { 0 });
    }

    /// Notes a new connection in the reserve.
    pub(crate) fn note_provisional(&mut self, id: ConnId) {
        if self.provisional.len() >= 2 * self.admission.reserve() {
            let conns = &self.conns;
            self.provisional.retain(|id| conns.get(*id).is_some_and(Connection::is_provisional));
        }
        self.provisional.push_back(id);
        if self.admission.is_reserve_in_handshake() {
            self.drop_oldest_provisional(id);
        }
    }

    /// Drops the oldest provisional connection that has sent no complete head, except `newest`.
    fn drop_oldest_provisional(&mut self, newest: ConnId) {
        while let Some(&id) = self.provisional.front().filter(|id| **id != newest) {
            self.provisional.pop_front();
            let conn = self.conns.get_mut(id).filter(|conn| conn.is_provisional());
            let Some(conn) = conn.filter(|conn| conn.phase == Phase::Handshake) else {
                continue;
            };
            if conn.handshake().is_some_and(|handshake| handshake.body.is_none()) {
                self.metrics.count_refusal(Refusal::Reserved);
                self.log_refused(id, Refusal::Reserved);
                return self.drop_connection(id, CloseReason::Refused(Refusal::Reserved));
            }
        }
    }

    /// Decides on a provisional connection whose priority is known.
    ///
    /// # Errors
    /// [`Reserved`](Refusal::Reserved) if the reserve is not for this priority.
    pub(crate) fn leave_reserve(
        &mut self,
        id: ConnId,
        priority: Priority,
        is_upgrade: bool,
    ) -> Result<(), Refusal> {
        if !self.conns.get(id).is_some_and(Connection::is_provisional) {
            return Ok(());
        }
        let has_room = !self.admission.is_share_full();
        if !has_room && !priority.is_exempt() && self.enforces(id, Limit::Reserved) {
            return Err(Refusal::Reserved);
        }
        if has_room || is_upgrade {
            self.admission.end_provisional();
            if let Some(conn) = self.conns.get_mut(id) {
                conn.set_provisional(false);
            }
        }
        Ok(())
    }
}
