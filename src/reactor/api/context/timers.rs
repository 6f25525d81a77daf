//! Timers, calls in the next turn, mailboxes, and threads.

use std::hash::Hash;
use std::time::Duration;

use super::Context;
use crate::reactor::parts::mailbox::{MailReceiver, MailSender};
use crate::reactor::parts::schedule::ServiceTimer;
use crate::reactor::parts::workers::{Step, WorkerSettings, Workers};

impl Context<'_> {
    /// Sets a timer: [`on_timer`](crate::reactor::Service::on_timer) is called with `key` after
    /// `delay`, at most 128 ms late. `None` if all services together have set too many timers.
    pub fn schedule(&mut self, delay: Duration, key: u64) -> Option<ServiceTimer> {
        let timer = self.core.schedule.set(self.core.served, self.core.now + delay, key);
        if timer.is_none() {
            self.core.metrics.timers_refused += 1;
        }
        timer
    }

    /// Sets an interval timer: [`on_timer`](crate::reactor::Service::on_timer) is called with `key`
    /// after each `period`, until the timer is [cancelled](Context::cancel). A period below 128 ms
    /// counts as 128 ms. A late call does not delay the next one, and missed calls are skipped.
    /// `None` as with [`schedule`](Context::schedule).
    ///
    /// ```
    /// use std::time::Duration;
    /// use weir::protocol::Message;
    /// use weir::reactor::{ConnId, Context, PublishOptions, Service, Target};
    ///
    /// struct Ticker;
    ///
    /// impl Service for Ticker {
    ///     fn on_start(&mut self, cx: &mut Context<'_>) {
    ///         cx.schedule_every(Duration::from_secs(1), 0).expect("a timer for the ticker");
    ///     }
    ///     fn on_timer(&mut self, cx: &mut Context<'_>, _: u64) {
    ///         let _ = cx.publish(Target::All, "tick", PublishOptions::default());
    ///     }
    ///     fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
    /// }
    /// ```
    pub fn schedule_every(&mut self, period: Duration, key: u64) -> Option<ServiceTimer> {
        let timer = self.core.schedule.set_every(self.core.served, self.core.now, period, key);
        if timer.is_none() {
            self.core.metrics.timers_refused += 1;
        }
        timer
    }

    /// Cancels a timer; false if it would not have fired any more.
    pub fn cancel(&mut self, timer: ServiceTimer) -> bool {
        self.core.schedule.unset(timer)
    }

    /// Makes the loop call [`on_mail`](crate::reactor::Service::on_mail): in this turn if its mail
    /// phase has not started, else in the next turn, which then does not wait for events. Several
    /// calls of `wake` cause one call. This lets a service split long work into steps within the budget
    /// of its mail:
    ///
    /// ```
    /// use weir::protocol::Message;
    /// use weir::reactor::{ConnId, Context, More, Service};
    ///
    /// #[derive(Default)]
    /// struct Reports {
    ///     unsent: Vec<(ConnId, String)>,
    /// }
    ///
    /// impl Service for Reports {
    ///     fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, _: Message<'_>) {
    ///         self.unsent.extend((0..1000).map(|page| (conn, format!("page {page}"))));
    ///         cx.wake();
    ///     }
    ///     fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
    ///         let Some((conn, page)) = self.unsent.pop() else {
    ///             return More::No;
    ///         };
    ///         let _ = cx.send(conn, &page);
    ///         More::Yes
    ///     }
    /// }
    /// ```
    pub fn wake(&mut self) {
        self.core.wake(self.core.served);
    }

    /// Creates a mailbox through which other threads reach this service. It holds up to `capacity`
    /// messages; each of them makes the loop call [`on_mail`](crate::reactor::Service::on_mail).
    pub fn mailbox<T>(&mut self, capacity: usize) -> (MailSender<T>, MailReceiver<T>) {
        self.core.notifiers.mailbox(self.core.served, capacity)
    }

    /// Threads that do `work` for this service: see [`Workers`].
    pub fn workers<J, D, K>(
        &mut self,
        settings: WorkerSettings,
        work: impl Fn(J) -> Step<J, D> + Send + Sync + 'static,
    ) -> Workers<J, D, K>
    where
        J: Send + 'static,
        D: Send + 'static,
        K: Clone + Eq + Hash + Send + 'static,
    {
        Workers::new(self.core.notifiers.notifier(self.core.served), settings, work)
    }
}
