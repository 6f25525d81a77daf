//! Operations for services beyond a connection's queue: topics, records, pauses, metrics.
//!
//! It combines effects of the [`core`](crate::reactor::core) (queueing, closing, arming timers).

use std::net::SocketAddr;

use crate::reactor::api::id::{ConnId, ServiceId};
use crate::reactor::api::record::{Metadata, Record};
use crate::reactor::conn::pause::PauseOwner;
use crate::reactor::core::Core;
use crate::reactor::parts::metrics::Metrics;
use crate::reactor::parts::topics::{JoinError, Joined, Left};

impl Core {
    pub(crate) fn subscribe(
        &mut self,
        service: ServiceId,
        id: ConnId,
        topic: &str,
    ) -> Result<Joined, JoinError> {
        let Some(conn) = self.conns.get_mut(id).filter(|conn| conn.is_open()) else {
            return Err(JoinError::NotOpen);
        };
        let joined = self.topics.join(service.number(), topic, id, &mut conn.topics);
        self.metrics.joins_refused += u64::from(joined.is_err());
        joined
    }

    pub(crate) fn unsubscribe(&mut self, service: ServiceId, id: ConnId, topic: &str) -> Left {
        match self.conns.get_mut(id) {
            Some(conn) => self.topics.leave(service.number(), topic, &mut conn.topics),
            None => Left::NotMember,
        }
    }

    /// Pauses reading from a connection for one more owner; false if it is not open.
    pub(crate) fn pause(&mut self, id: ConnId, owner: PauseOwner) -> bool {
        let Some(conn) = self.conns.get_mut(id).filter(|conn| conn.is_open()) else {
            return false;
        };
        if conn.pauses.add(owner) {
            self.mark_dirty(id);
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
        if conn.decoder.is_mid_message() {
            conn.message_since = self.now;
        }
        self.mark_dirty(id);
        self.run(id);
        self.arm(id);
    }

    /// Schedules a call of a service's `on_mail` in the next mail phase, unless the service is paused
    /// after a panic.
    pub(crate) fn wake(&mut self, service: ServiceId) {
        self.queues.wake(service, &self.recovery);
    }

    /// Schedules a call for each service with mail from other threads.
    pub(crate) fn take_mail(&mut self) {
        for service in self.notifiers.take_notified() {
            self.queues.wake(service, &self.recovery);
        }
    }

    pub(crate) fn record(&self, id: ConnId) -> Option<Record<'_>> {
        let conn = self.conns.get(id)?;
        let protocols = self.router.protocols(conn.service);
        let rare = conn.rare.as_deref();
        Some(Record {
            id,
            peer: SocketAddr::from(conn.peer),
            path: &conn.path,
            protocol: conn.protocol().map(|index| &*protocols[index]),
            is_open: conn.is_open(),
            opened: conn.opened,
            last_heard: conn.last_heard,
            traffic: self.outboxes.batches.traffic(conn),
            queued_bytes: self.outboxes.queued_bytes(conn),
            round_trip: conn.pulse.round_trips.mean(),
            metadata: rare.and_then(|rare| rare.metadata.as_deref()).unwrap_or(Metadata::EMPTY),
        })
    }

    /// The counts, with gauges copied from the parts that own them.
    pub(crate) fn metrics(&mut self) -> &Metrics {
        let lent = self.deflate.streams_lent();
        let Metrics {
            connections_now,
            awaiting_refusal_now,
            buffered_now,
            inflate_streams_now,
            deflate_windows_now,
            deflate_windows_reserved_now,
            ..
        } = &mut self.metrics;
        let owned = [
            (connections_now, self.conns.len()),
            (awaiting_refusal_now, self.admission.refused()),
            (buffered_now, self.outboxes.held()),
            (inflate_streams_now, lent),
            (deflate_windows_now, self.deflate.windows_held()),
            (deflate_windows_reserved_now, self.deflate.windows_reserved()),
        ];
        for (metric, value) in owned {
            *metric = value as u64;
        }
        &self.metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::Reactor;
    use crate::reactor::settings::Settings;

    fn set_gauges(metrics: &mut Metrics, value: u64) {
        metrics.connections_now = value;
        metrics.awaiting_refusal_now = value;
        metrics.buffered_now = value;
        metrics.inflate_streams_now = value;
        metrics.deflate_windows_now = value;
        metrics.deflate_windows_reserved_now = value;
    }

    /// Gauges are copies: what is in them decides nothing.
    #[test]
    fn limits_do_not_read_gauges() {
        let settings = Settings {
            refused_max: 1,
            buffered_bytes_max: 2000,
            connections_max: 1,
            outbound_max: 1,
            deflate_windows_bytes_max: 8192,
            ..Settings::default()
        };
        let mut core = Reactor::new(settings).unwrap().core;
        core.outboxes.ledger.replace(0, 900);
        for value in [0, u64::MAX] {
            set_gauges(&mut core.metrics, value);
            let settings = core.settings.clone();
            assert!(core.admission.admit_refused(&settings));
            assert!(!core.admission.admit_refused(&settings));
            core.admission.release_refused();
            assert!(core.outboxes.allows(900, 100) && !core.outboxes.allows(900, 101));
            if cfg!(feature = "deflate") {
                assert!(core.has_window_room(8192) && !core.has_window_room(8193));
            }
        }
        core.metrics();
        let left = core.metrics.iter().filter(|metric| metric.name.ends_with("_now"));
        let left: Vec<_> = left.filter(|metric| metric.value > 0).collect();
        assert!(matches!(left[..], [buffered] if buffered.value == 900), "{left:?}");
    }
}
