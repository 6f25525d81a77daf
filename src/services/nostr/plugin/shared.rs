//! What the threads of a plugin share: the queue, and the state of the process.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::warn;

use super::queue::Queue;
use super::wire;
use crate::services::nostr::event::EventId;
use crate::services::nostr::write_policy::{Judgement, Reply};

/// Lines in a row that answer no event in flight; then the process is ended.
const MALFORMED_MAX: u32 = 100;

/// Why a process is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It has closed its standard output.
    Exited,
    /// It has not answered any event for the timeout.
    Hung,
    /// It has written a line beyond the limit, or too many lines that answer no event.
    Malformed,
    /// Its files have changed, and it has answered all of its events.
    Outdated,
    /// The plugin is dropped.
    Stopped,
}

/// What the threads of a plugin share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// For the writer: there are events to write, or its process has ended.
    work: Condvar,
    /// For the supervisor: the process has ended, or the plugin is dropped.
    control: Condvar,
    /// The judgement of events that the plugin fails to judge.
    failed: Judgement,
    pub(super) failures: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) restarts: AtomicU64,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// The number of the process. Threads of earlier ones change nothing.
    process: u64,
    /// Why the process is to be ended.
    end: Option<End>,
    /// Whether its files have changed: it gets no further event.
    is_outdated: bool,
    /// Whether it has answered an event.
    has_answered: bool,
    malformed_in_row: u32,
    /// Whether it has written such a line: the first one is logged.
    is_malformed: bool,
    is_stopped: bool,
}

impl Shared {
    pub(super) fn new(queue: Queue, failed: Judgement) -> Shared {
        let state = State {
            queue,
            process: 0,
            end: None,
            is_outdated: false,
            has_answered: false,
            malformed_in_row: 0,
            is_malformed: false,
            is_stopped: false,
        };
        Shared {
            state: Mutex::new(state),
            work: Condvar::new(),
            control: Condvar::new(),
            failed,
            failures: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
        }
    }

