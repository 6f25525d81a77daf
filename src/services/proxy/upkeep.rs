//! Does what is due by time: lookups of names, active checks, ends of tunnels, and log lines about
//! those. One timer for all.
//!
//! Its state is in [`due`](super::due), that of pools and upstreams in the pools.

use std::time::Duration;

use log::{Level, warn};

use super::service::Proxy;
use crate::reactor::{Context, Finished, More, Step, Task, Time, Workers};
use crate::upstream::pools::{UpstreamId, Use};
use crate::upstream::resolve::{HostPort, Lookup, resolver_settings};

/// The pause before checks that this machine had no connection for are started again.
const POSTPONED: Duration = Duration::from_secs(1);
/// The key of the timer.
const TIMER: u64 = 0;

impl Proxy {
    pub(super) fn start_upkeep(&mut self, cx: &mut Context<'_>) {
        let look_up = |host| Step::Done(Lookup::of(host));
        self.upkeep.resolver = Some(cx.workers(resolver_settings(), look_up));
        self.keep_up(cx);
    }

    /// Does what is due, and sets the timer for what is due next.
    pub(super) fn keep_up(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        self.keep_up_reload(cx);
        while let Some(host) = self.pools.next_lookup(now) {
            self.look_up(cx, host);
        }
        while let Some(&(until, conn)) = self.upkeep.deadlines.front()
            && until <= now
        {
            self.upkeep.deadlines.pop_front();
            self.time_out_check(cx, conn);
        }
        let postponed = std::mem::take(&mut self.upkeep.postponed);
        for upstream in postponed {
            self.check(cx, upstream);
        }
        while let Some(upstream) = self.pools.next_check(now) {
            self.check(cx, upstream);
        }
        while let Some(due) = self.pools.next_ends(now) {
            self.end_tunnels(cx, due);
        }
        self.upkeep.losses.log_due(now, || cx.may_log(Level::Warn, "tunnels_lost"));
        self.set_timer(cx);
    }

    fn check(&mut self, cx: &mut Context<'_>, upstream: UpstreamId) {
        if !self.start_check(cx, upstream) {
            self.upkeep.postponed.push(upstream);
        }
    }

    /// Starts a check again after a pause.
    pub(super) fn postpone_check(&mut self, cx: &mut Context<'_>, upstream: UpstreamId) {
        self.upkeep.postponed.push(upstream);
        self.set_timer(cx);
    }

    fn look_up(&mut self, cx: &mut Context<'_>, host: HostPort) {
        let Some(resolver) = &self.upkeep.resolver else {
            return;
        };
        if resolver.try_put(Task::new(host.clone(), host.clone())).is_err() {
            let found = Err("too many lookups at a time".to_owned());
            self.handle_lookup(cx, &Lookup { host, found });
        }
    }

    /// Takes the result of one lookup.
    pub(super) fn take_lookup(&mut self, cx: &mut Context<'_>) -> More {
        let finished = self.upkeep.resolver.as_mut().and_then(Workers::take);
        let lookup = match finished {
            Some(Finished::Done(lookup)) => lookup,
            Some(Finished::Lost(host)) => {
                Lookup { host, found: Err("the lookup panicked".to_owned()) }
            }
            None => return More::No,
        };
        self.handle_lookup(cx, &lookup);
        self.keep_up(cx);
        More::Yes
    }

    fn handle_lookup(&mut self, cx: &mut Context<'_>, lookup: &Lookup) {
        if let Err(error) = &lookup.found
            && cx.may_log(Level::Warn, "resolve")
        {
            let (host, port) = &lookup.host;
            warn!("{host}:{port} not resolved: {error}");
        }
        self.note_lookup(lookup);
        let gone = self.pools.resolved(lookup, cx.now());
        gone.into_iter().for_each(|upstream| self.close_idle(cx, upstream));
    }

    /// Closes the idle connections to an upstream that its pool no longer has.
    pub(super) fn close_idle(&mut self, cx: &mut Context<'_>, upstream: UpstreamId) {
        for idle in self.idle.take_all(upstream) {
            self.links.remove(idle.conn);
            self.pools.release(upstream, Use::Idle);
            cx.abort(idle.conn);
        }
    }

    pub(super) fn set_timer(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        let mut due = self.pools.due().min(self.upkeep.losses.due());
        if let Some((until, _)) = self.upkeep.deadlines.front() {
            due = due.min(*until);
        }
        if let Some(reload) = &self.upkeep.reload {
            due = due.min(reload.until);
        }
        if !self.upkeep.postponed.is_empty() {
            due = due.min(now + POSTPONED);
        }
        if let Some((at, timer)) = self.upkeep.timer {
            if at == due {
                return;
            }
            cx.cancel(timer);
            self.upkeep.timer = None;
        }
        if due != Time::MAX {
            let timer = cx.schedule(due.since(now), TIMER);
            self.upkeep.timer = timer.map(|timer| (due, timer));
        }
    }
}
