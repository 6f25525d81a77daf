//! Deadlines: what happens when a timer of a connection, service, listener or shutdown fires.
//!
//! Each connection has at most one timer, set for a deadline that follows from its state. If it
//! fires before the deadline, because that has moved on, it is set again at no other cost.

use crate::protocol::ProtocolError;
use crate::reactor::Reactor;
use crate::reactor::api::close_reason::{CloseReason, ProxyFault};
use crate::reactor::api::id::ConnId;
use crate::reactor::api::time::Time;
use crate::reactor::conn::connection::Connection;
use crate::reactor::conn::due::Due;
use crate::reactor::core::Core;
use crate::reactor::effects::lateness::MissingPong;
use crate::reactor::parts::schedule::Timer;

impl Reactor {
    pub(crate) fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Connection(id) => self.core.fire_connection(id),
            Timer::Listener(index) => self.resume_accept(index as usize),
            Timer::Shutdown => self.watch_shutdown(),
            Timer::Trim => self.core.trim(),
            Timer::Lines => self.core.log_held_back(),
            Timer::Load => self.core.sample_timer_fired(),
            Timer::Wall => self.core.watch_wall_clock(),
            Timer::Presented => self.give_up_presented(),
            Timer::Mail(service) => {
                self.core.recovery.end_pause(service);
                self.core.wake(service);
            }
            Timer::Service(index) => {
                if let Some((service, key)) = self.core.schedule.fired(index, self.core.now) {
                    let _ = self.call_weighed(service, |service, cx| service.on_timer(cx, key));
                }
            }
        }
    }
}

impl Core {
    /// Ensures that the connection's timer fires no later than its deadline. A timer that fires too
    /// early is then set again, so that a deadline which moves on costs nothing.
    pub(crate) fn arm(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let route = self.router.settings(conn.route);
        let (due, _) = conn.deadline(&self.settings, route, self.load.grace_shift);
        if let Some(timer) = conn.timer {
            if self.schedule.due(timer).is_some_and(|armed| armed <= due) {
                return;
            }
            self.schedule.cancel(timer);
            conn.timer = None;
        }
        if due != Time::MAX {
            let timer = Timer::Connection(id);
            conn.timer = Some(self.schedule.insert(due, timer));
        }
    }

    /// The deadline that has passed for a connection whose timer has fired, if one has.
    pub(crate) fn overdue(&mut self, id: ConnId) -> Option<Due> {
        let conn = self.conns.get_mut(id)?;
        conn.timer = None;
        let route = self.router.settings(conn.route);
        let (due, kind) = conn.deadline(&self.settings, route, self.load.grace_shift);
        (due <= self.now).then_some(kind)
    }

    fn fire_connection(&mut self, id: ConnId) {
        let due = self.overdue(id);
        #[cfg(feature = "proxy")]
        if let Some(due) = due
            && self.conns.get(id).is_some_and(|conn| conn.is_piped())
        {
            return self.fire_piped(id, due);
        }
        match due {
            None => {}
            Some(Due::Handshake) => self.give_up_handshake(id),
            Some(Due::Ping) => self.ping(id),
            Some(Due::Pong) => self.miss_pong(id),
            Some(Due::Fragment) => {
                let timeout = ProtocolError::FragmentTimeout;
                self.close(id, CloseReason::Protocol(timeout));
            }
            #[cfg(feature = "proxy")]
            Some(Due::Body) => self.fail_silent_body(id),
            Some(Due::Idle) => self.close(id, CloseReason::IdleTimeout),
            Some(Due::Write) => self.close(id, CloseReason::WriteTimeout),
            Some(Due::Grace) => self.apply_slow_policy(id, CloseReason::SlowConsumer),
            Some(Due::Close) => self.give_up_close(id),
            // The stored reason of the close takes precedence over this one.
            Some(Due::Linger) => self.drop_connection(id, CloseReason::PeerGone),
            Some(Due::Window) => self.free_window(id),
            Some(Due::Expiry) => self.expire(id),
            Some(Due::Refill) => self.refill(id),
        }
        self.arm(id);
    }

    fn give_up_handshake(&mut self, id: ConnId) {
        if self.refuse_late_upstream(id) || self.refuse_late_verdict(id) {
            return;
        }
        let reason = match self.conns.get(id).is_some_and(Connection::awaits_proxy_header) {
            true => CloseReason::ProxyHeader(ProxyFault::Late),
            false => CloseReason::HandshakeTimeout,
        };
        self.drop_connection(id, reason);
    }

    fn ping(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let payload = conn.heartbeat.ping(self.now);
        self.metrics.pings_sent += 1;
        // A ping without room counts as sent: the peer's silence will end the connection.
        let _ = self.send_ping(id, &payload);
    }

    fn miss_pong(&mut self, id: ConnId) {
        if self.pings_again(id) {
            self.ping(id);
        }
    }

    /// Whether a connection without a pong must be pinged again. Counts the missed pong, unless it was
    /// our fault: input that waits is read first. After too many of them the connection is closed.
    pub(crate) fn pings_again(&mut self, id: ConnId) -> bool {
        match self.judge_missing_pong(id) {
            MissingPong::Silence => self.survives_missed_pong(id),
            MissingPong::Stopped => true,
            MissingPong::Unread => false,
        }
    }

    /// Counts a missed pong. After too many of them the connection is closed, and `false` returned.
    fn survives_missed_pong(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.conns.get_mut(id) else {
            return false;
        };
        let heartbeat = self.router.settings(conn.route).heartbeat.or(self.settings.heartbeat);
        let misses_max = heartbeat.map_or(0, |heartbeat| heartbeat.misses_max);
        let is_dead = conn.heartbeat.miss(misses_max);
        self.metrics.pongs_missed += 1;
        if is_dead {
            self.close(id, CloseReason::HeartbeatTimeout);
        }
        !is_dead
    }
}
