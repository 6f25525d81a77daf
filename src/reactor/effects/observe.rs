//! Reports events to the observer, and keeps the trace of each request.
//!
//! Without an observer, and without the setting `trace`, a call here costs one branch, and none is
//! made for a message. Refusals are limited like [log lines](crate::reactor::effects::log), which
//! are written at the same places.

use std::net::SocketAddr;

use log::Level;

use crate::protocol::Role;
use crate::protocol::handshake::Request;
use crate::protocol::http::TraceParent;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::{ConnId, RouteId};
use crate::reactor::api::observer::{Event, EventConn, EventKind};
use crate::reactor::conn::connection::Connection;
use crate::reactor::core::Core;
use crate::reactor::parts::lines::{Reason, SUMMARY_DELAY};
use crate::reactor::parts::observed::Observed;
use crate::reactor::parts::schedule::Timer;

impl Core {
    /// Reports an event of a client's connection.
    #[inline]
    pub(crate) fn observe(&mut self, id: ConnId, kind: EventKind<'_>) {
        if self.observed.is_some() {
            self.report_event(id, kind);
        }
    }

    /// Reports that a client's WebSocket is open, after its identity if its gate has determined one.
    #[inline]
    pub(crate) fn observe_connected(&mut self, id: ConnId) {
        if self.observed.is_some() {
            if self.conns.get(id).is_some_and(|conn| conn.identity().is_some()) {
                self.report_event(id, EventKind::Identity);
            }
            self.report_event(id, EventKind::Connected);
        }
    }

    /// Reports that a connection has a new identity, unless it is not open yet: then its identity is
    /// reported when it is.
    pub(crate) fn observe_refreshed(&mut self, id: ConnId) {
        if self.conns.get(id).is_some_and(is_established) {
            self.observe(id, EventKind::Refreshed);
        }
    }

    /// Reports an event of the whole loop.
    pub(crate) fn observe_loop(&mut self, kind: EventKind<'_>) {
        if let Some(Observed { observer, .. }) = &mut self.observed {
            observer.on_event(&Event { kind, conn: None });
        }
    }

    /// Reports a refused request.
    pub(crate) fn observe_refused(&mut self, id: ConnId, status: u16, reason: Reason) {
        if self.may_observe_refusal(reason) {
            self.report_event(id, EventKind::Refused { status: Some(status), reason });
        }
    }

    /// Reports a request at a listener for operators.
    pub(crate) fn observe_operator(&mut self, id: ConnId, request: &Request<'_>) {
        if self.observed.is_some() && self.conns.get(id).is_some_and(Connection::is_operator) {
            let (method, target) = (request.method(), request.target());
            self.report_event(id, EventKind::Admin { method, target });
        }
    }

    /// Reports the end of a connection that was removed from the table.
    #[inline]
    pub(crate) fn observe_end(&mut self, id: ConnId, conn: &Connection, reason: CloseReason) {
        if self.observed.is_some() {
            self.report_end(id, conn, reason);
        }
    }

    #[cold]
    fn report_end(&mut self, id: ConnId, conn: &Connection, reason: CloseReason) {
        let kind = match reason {
            _ if is_established(conn) => EventKind::Closed(reason),
            CloseReason::TlsFailed
            | CloseReason::ProxyHeader(_)
            | CloseReason::HandshakeTimeout
                if self.may_observe_refusal(reason.name()) =>
            {
                EventKind::Refused { status: None, reason: reason.name() }
            }
            _ => return,
        };
        self.call_observer(id, Some(conn), kind);
    }

    #[cold]
    fn report_event(&mut self, id: ConnId, kind: EventKind<'_>) {
        self.call_observer(id, None, kind);
    }

    /// Calls the observer for a server's connection: `removed`, or the one in the table.
    fn call_observer(&mut self, id: ConnId, removed: Option<&Connection>, kind: EventKind<'_>) {
        let Core { observed: Some(observed), conns, router, traces, .. } = self else {
            return;
        };
        let conn = removed.or_else(|| conns.get(id));
        let Some(conn) = conn.filter(|conn| conn.decoder.role() == Role::Server) else {
            return;
        };
        let handshake = conn.cold.as_ref().and_then(|cold| cold.handshake.as_ref());
        let route = handshake.map_or(Some(conn.route), |handshake| handshake.route);
        let about = EventConn {
            id,
            client: SocketAddr::from(conn.peer),
            via: conn.proxy().map(|proxy| proxy.address),
            route: route.map(|route| router.text(route)),
            subject: conn.subject(),
            trace: traces.get(id),
        };
        observed.observer.on_event(&Event { kind, conn: Some(about) });
    }

    /// Whether a refusal for this reason may be reported now. Counts it if not.
    fn may_observe_refusal(&mut self, reason: Reason) -> bool {
        let Some(Observed { limits, .. }) = &mut self.observed else {
            return false;
        };
        let is_allowed = limits.take(Level::Info, "event", reason, self.now);
        if !is_allowed && !limits.is_summary_due {
            limits.is_summary_due = true;
            self.schedule.insert(self.now + SUMMARY_DELAY, Timer::Lines);
        }
        is_allowed
    }

    /// Reports how many refusals were held back.
    pub(crate) fn observe_held_back(&mut self) {
        if let Some(Observed { observer, limits }) = &mut self.observed {
            for (_, _, reason, count) in limits.take_held_back() {
                let kind = EventKind::RefusedMore { reason, count };
                observer.on_event(&Event { kind, conn: None });
            }
        }
    }

    /// Stores the route of a request, before it is admitted, for the event of its refusal.
    pub(crate) fn note_route(&mut self, id: ConnId, route: Option<RouteId>) {
        if self.observed.is_some()
            && let Some(handshake) = self.conns.get_mut(id).and_then(|conn| conn.handshake())
        {
            handshake.route = route;
        }
    }

    /// Stores the trace of a request that has arrived: the one that it states, or a new one.
    pub(crate) fn note_trace(&mut self, id: ConnId, request: &Request<'_>) {
        if self.settings.trace {
            let stated = TraceParent::of(request);
            let trace = stated.unwrap_or_else(|| TraceParent::new(self.masks.trace_ids()));
            self.traces.set(id, trace);
        }
    }

    /// The trace of the last request on a connection.
    pub(crate) fn trace(&self, id: ConnId) -> Option<TraceParent> {
        self.traces.get(id)
    }
}

/// Whether its handshake is complete: an open connection has no handshake state.
fn is_established(conn: &Connection) -> bool {
    conn.cold.as_ref().is_none_or(|cold| cold.handshake.is_none())
}
