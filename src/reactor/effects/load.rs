//! The load of the loop: takes samples, and applies the level that follows.
//!
//! A turn takes a sample if one is due; a timer causes turns for it while the level is not normal. Reads
//! ask [`LoadState`] what they may take, [`admit_by_level`] decides on new connections,
//! [`trim`](super::trim) frees memory, and [`shed`](super::shed) closes connections. Next: `parts/load.rs` has the limits of each level.
//!
//! [`LoadState`]: crate::reactor::parts::load::LoadState
//! [`admit_by_level`]: Core::admit_by_level

use log::{info, warn};

use crate::protocol::handshake::Refusal;
use crate::reactor::Reactor;
use crate::reactor::api::budget::HANDLER_WORK;
use crate::reactor::api::id::{ConnId, RouteId, ServiceId};
use crate::reactor::api::level::{Level, Resource};
use crate::reactor::api::observer::EventKind;
use crate::reactor::api::priority::Priority;
use crate::reactor::api::settings::Limit;
use crate::reactor::conn::connection::Connection;
use crate::reactor::conn::phase::Phase;
use crate::reactor::core::Core;
use crate::reactor::parts::load::{SAMPLE_INTERVAL, STOP_MIN};
use crate::reactor::parts::load_level::Change;
use crate::reactor::parts::rounds::Rounds;
use crate::reactor::parts::schedule::Timer;

impl Reactor {
    /// Takes a sample of the load at the start of a turn. If its poll should have returned long before,
    /// the process was stopped meanwhile.
    #[cold]
    #[inline(never)]
    pub(crate) fn sample_load(&mut self) {
        let now = self.core.now;
        let due = if self.has_work_left() { self.ended } else { self.next_due().max(self.ended) };
        let late = now.since(due);
        if late > STOP_MIN {
            self.rounds.discount(late);
            self.core.load.discount(late, now);
            self.core.metrics.stops += 1;
        }
        self.core.sample_load(&mut self.rounds);
        let level = self.core.load.work_level();
        if level != self.core.load.announced {
            self.core.load.announced = level;
            self.announce_level(level);
        }
        self.shed();
    }

    fn announce_level(&mut self, level: Level) {
        self.core.work.begin(HANDLER_WORK);
        for index in 0..self.services.len() {
            let service = ServiceId(index as u16);
            let _ = self.call_weighed(service, |service, cx| service.on_load_level(cx, level));
        }
    }

    /// Limits the share of a connection in this read phase by its priority. Returns false if the phase has
    /// lasted too long: then it ends, and this connection is the first of the next turn, unless it
    /// `is_first` already. Budgets know nothing of handlers that block, so this reads the clock.
    #[cold]
    #[inline(never)]
    pub(crate) fn limit_read(&mut self, id: ConnId, is_first: bool) -> bool {
        let lasted = self.clock().since(self.core.now);
        if !is_first && self.core.load.is_read_time_over(lasted) {
            self.core.queues.read.push_front(id);
            self.core.work.end_phase();
            return false;
        }
        if let Some(conn) = self.core.conns.get(id) {
            // After our Close, messages are only discarded: the peer's Close is behind them.
            let is_closing = matches!(conn.phase, Phase::Closing { .. });
            let limit = self.core.load.read_limit(conn.priority()).filter(|_| !is_closing);
            self.share = self.share.at_level(limit, conn.is_open());
        }
        true
    }
}

impl Core {
    fn sample_load(&mut self, rounds: &mut Rounds) {
        let buffered = self.outboxes.common_part();
        let connections = self.admission.occupied_part();
        let change = self.load.sample(self.now, rounds, buffered, connections);
        if let Some(change) = change {
            log_change(change);
            let (level, resource) = (change.to.name(), change.resource.name());
            self.observe_loop(EventKind::Level { level, resource });
        }
        self.trim_by_level(change.is_some_and(|change| change.to > change.from));
        self.schedule_sample();
    }

    /// Decides by priority and load level on a request that has passed all other limits: its priority
    /// is that of its route, or the one that a gate `wished`, up to the route's `priority_max`. Then it
    /// is no longer provisional, unless it is no upgrade: that ends with its response.
    ///
    /// # Errors
    /// The refusal to answer with. Operators are never refused.
    pub(crate) fn admit_by_level(
        &mut self,
        id: ConnId,
        route: RouteId,
        wished: Option<Priority>,
        is_upgrade: bool,
    ) -> Result<(), Refusal> {
        let priority = self.router.settings(route).priority_of(wished);
        if self.conns.get(id).is_none_or(Connection::is_operator) {
            return Ok(());
        }
        self.conns.set_priority(id, priority);
        if !self.load.admits(priority) && self.enforces(id, Limit::Pressure) {
            return Err(Refusal::Pressure);
        }
        self.leave_reserve(id, priority, is_upgrade)
    }

    /// Sets the timer for the next sample, unless nothing would change without it.
    fn schedule_sample(&mut self) {
        if !self.load.is_timer_set && !self.load.levels.is_calm() {
            self.load.is_timer_set = true;
            self.schedule.insert(self.now + SAMPLE_INTERVAL, Timer::Load);
        }
    }

    /// The timer has caused a turn, which takes a sample at its start.
    pub(crate) fn sample_timer_fired(&mut self) {
        self.load.is_timer_set = false;
        self.schedule_sample();
    }
}

fn log_change(Change { from, to, resource, value }: Change) {
    let sample = match resource {
        Resource::Delay => format!("{:.1} ms", value * 1000.0),
        _ => format!("{:.0} %", value * 100.0),
    };
    if to > from {
        warn!(level = to.name(), resource = resource.name(); "load is {to}: {resource} {sample}");
    } else {
        info!(level = to.name(); "load is {to}");
    }
}

#[cfg(test)]
mod tests;
