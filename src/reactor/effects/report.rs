//! Records of connections for services, and metrics for operators.
//!
//! It only reads: the parts that own the values update them.

use std::net::SocketAddr;
use std::ops::Range;

use crate::reactor::api::id::ConnId;
use crate::reactor::api::metadata::Metadata;
use crate::reactor::api::record::Record;
use crate::reactor::core::Core;
use crate::reactor::parts::metrics::Metrics;
use crate::reactor::parts::shared_rates::SharedRate;

impl Core {
    pub(crate) fn record(&self, id: ConnId) -> Option<Record<'_>> {
        let conn = self.conns.get(id)?;
        let protocols = self.router.protocols(conn.service);
        let labels = conn.cold.as_deref().and_then(|cold| cold.labels.as_deref());
        let listed = conn.protocol().map(|index| &*protocols[index]);
        Some(Record {
            id,
            peer: SocketAddr::from(conn.peer),
            route: self.router.text(conn.route),
            path: &conn.path,
            protocol: listed.or(labels.and_then(|labels| labels.protocol.as_deref())),
            priority: conn.priority(),
            is_open: conn.is_open(),
            opened: conn.opened,
            last_heard: conn.last_heard,
            traffic: self.outboxes.batches.traffic(conn),
            queued_bytes: self.outboxes.queued_bytes(conn),
            round_trip: conn.heartbeat.round_trips.mean(),
            metadata: labels.map_or(Metadata::EMPTY, |labels| &labels.metadata),
            trace: self.trace(id),
            identity: conn.identity().map(|identity| &**identity),
        })
    }

    /// The records of clients' open WebSockets and tunnels in these slots of the table.
    pub(crate) fn clients(&self, slots: Range<usize>) -> impl Iterator<Item = Record<'_>> {
        let found = self.conns.in_slots(slots.start, slots.len());
        let open = found.filter(|(_, conn)| conn.is_open_client());
        open.filter_map(|(id, _)| self.record(id))
    }

    /// The counts, with gauges copied from the parts that own them.
    pub(crate) fn metrics(&mut self) -> &Metrics {
        let lent = self.deflate.streams_lent();
        // Present from the start, so that a rate includes the first count.
        for (route, rates) in self.router.rated() {
            for limit in rates.limits() {
                self.metrics.count_pauses(route, limit, 0);
            }
        }
        let Metrics {
            connections_now,
            identities_now,
            awaiting_refusal_now,
            rate_entries_now,
            rate_overflows,
            rate_tables,
            throttled_now,
            buffered_now,
            inflate_streams_now,
            deflate_windows_now,
            deflate_windows_reserved_now,
            level_now,
            ..
        } = &mut self.metrics;
        let owned = [
            (connections_now, self.conns.len()),
            (identities_now, self.subjects.len()),
            (awaiting_refusal_now, self.admission.refused()),
            (rate_entries_now, self.admission.rate_entries()),
            (throttled_now, self.throttled),
            (buffered_now, self.outboxes.held()),
            (inflate_streams_now, lent),
            (deflate_windows_now, self.deflate.windows_held()),
            (deflate_windows_reserved_now, self.deflate.windows_reserved()),
            (level_now, self.load.levels.level() as usize),
        ];
        for (metric, value) in owned {
            *metric = value as u64;
        }
        *rate_overflows = self.admission.rate_overflows() + self.shared_rates.overflows();
        rate_tables.insert("admission", self.admission.rate_entries() as u64);
        for rate in SharedRate::ALL {
            rate_tables.insert(rate.limit().name(), self.shared_rates.len(rate) as u64);
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
        metrics.identities_now = value;
        metrics.awaiting_refusal_now = value;
        metrics.rate_entries_now = value;
        metrics.throttled_now = value;
        metrics.buffered_now = value;
        metrics.inflate_streams_now = value;
        metrics.deflate_windows_now = value;
        metrics.deflate_windows_reserved_now = value;
        metrics.level_now = value;
    }

    /// Gauges are copies: no decision depends on their value.
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
