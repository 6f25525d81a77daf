//! One run: the parts on a loop, from the first connection to the last.
//!
//! Stages, in this order: connect, warm up, measure, wait for outstanding answers, close. The loop
//! is weir's; this module calls its turns, and between two turns each part does what is due. If a
//! part needs a finer time than the milliseconds of a poll, we wait for the loop's descriptor
//! instead.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::prctl::set_timerslack;
use nix::sys::time::TimeSpec;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{Context, Reactor, ServiceId, Time};

use crate::parts::{OnLoop, Part, Shared};
use crate::process::{Sample, Watched, thread_cpu_nanos};
use crate::progress::Progress;

/// How long to wait for answers after the last message.
const OUTSTANDING_TIMEOUT: Duration = Duration::from_secs(1);
/// How long connections may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Approximate number of timeline points per measurement.
const MOMENTS: u32 = 100;
/// Shortest and longest interval between them.
const MOMENT_MIN: Duration = Duration::from_millis(100);
const MOMENT_MAX: Duration = Duration::from_secs(10);
/// Longer than any run: for deadlines that the server must keep, not we.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// Maximum size of a received message.
const MESSAGE_BYTES_MAX: usize = 1 << 30;
/// Memory for queues: the parts limit it, not the loop.
const BUFFERED_BYTES_MAX: usize = 1 << 40;

/// Durations and limits of a run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
    /// Deadline of one handshake.
    pub(crate) connect_timeout: Duration,
    /// Set by a signal: finish early with the results so far.
    pub(crate) interrupted: Arc<AtomicBool>,
}

/// Samples of the processes between two stages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) at: Time,
    pub(crate) client_cpu_nanos: u64,
    pub(crate) server: Option<Sample>,
}

/// The points between the stages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks {
    /// Before the first connection.
    pub(crate) rest: Mark,
    /// The first connection is open; also the number of connections started by then. The server's
    /// one-time costs are before it.
    pub(crate) first: Option<(Mark, u64)>,
    /// All members are connected.
    pub(crate) connected: Mark,
    /// Connections that have opened by then.
    pub(crate) opened: u64,
    /// Start and end of the measurement.
    pub(crate) started: Mark,
    pub(crate) ended: Mark,
}

/// A loop with the parts of one run.
pub(crate) struct Run<'a> {
    reactor: Reactor,
    parts: Vec<(ServiceId, Shared)>,
    plan: &'a Plan,
    server: Option<&'a Watched>,
    /// Whether the server's process ended during the run.
    is_server_gone: bool,
    progress: Progress,
    is_paced: bool,
    now: Time,
    /// The earliest time at which a part must be called.
    wake: Time,
    moment: Duration,
    moment_end: Time,
}

