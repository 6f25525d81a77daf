//! Bytes that a service holds for a connection, such as a request that waits: the ledger counts them
//! like input.

use crate::reactor::api::budget::HOLD_BYTES_MAX;
use crate::reactor::api::id::{ConnId, ServiceId};
use crate::reactor::conn::cold::Labels;
use crate::reactor::core::Core;

impl Core {
    /// Replaces the bytes that a service holds for a connection. False if they do not fit: then the
    /// previous number stays.
    pub(crate) fn hold(&mut self, service: ServiceId, id: ConnId, bytes: usize) -> bool {
        let conn = self.conns.owned_mut(service, id).filter(|conn| !conn.has_ended());
        let Some(conn) = conn else {
            return false;
        };
        let more = bytes.saturating_sub(conn.service_bytes());
        let held = self.outboxes.held_by(conn);
        let fits = bytes <= HOLD_BYTES_MAX && self.outboxes.allows(held, more);
        if more > 0 && !conn.is_operator() && !fits {
            self.metrics.buffered_refused += 1;
            return false;
        }
        let labels = &mut conn.cold().labels;
        labels.get_or_insert_default().held_bytes = bytes;
        labels.take_if(|labels| **labels == Labels::default());
        self.charge_input_or_close(id);
        self.conns.get(id).is_some_and(|conn| !conn.has_ended())
    }
}
