//! One turn: what the poll reports, then eight phases, each one short function of [`TURN`].
//!
//! Their order is the architecture; the [reactor's page](super) says what each is for. A phase works
//! on what stood in its queue when it began, so that work queued anew waits for the next turn and
//! every socket gets its share.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::event::Event;

use super::Reactor;
use super::api::budget::{
    CALLS_WORK, FLUSHES, MAIL_WORK, MAILS, READ_WORK, TIMER_GRACE, TIMER_LATE, TIMERS,
};
use super::api::close_reason::CloseReason;
use super::api::id::{ConnId, ServiceId, Source};
use super::api::outcome::More;
use super::api::time::Time;
use super::conn::phase::{Phase, Standing};
use super::core::Core;
use super::parts::listener::Listener;
use super::parts::stats::PHASES;
use super::parts::work::Share;

/// How long a poll may wait at the most, whatever the wheel says: never, in practice, but `epoll`
/// counts milliseconds in 31 bits.
const POLL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The phases in their order, which is also that of their names.
const TURN: [fn(&mut Reactor); PHASES.len()] = [
    Reactor::note_phase,
    Reactor::read_phase,
    Reactor::mail_phase,
    Reactor::timer_phase,
    Reactor::accept_phase,
    Reactor::flush_phase,
    Reactor::drain_phase,
    Reactor::reap_phase,
];