impl<'a> Run<'a> {
    /// Creates a loop with these parts.
    ///
    /// # Errors
    /// The loop could not be created.
    pub(crate) fn new(
        parts: &[Shared],
        plan: &'a Plan,
        server: Option<&'a Watched>,
        progress: Progress,
    ) -> io::Result<Run<'a>> {
        let members: usize = parts.iter().map(|part| part.borrow_mut().crowd().len()).sum();
        let mut reactor = Reactor::new(settings(plan, members))?;
        let mut on_loop = Vec::new();
        let mut is_paced = false;
        for part in parts {
            let service = reactor.add_service(OnLoop(Shared::clone(part)))?;
            let route =
                reactor.add_outbound(service, route_settings()).map_err(io::Error::other)?;
            let mut part_now = part.borrow_mut();
            part_now.crowd().set_route(route);
            is_paced |= part_now.is_paced();
            on_loop.push((service, Shared::clone(part)));
        }
        if is_paced {
            // Timers of this thread fire on time, not up to 50 us later.
            set_timerslack(1)?;
        }
        Ok(Run {
            reactor,
            parts: on_loop,
            plan,
            server,
            is_server_gone: false,
            progress,
            is_paced,
            now: Time::ZERO,
            wake: Time::ZERO,
            moment: (plan.duration / MOMENTS).clamp(MOMENT_MIN, MOMENT_MAX),
            moment_end: Time::MAX,
        })
    }

    /// Runs all stages; the parts hold the results.
    ///
    /// # Errors
    /// The loop failed.
    pub(crate) fn measure(&mut self) -> io::Result<Marks> {
        self.reactor.start()?;
        let rest = self.mark();
        let first = self.connect()?;
        let connected = self.mark();
        let opened = self.opened();
        self.each(|part, cx| {
            part.start(cx);
            Time::ZERO
        });
        self.progress.stage("warming up", self.plan.warmup);
        self.turn_for(self.plan.warmup)?;

        let started = self.mark();
        self.each(|part, cx| {
            part.measure(cx.now());
            Time::ZERO
        });
        self.moment_end = self.now + self.moment;
        self.progress.stage("measuring", self.plan.duration);
        self.turn_for(self.plan.duration)?;
        let ended = self.mark();
        self.end_moment();
        self.moment_end = Time::MAX;
        self.progress.finish();
        Ok(Marks { rest, first, connected, opened, started, ended })
    }

    /// After the measurement: waits for outstanding answers, counts missing ones, and closes all
    /// connections.
    ///
    /// # Errors
    /// The loop failed.
    pub(crate) fn wind_up(&mut self) -> io::Result<()> {
        self.each(|part, cx| {
            part.stop(cx);
            Time::ZERO
        });
        self.turn_until(OUTSTANDING_TIMEOUT, |part| part.outstanding() == 0)?;
        self.each(|part, cx| {
            part.finish(cx.now());
            part.tally().fold();
            part.details().into_iter().for_each(|(_, tally)| tally.fold());
            part.crowd().connects.fold();
            part.crowd().close_all(cx);
            Time::MAX
        });
        self.turn_until(CLOSE_TIMEOUT, |part| part.crowd().connections() == 0)
    }

    /// Connects all members; returns the samples at the first open connection.
    fn connect(&mut self) -> io::Result<Option<(Mark, u64)>> {
        let mut first = None;
        let wanted: u64 =
            self.parts.iter().map(|(_, part)| part.borrow_mut().crowd().len() as u64).sum();
        self.progress.connecting(wanted);
        self.each(|part, cx| {
            part.crowd().connects.start(cx.now());
            Time::ZERO
        });
        self.moment_end = self.now + self.moment;
        while !self.is_over() {
            self.each(|part, cx| {
                let mut errors = std::mem::take(&mut part.tally().errors);
                let wake = part.crowd().fill(cx, &mut errors);
                part.tally().errors = errors;
                wake
            });
            if first.is_none() && self.open() > 0 {
                first = Some((self.mark(), self.connections()));
            }
            let now = self.clock();
            if self.parts.iter().all(|(_, part)| part.borrow_mut().is_ready(now)) {
                break;
            }
            if self.pass_moment() {
                self.progress.connected(self.open());
            }
            self.turn(Time::MAX)?;
        }
        self.end_moment();
        self.moment_end = Time::MAX;
        Ok(first)
    }

    fn open(&self) -> u64 {
        self.parts.iter().map(|(_, part)| part.borrow_mut().crowd().open() as u64).sum()
    }

    fn opened(&self) -> u64 {
        self.parts.iter().map(|(_, part)| part.borrow_mut().crowd().census.opened).sum()
    }

    /// Connections that are open or in their handshake.
    fn connections(&self) -> u64 {
        self.parts.iter().map(|(_, part)| part.borrow_mut().crowd().connections() as u64).sum()
    }

    fn turn_for(&mut self, duration: Duration) -> io::Result<()> {
        let start = self.now;
        let end = start + duration;
        while self.now < end && !self.is_over() && !self.is_spent() {
            self.each(|part, cx| part.tick(cx));
            if self.pass_moment() {
                self.progress.at(self.now.since(start));
            }
            self.turn(end)?;
        }
        // Work that came due during the last turn belongs to this stage, too.
        self.each(|part, cx| part.tick(cx));
        Ok(())
    }

    /// Runs turns until all parts are done, or until the timeout.
    fn turn_until(
        &mut self,
        timeout: Duration,
        is_done: impl Fn(&mut dyn Part) -> bool,
    ) -> io::Result<()> {
        let end = self.now + timeout;
        while self.now < end {
            if self.parts.iter().all(|(_, part)| is_done(&mut *part.borrow_mut())) {
                return Ok(());
            }
            self.wake = Time::MAX;
            self.turn(end)?;
            self.now = self.clock();
        }
        Ok(())
    }

    /// Calls each part between two turns; each returns the time of its next call.
    fn each(&mut self, mut act: impl FnMut(&mut dyn Part, &mut Context<'_>) -> Time) {
        self.wake = Time::MAX;
        for (service, part) in &self.parts {
            let mut cx = self.reactor.context(*service);
            self.now = cx.now();
            self.wake = self.wake.min(act(&mut *part.borrow_mut(), &mut cx));
        }
    }

    fn clock(&mut self) -> Time {
        match self.parts.first() {
            Some((service, _)) => self.reactor.context(*service).now(),
            None => self.now,
        }
    }

    /// Runs one turn, which ends by the next deadline of a part, the timeline or the caller.
    fn turn(&mut self, end: Time) -> io::Result<()> {
        let until = self.wake.min(end).min(self.moment_end);
        let idle = self.reactor.wait();
        let wait = until.since(self.now).min(idle);
        if !self.is_paced || wait.is_zero() {
            return self.reactor.turn(Some(wait));
        }
        // Only a part is due: that needs no turn.
        if !self.sleep(wait)? && wait < idle {
            return Ok(());
        }
        self.reactor.turn(Some(Duration::ZERO))
    }

    /// Ends the current interval of the timeline if it is over.
    fn pass_moment(&mut self) -> bool {
        let is_over = self.now >= self.moment_end;
        if is_over {
            self.end_moment();
            self.sample();
            self.moment_end = self.now + self.moment;
        }
        is_over
    }

    /// Waits until the loop has work, with microsecond precision; returns whether it has.
    fn sleep(&self, wait: Duration) -> io::Result<bool> {
        let mut waited_for = [PollFd::new(self.reactor.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut waited_for, Some(TimeSpec::from_duration(wait)), None) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn end_moment(&mut self) {
        let now = self.now;
        for (_, part) in &self.parts {
            let mut part = part.borrow_mut();
            part.tally().end_moment(now);
            part.crowd().connects.end_moment(now);
        }
    }

    fn mark(&mut self) -> Mark {
        let at = self.clock();
        self.now = at;
        Mark { at, client_cpu_nanos: thread_cpu_nanos(), server: self.sample() }
    }

    /// Samples the server's usage. A process that cannot be sampled has ended.
    fn sample(&mut self) -> Option<Sample> {
        let sample = self.server?.sample();
        self.is_server_gone |= sample.is_err();
        sample.ok()
    }

    /// The server's process, if it ended during the run.
    pub(crate) fn gone(&self) -> Option<i32> {
        self.server.filter(|_| self.is_server_gone).map(Watched::pid)
    }

    /// Whether no part has anything left to send or to wait for.
    fn is_spent(&self) -> bool {
        self.parts.iter().all(|(_, part)| part.borrow().is_spent())
    }

    /// Whether to end the stages early.
    fn is_over(&self) -> bool {
        self.is_server_gone || self.plan.interrupted.load(Ordering::Relaxed)
    }
}

/// Settings of a loop without limits of its own: no pings, no limits that a server could exceed.
fn settings(plan: &Plan, members: usize) -> Settings {
    Settings::default()
        .outbound_max(2 * members + 64)
        .connections_max(1)
        .buffered_bytes_max(BUFFERED_BYTES_MAX)
        .deflate_windows_bytes_max(usize::MAX)
        .handshake_timeout(plan.connect_timeout)
        .close_timeout(CLOSE_TIMEOUT)
        .heartbeat(None)
}

fn route_settings() -> RouteSettings {
    let defaults = RouteSettings::default();
    let route = defaults
        .message_bytes_max(MESSAGE_BYTES_MAX)
        .outbox_grace(NEVER)
        .write_timeout(NEVER)
        .fragment_timeout(NEVER);
    let hard = route.outbox_hard_min();
    route.outbox_hard_bytes(hard)
}
