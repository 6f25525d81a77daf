//! One turn: the poll, then eight phases, each one function of [`Reactor::phases`].
//!
//! Their order is the architecture; the [reactor's page](super) describes each phase. A phase
//! handles what was in its queue at its start. Work that is queued again waits for the next turn,
//! so that every socket gets its share.

use std::io;
use std::time::Duration;

use super::Reactor;
use super::api::budget::{
    DECISIONS_MIN, FLUSHES, HANDLER_WORK, MAIL_WORK, MAILS, READ_WORK, TIMER_GRACE, TIMER_LATE,
    TIMERS,
};
use super::api::id::{ServiceId, Source};
use super::api::outcome::More;
use super::api::time::Time;
use super::conn::phase::Phase;
use super::parts::listener::Listener;
use super::parts::stats::PHASES;
use super::parts::work::Share;

/// The longest wait of a poll, for timers further ahead: `epoll` counts milliseconds in 31 bits.
const POLL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl Reactor {
    /// Runs one turn. Waits for events for at most `timeout`, and not at all if the last turn left
    /// work over.
    ///
    /// # Errors
    /// The poll failed.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let wait = self.wait().min(timeout.unwrap_or(POLL_MAX));
        self.poll(wait)?;
        self.core.now = self.clock();
        self.core.metrics.turns += 1;
        if self.core.now >= self.core.load.due {
            self.sample_load();
        }
        let end = match self.stats {
            None => {
                self.phases(|_| {});
                self.clock()
            }
            Some(_) => self.timed_phases(),
        };
        self.previous = self.core.now;
        self.ended = end;
        if let Some(is_slow) = self.rounds.end_turn(self.core.now, end) {
            self.core.load.end_turn(is_slow);
        }
        self.core.metrics.turns_took.count(end.since(self.core.now));
        if cfg!(debug_assertions) {
            self.core.check_ledger();
        }
        Ok(())
    }

    /// The phases of a turn in their order, which is also the order of their names in [`PHASES`].
    /// Calls `after` after each phase.
    #[inline(always)]
    fn phases(&mut self, mut after: impl FnMut(&Reactor)) {
        self.readiness_phase();
        after(self);
        self.read_phase();
        after(self);
        self.mail_phase();
        after(self);
        self.timer_phase();
        after(self);
        self.accept_phase();
        after(self);
        self.flush_phase();
        after(self);
        self.drain_phase();
        after(self);
        self.reap_phase();
        after(self);
    }

    /// Waits for events. A signal (SIGCONT, for example) ends the wait without reporting
    /// readiness; the poll is repeated at once, so that input is read before deadlines that expired
    /// while waiting.
    fn poll(&mut self, wait: Duration) -> io::Result<()> {
        let mut wait = Some(wait);
        loop {
            match self.poll.poll(&mut self.events, wait) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    wait = Some(Duration::ZERO);
                }
                result => return result,
            }
        }
    }

    /// Runs the phases and reads the clock after each; logs a report if one was requested. Returns
    /// the end of the last phase.
    fn timed_phases(&mut self) -> Time {
        let events = self.events.iter().count();
        let mut ends = [Time::ZERO; PHASES.len()];
        let mut next = ends.iter_mut();
        self.phases(|reactor| {
            if let Some(end) = next.next() {
                *end = reactor.clock();
            }
        });
        if let Some(stats) = &mut self.stats {
            stats.count(events, self.core.now, ends);
        }
        if self.stats.as_ref().is_some_and(|stats| stats.is_requested)
            && let Some(report) = self.turn_report()
        {
            log::info!("turns: {report}");
        }
        ends[PHASES.len() - 1]
    }

    /// How long the next poll may wait: zero if the last turn left work over.
    pub fn wait(&self) -> Duration {
        if self.has_work_left() {
            return Duration::ZERO;
        }
        self.next_due().since(self.core.now).min(POLL_MAX)
    }

    /// Whether the last turn left work over.
    pub(super) fn has_work_left(&self) -> bool {
        let accepts = self.listeners.iter().flatten().any(Listener::is_ready);
        accepts || self.has_shutdown_work() || !self.core.queues.is_idle()
    }

    /// When the poll must return at the latest, if no work is left over.
    pub(super) fn next_due(&self) -> Time {
        let due = self.core.schedule.next().unwrap_or(Time::MAX).max(self.timers_held_until);
        match self.core.tls.handshakes.refused_at() {
            Some(refused_at) => due.min(refused_at),
            None => due,
        }
    }

    /// Records readiness and queues connections.
    fn readiness_phase(&mut self) {
        let mut signals = false;
        for event in &self.events {
            match Source::from(event.token()) {
                Source::Connection(id) => self.core.record_readiness(id, event),
                Source::Listener(index) => {
                    if let Some(Some(listener)) = self.listeners.get_mut(index) {
                        listener.readable = true;
                    }
                }
                Source::Signals => signals = true,
                Source::Waker => {
                    self.core.take_reloaded();
                    self.core.take_mail();
                }
            }
        }
        if signals {
            self.take_signals();
        }
        if self.shutdown.is_none() && self.core.notifiers.shutdown_requested() {
            self.begin_shutdown();
        }
    }

    fn read_phase(&mut self) {
        self.core.tls.handshakes.refill();
        let queued = self.core.queues.read.len();
        self.core.work.begin(READ_WORK);
        if queued != self.share.is_for {
            self.share = Share::of(queued);
        }
        let mut left = self.read_queued(queued);
        self.core.metrics.phases_cut += u64::from(left > 0);
        if !self.core.queues.postponed.is_empty() {
            left += self.core.queues.requeue_postponed();
        }
        if left > 0 {
            self.rounds.count_reads(self.core.now, queued, queued - left);
        }
        if self.core.tls.handshakes.refused_at().is_some() {
            self.read_refused_handshakes();
        }
    }

    /// Calls services with mail from other threads, then carries out decisions on deferred
    /// requests.
    fn mail_phase(&mut self) {
        if self.core.queues.mail.is_empty() && self.core.queues.decisions.is_empty() {
            return;
        }
        self.core.work.begin(MAIL_WORK);
        let services = std::mem::take(&mut self.core.queues.mail);
        let share = MAIL_WORK / services.len().max(1);
        let (mut not_reached, mut unfinished) = (Vec::new(), Vec::new());
        for service in services {
            if self.core.work.is_phase_spent() {
                not_reached.push(service);
            } else if self.read_mail(service, share) == More::Yes {
                unfinished.push(service);
            }
        }
        self.core.metrics.phases_cut += u64::from(!not_reached.is_empty());
        // Services that were not reached go first in the next turn; services woken in this phase go
        // last.
        let woken = std::mem::replace(&mut self.core.queues.mail, not_reached);
        for service in unfinished.into_iter().chain(woken) {
            self.core.wake(service);
        }
        self.carry_out_decisions();
    }

    /// Carries out decisions within the work that the mail has left, the oldest first, and always some.
    fn carry_out_decisions(&mut self) {
        for count in 0..self.core.queues.decisions.len() {
            if count >= DECISIONS_MIN && self.core.work.is_phase_spent() {
                self.core.metrics.phases_cut += 1;
                return;
            }
            let Some(decided) = self.core.queues.decisions.pop_front() else {
                return;
            };
            self.core.work.spend(decided.work());
            self.carry_out(decided);
        }
    }

    fn read_mail(&mut self, id: ServiceId, share: usize) -> More {
        self.core.work.serve(share);
        if id.index() >= self.services.len() {
            // Commands of handles, or a mailbox for a service that was not added.
            let is_loop = id == ServiceId::LOOP;
            return if is_loop { self.core.run_commands() } else { More::No };
        }
        for _ in 0..MAILS {
            let Some(more) = self.call_weighed(id, |service, cx| service.on_mail(cx)) else {
                self.core.pause_mail(id);
                return More::No;
            };
            self.core.recovery.succeed(id);
            match more {
                More::Yes if self.core.work.is_spent() => break,
                More::Yes => {}
                More::No => return More::No,
            }
        }
        More::Yes
    }

    fn timer_phase(&mut self) {
        let now = self.core.now;
        if self.holds_timers(now) {
            return;
        }
        let mut budget = TIMERS;
        let mut next = self.core.schedule.pop(now, &mut budget);
        if next.is_some() {
            self.core.work.begin(HANDLER_WORK);
        }
        while let Some(timer) = next {
            self.fire(timer);
            next = match self.core.work.is_phase_spent() {
                true => None,
                false => self.core.schedule.pop(now, &mut budget),
            };
        }
    }

    /// Whether to hold back late timers once, so that input which arrived meanwhile is read first:
    /// it may meet their deadlines. Timers are late if the process was stopped or a turn took long.
    /// After the hold all due timers fire.
    fn holds_timers(&mut self, now: Time) -> bool {
        let is_first_late_turn = now > self.previous + TIMER_LATE
            && self.timers_held_until < self.previous
            && self.core.schedule.next().is_some_and(|due| now > due + TIMER_LATE);
        if is_first_late_turn {
            self.timers_held_until = now + TIMER_GRACE;
            self.core.metrics.timers_held += 1;
        }
        now < self.timers_held_until
    }

    fn accept_phase(&mut self) {
        for index in 0..self.listeners.len() {
            if self.listeners[index].as_ref().is_some_and(Listener::is_ready) {
                self.accept(index);
            }
        }
        self.core.log_crowding();
        self.continue_shutdown();
    }

    fn flush_phase(&mut self) {
        self.flush_queued(self.core.queues.flush.len().min(FLUSHES));
        self.core.schedule_trim();
    }

    fn drain_phase(&mut self) {
        if self.core.queues.drained.is_empty() {
            return;
        }
        self.core.work.begin(HANDLER_WORK);
        for _ in 0..self.core.queues.drained.len() {
            if self.core.work.is_phase_spent() {
                self.core.metrics.phases_cut += 1;
                return;
            }
            let Some(id) = self.core.queues.drained.pop_front() else {
                return;
            };
            if let Some(conn) = self.core.conns.get(id).filter(|conn| conn.is_sent_to()) {
                let service = conn.service;
                let drained = self.call_weighed(service, |service, cx| service.on_drain(cx, id));
                self.end_after_panic(id, drained);
            } else {
                self.drain_unopened(id);
            }
        }
    }

    /// Calls `on_close` for ended connections, then frees them.
    fn reap_phase(&mut self) {
        let has_ended = !self.core.queues.reap.is_empty();
        if has_ended {
            self.core.work.begin(HANDLER_WORK);
        }
        for _ in 0..self.core.queues.reap.len() {
            if self.core.work.is_phase_spent() {
                self.core.metrics.phases_cut += 1;
                break;
            }
            let Some(id) = self.core.queues.reap.pop_front() else {
                return;
            };
            let Some(conn) = self.core.conns.get(id) else {
                continue;
            };
            let Phase::Gone(reason) = conn.phase else {
                continue;
            };
            let (service, is_announced) = (conn.service, conn.is_announced());
            self.report_connected(id);
            self.end_pipe(id, reason);
            self.end_exchange(id, reason);
            self.end_presented(id, reason);
            if is_announced {
                let _ = self.call_weighed(service, |service, cx| service.on_close(cx, id, reason));
            }
            for (service, topic) in self.core.free(id, reason) {
                let _ = self.call_weighed(service, |service, cx| service.on_empty(cx, &topic));
            }
        }
        if has_ended {
            self.reserve.refill();
        }
    }
}
