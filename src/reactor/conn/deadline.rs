//! The next deadline of a connection: a function of its state, so that the two cannot disagree.
//!
//! [`deadlines`](crate::reactor::effects::deadlines) sets timers for it, and acts when it has
//! passed.

use super::connection::Connection;
use super::due::Due;
use super::outbox::pressure::Pressure;
use super::phase::Phase;
use crate::reactor::api::budget::{HTTP_ANSWER_TIMEOUT, REFUSED_CLOSE_TIMEOUT};
use crate::reactor::api::settings::{RouteSettings, Settings};
use crate::reactor::api::time::Time;

impl Connection {
    /// The next deadline and its kind, as a function of the state. A load level shifts `outbox_grace`
    /// by `grace_shift` bits.
    pub(crate) fn deadline(
        &self,
        settings: &Settings,
        route: &RouteSettings,
        grace_shift: u32,
    ) -> (Time, Due) {
        match self.phase {
            Phase::Connecting | Phase::Handshake | Phase::Deferred => {
                let cold = self.cold.as_deref();
                let handshake = cold.and_then(|cold| cold.handshake.as_deref());
                #[cfg(feature = "proxy")]
                if let Some(dialed) = handshake.and_then(|handshake| handshake.dialed.as_ref()) {
                    let blocked = self.outbox.blocked_since();
                    let stuck = blocked.map_or(Time::MAX, |since| since + route.write_timeout);
                    let is_first = stuck < dialed.until;
                    return if is_first {
                        (stuck, Due::Write)
                    } else {
                        (dialed.until, Due::Handshake)
                    };
                }
                #[cfg(feature = "proxy")]
                if self.exchange_partner().is_some() {
                    return self.exchange_deadline(route);
                }
                #[cfg(feature = "proxy")]
                if self.writes_response() {
                    return (self.write_deadline(route), Due::Write);
                }
                let since = handshake.map_or(self.opened, |handshake| handshake.since);
                let is_answered_later = self.phase == Phase::Deferred
                    && handshake.is_some_and(|handshake| handshake.pending_http.is_some());
                let patience = if is_answered_later {
                    HTTP_ANSWER_TIMEOUT
                } else {
                    settings.handshake_timeout
                };
                (since + patience, Due::Handshake)
            }
            Phase::Responding => self.responding_deadline(route),
            Phase::Open => self.open_deadline(settings, route, grace_shift),
            #[cfg(feature = "proxy")]
            Phase::Idle => (self.idle_until(), Due::Idle),
            #[cfg(feature = "proxy")]
            Phase::Piped => self.piped_deadline(settings, route),
            #[cfg(feature = "proxy")]
            Phase::Streaming => self.exchange_deadline(route),
            #[cfg(feature = "proxy")]
            Phase::Closing { .. } if self.writes_response() => {
                (self.write_deadline(route), Due::Close)
            }
            Phase::Closing { since, .. } => {
                let from = self.outbox.blocked_since().map_or(since, |blocked| since.max(blocked));
                let timeout = match self.awaits_refused() {
                    true => settings.close_timeout.min(REFUSED_CLOSE_TIMEOUT),
                    false => settings.close_timeout,
                };
                (from + timeout, Due::Close)
            }
            Phase::Lingering { until, .. } => (until, Due::Linger),
            Phase::Gone(_) => (Time::MAX, Due::Linger),
        }
    }

    /// The client must read, or the service must send the next part.
    fn responding_deadline(&self, route: &RouteSettings) -> (Time, Due) {
        if let Some(since) = self.outbox.blocked_since() {
            return (since + route.write_timeout, Due::Write);
        }
        let handshake = self.cold.as_deref().and_then(|cold| cold.handshake.as_deref());
        let since = handshake.map_or(self.opened, |handshake| handshake.since);
        (since + HTTP_ANSWER_TIMEOUT, Due::Handshake)
    }

    fn open_deadline(
        &self,
        settings: &Settings,
        route: &RouteSettings,
        grace_shift: u32,
    ) -> (Time, Due) {
        let blocked = self.outbox.blocked_since();
        // No heartbeat while reading is paused or the peer's window is full: its pong could not
        // reach us.
        let heartbeat = route.heartbeat.or(settings.heartbeat);
        let heartbeat = heartbeat.filter(|_| !self.pauses.is_any() && blocked.is_none());
        let fragment = (self.message_since + route.fragment_timeout, Due::Fragment);
        let candidates = [
            heartbeat
                .map(|heartbeat| self.heartbeat.deadline(&heartbeat, self.serial, self.last_heard)),
            Some(fragment).filter(|_| !self.pauses.is_any()),
            route
                .idle_timeout
                .filter(|_| !self.pauses.is_any())
                .map(|idle| (self.last_data + idle, Due::Idle)),
            blocked.map(|since| (since + route.write_timeout, Due::Write)),
            self.outbox
                .above_soft_since()
                .filter(|_| self.outbox.pressure() == Pressure::Congested)
                .map(|since| (since + route.outbox_grace / (1 << grace_shift), Due::Grace)),
            self.cold
                .as_deref()
                .and_then(|cold| cold.windows.as_ref()?.idle_at(route))
                .map(|idle| (idle, Due::Window)),
            Some((self.expires(), Due::Expiry)),
            self.refill_at().map(|until| (until, Due::Refill)),
        ];
        let never = (Time::MAX, Due::Idle);
        let earlier = |a: (Time, Due), b: (Time, Due)| if b.0 < a.0 { b } else { a };
        candidates.into_iter().flatten().fold(never, earlier)
    }
}