    /// The state is valid after a panic of another thread: a reply is called without the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, id: EventId, line: Vec<u8>, reply: Reply) -> Result<(), Reply> {
        let pushed = self.lock().queue.push(id, line, reply, Instant::now());
        self.work.notify_one();
        pushed
    }

    /// For the writer: waits until there are events for the process. False: it has ended.
    pub(super) fn wait_for_events(&self, process: u64) -> bool {
        let mut state = self.lock();
        loop {
            if state.is_stopped || state.process != process {
                return false;
            }
            if !state.is_outdated && state.queue.can_send() {
                return true;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// For the writer: appends the lines of events to `out`.
    pub(super) fn take_lines(&self, process: u64, out: &mut Vec<u8>) {
        let mut state = self.lock();
        if !state.is_stopped && state.process == process {
            state.queue.send(out, Instant::now());
        }
    }

    /// For the writer: the files of the process have changed. It is ended when it has answered.
    pub(super) fn outdate(&self, process: u64) {
        let mut state = self.lock();
        if state.process == process {
            state.is_outdated = true;
            self.control.notify_one();
        }
    }

    /// For the reader: handles a line of the process. False: nothing more is to be read.
    pub(super) fn answer(&self, process: u64, line: &[u8]) -> bool {
        let answer = wire::answer(line);
        let mut state = self.lock();
        if state.process != process {
            return false;
        }
        let now = Instant::now();
        let reply =
            answer.and_then(|(id, judgement)| Some((state.queue.answer(&id, now)?, judgement)));
        let Some((reply, judgement)) = reply else {
            state.malformed_in_row += 1;
            let is_beyond = state.malformed_in_row > MALFORMED_MAX;
            let is_first = !std::mem::replace(&mut state.is_malformed, true);
            drop(state);
            self.malformed.fetch_add(1, Relaxed);
            if is_first {
                warn!("the write policy plugin wrote a line that answers no event");
            }
            if is_beyond {
                self.end(process, End::Malformed);
            }
            return !is_beyond;
        };
        state.has_answered = true;
        state.malformed_in_row = 0;
        let is_outdated = state.is_outdated;
        drop(state);
        self.work.notify_one();
        if is_outdated {
            self.control.notify_one();
        }
        reply.send(judgement);
        true
    }

    /// A thread of the process has found that it must be ended, or has ended.
    pub(super) fn end(&self, process: u64, end: End) {
        let mut state = self.lock();
        if state.process == process {
            state.end.get_or_insert(end);
            self.control.notify_one();
        }
    }

    /// For the supervisor: waits until the process must be ended.
    pub(super) fn wait_for_end(&self) -> End {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            while let Some(lost) = state.queue.take_lost(now) {
                drop(state);
                self.fail([lost]);
                self.work.notify_one();
                state = self.lock();
            }
            if state.is_stopped {
                return End::Stopped;
            }
            if let Some(end) = state.end {
                return end;
            }
            if state.is_outdated && state.queue.in_flight() == 0 {
                return End::Outdated;
            }
            let times = [state.queue.hangs_at(), state.queue.loses_at()];
            if times[0].is_some_and(|time| time <= now) {
                return End::Hung;
            }
            // An event that is sent meanwhile has at least the whole timeout. An answer may bring the
            // time forward at which an event counts as lost.
            let timeout = state.queue.timeout();
            let times = times.into_iter().flatten().min();
            let next = times.map_or(timeout, |time| time.duration_since(now).min(timeout / 4));
            state = self.wait(state, next);
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        let waited = self.control.wait_timeout(state, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// For the supervisor: fails the events of the process, and releases its threads. Returns whether
    /// it has answered an event.
    pub(super) fn finish(&self) -> bool {
        let mut state = self.lock();
        state.process += 1;
        let events = state.queue.take_in_flight();
        let has_answered = state.has_answered;
        drop(state);
        self.work.notify_all();
        self.fail(events);
        has_answered
    }

    /// The number of the next process, which is about to be started.
    pub(super) fn start(&self) -> u64 {
        let mut state = self.lock();
        state.queue.restart(Instant::now());
        state.end = None;
        state.is_outdated = false;
        state.has_answered = false;
        state.malformed_in_row = 0;
        state.is_malformed = false;
        state.process
    }

    /// For the supervisor: waits, and fails events that have waited for too long. False: the plugin is
    /// dropped.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let overdue = state.queue.take_overdue(now);
            if !overdue.is_empty() {
                drop(state);
                self.fail(overdue);
                state = self.lock();
            }
            if state.is_stopped || now >= until {
                return !state.is_stopped;
            }
            let next = state.queue.overdue_at().map_or(until, |time| time.min(until));
            // An event that is queued meanwhile is seen at the latest after its timeout.
            let time = next.duration_since(now).min(state.queue.timeout());
            state = self.wait(state, time);
        }
    }

    /// For the supervisor, after the end of the input: waits until the process closes its output.
    pub(super) fn wait_for_exit(&self, grace: Duration) {
        let until = Instant::now() + grace;
        let mut state = self.lock();
        while state.end.is_none() && Instant::now() < until {
            let time = until.duration_since(Instant::now());
            state = self.wait(state, time);
        }
    }

    /// The plugin is dropped: its events are rejected.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.is_stopped = true;
        let events = [state.queue.take_in_flight(), state.queue.take_waiting()];
        drop(state);
        self.work.notify_all();
        self.control.notify_all();
        drop(events);
    }

    fn fail(&self, events: impl IntoIterator<Item = Reply>) {
        for event in events {
            self.failures.fetch_add(1, Relaxed);
            event.send(self.failed.clone());
        }
    }

    /// Events in flight, and those that wait.
    pub(super) fn queued(&self) -> (usize, usize) {
        let state = self.lock();
        (state.queue.in_flight(), state.queue.waiting())
    }
}