impl Reactor {
    /// One turn. Waits for something to happen, but at most `timeout`, and not at all while there is
    /// work left over from the last turn.
    ///
    /// # Errors
    /// The poll failed.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let wait = self.wait().min(timeout.unwrap_or(POLL_MAX));
        self.poll(wait)?;
        self.core.now = self.clock();
        self.core.metrics.turns += 1;
        let end = match self.stats {
            None => {
                TURN.iter().for_each(|phase| phase(self));
                self.clock()
            }
            Some(_) => self.timed_phases(),
        };
        self.previous = self.core.now;
        self.core.metrics.turns_took.count(end.since(self.core.now));
        if cfg!(debug_assertions) {
            self.core.check_ledger();
        }
        Ok(())
    }

    /// Waits for events. A signal, SIGCONT among them, ends the wait without a look at what is ready:
    /// that look follows at once, so that input comes before deadlines that have passed meanwhile.
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

    /// The phases with a look at the clock after each, and a report if one was ordered; returns the
    /// last's end.
    fn timed_phases(&mut self) -> Time {
        let events = self.events.iter().count();
        let ends = TURN.map(|phase| {
            phase(self);
            self.clock()
        });
        if let Some(stats) = &mut self.stats {
            stats.count(events, self.core.now, ends);
        }
        if self.core.notifiers.take_report_request()
            && let Some(report) = self.turn_report()
        {
            log::info!("turns: {report}");
        }
        ends[PHASES.len() - 1]
    }

    /// How long the next turn's poll may wait: not at all while work is left over from the last.
    pub fn wait(&self) -> Duration {
        let accepts = self.listeners.iter().flatten().any(Listener::is_ready);
        if accepts || self.has_drain_work() || !self.core.queues.is_idle() {
            return Duration::ZERO;
        }
        let mut due = self.core.schedule.next().unwrap_or(Time::MAX).max(self.timers_held_until);
        if let Some(refused_at) = self.core.tls.handshakes.refused_at() {
            due = due.min(refused_at);
        }
        due.since(self.core.now).min(POLL_MAX)
    }

    /// Marks what is ready and queues it.
    fn note_phase(&mut self) {
        let mut signals = false;
        for event in &self.events {
            match Source::from(event.token()) {
                Source::Connection(id) => self.core.note(id, event),
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
        if self.drain.is_none() && self.core.notifiers.shutdown_requested() {
            self.begin_shutdown();
        }
    }

    fn read_phase(&mut self) {
        self.core.tls.handshakes.refill();
        let queued = self.core.queues.run.len();
        self.core.work.begin(READ_WORK);
        if queued != self.share.connections {
            self.share = Share::of(queued);
        }
        let left = self.read_queued(queued);
        self.core.metrics.phases_cut += u64::from(left > 0);
        if !self.core.queues.put_off.is_empty() {
            self.core.queues.resume_put_off();
        }
        if self.core.tls.handshakes.refused_at().is_some() {
            self.read_refused();
        }
    }

    /// Mail from other threads, then what services have decided about requests put off.
    fn mail_phase(&mut self) {
        if self.core.queues.mail.is_empty() && self.core.queues.answers.is_empty() {
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
        // Those that had no share this time come first, those that the others have woken last.
        let woken = std::mem::replace(&mut self.core.queues.mail, not_reached);
        for service in unfinished.into_iter().chain(woken) {
            self.core.wake(service);
        }
        for _ in 0..self.core.queues.answers.len() {
            if let Some((id, decision)) = self.core.queues.answers.pop_front() {
                self.decide(id, decision);
            }
        }
    }

    fn read_mail(&mut self, id: ServiceId, share: usize) -> More {
        if id.index() >= self.services.len() {
            // A mailbox for a service that has not been added.
            return More::No;
        }
        self.core.work.serve(share);
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
            self.core.work.begin(CALLS_WORK);
        }
        while let Some(timer) = next {
            self.fire(timer);
            next = match self.core.work.is_phase_spent() {
                true => None,
                false => self.core.schedule.pop(now, &mut budget),
            };
        }
    }

    /// Whether timers wait: they are late, since the process was stopped or a turn took long, and so may
    /// the input be that they are about. They wait once, then all that are due fire.
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
        self.continue_drain();
    }

    fn flush_phase(&mut self) {
        self.flush_queued(self.core.queues.dirty.len().min(FLUSHES));
        self.core.watch_spares();
    }

    fn drain_phase(&mut self) {
        if self.core.queues.drained.is_empty() {
            return;
        }
        self.core.work.begin(CALLS_WORK);
        for _ in 0..self.core.queues.drained.len() {
            if self.core.work.is_phase_spent() {
                self.core.metrics.phases_cut += 1;
                return;
            }
            let Some(id) = self.core.queues.drained.pop_front() else {
                return;
            };
            if let Some(conn) = self.core.conns.get(id).filter(|conn| conn.is_open()) {
                let service = conn.service;
                let drained = self.call_weighed(service, |service, cx| service.on_drain(cx, id));
                self.end_after_panic(id, drained);
            }
        }
    }

    /// Tells services who is gone, then forgets them.
    fn reap_phase(&mut self) {
        let has_ended = !self.core.queues.reap.is_empty();
        if has_ended {
            self.core.work.begin(CALLS_WORK);
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
            if conn.is_announced() {
                let service = conn.service;
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

impl Core {
    fn note(&mut self, id: ConnId, event: &Event) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.readable |= event.is_readable() || event.is_error() || event.is_read_closed();
        conn.read_closed |= event.is_read_closed();
        if event.is_error() && conn.is_unread_by_choice() {
            return self.vanish(id, CloseReason::PeerReset);
        }
        if conn.should_run() {
            conn.queued = true;
            self.queues.run.push_back(id);
        }
        if conn.awaits_write() && (event.is_writable() || event.is_error()) {
            self.mark_dirty(id);
        }
    }

    /// Forgets a connection that is gone; returns the topics that were left without a member.
    fn free(&mut self, id: ConnId, reason: CloseReason) -> Vec<(ServiceId, Box<str>)> {
        let mut empty = Vec::new();
        self.set_windows(id, None);
        let Some(mut conn) = self.conns.remove(id) else {
            return empty;
        };
        conn.forget_unfinished();
        let dropped = self.outboxes.release(id, &mut conn);
        self.metrics.messages_dropped += dropped;
        if let Some(timer) = conn.timer {
            self.schedule.cancel(timer);
        }
        self.topics.leave_all(&mut conn.topics, |service, topic| {
            empty.push((ServiceId(service), topic.into()));
        });
        if conn.standing == Standing::Refused {
            self.admission.release_refused();
        } else {
            self.admission.release(conn.quota, SocketAddr::from(conn.peer).ip());
        }
        self.metrics.count_end(reason);
        self.log_end(id, &conn, reason);
        empty
    }
}
