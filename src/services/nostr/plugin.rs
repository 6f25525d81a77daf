//! A write policy in a process of its own, by strfry's plugin protocol: a line of JSON for each event
//! on its standard input, a line for each judgement on its standard output, in any order.
//!
//! Three threads for a process: one writes, one reads, and the supervisor ends a process that hangs,
//! breaks the protocol or has exited, and starts the next one after a pause. A process whose files have
//! changed is replaced at once, when it has answered its events. Only the events that the
//! plugin judges wait for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use log::{info, warn};

use self::process::Process;
use self::queue::Queue;
use self::shared::{End, Shared};
use super::refusal::Prefix;
use super::write_policy::{Judgement, Reply, Submission, WritePolicy, failed};

mod process;
mod queue;
mod shared;
#[cfg(test)]
mod tests;
mod watched;
mod wire;

/// The pause before the first new process. It doubles with each process that answers no event.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long a process may take to exit when the relay stops.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// Threads of processes. They outlive a process whose own children keep its pipes open; beyond this
/// number no new process is started.
const THREADS_MAX: usize = 16;

/// Settings of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PluginSettings {
    /// A path, or a command for the shell if it contains spaces.
    pub command: String,
    /// Events that the process has at once.
    pub in_flight_max: usize,
    /// How long an event may take.
    pub timeout: Duration,
    /// What happens to events that the plugin fails to judge.
    pub failure: PluginFailure,
}

/// What happens to events that a plugin fails to judge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PluginFailure {
    /// They are refused: `error:`.
    #[default]
    Refuse,
    /// They are accepted.
    Accept,
}

impl PluginSettings {
    /// The defaults for a command.
    pub(super) fn new(command: impl Into<String>) -> PluginSettings {
        PluginSettings {
            command: command.into(),
            in_flight_max: 64,
            timeout: Duration::from_secs(10),
            failure: PluginFailure::Refuse,
        }
    }
}

/// What a plugin does, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PluginCounts {
    /// Events that the process has.
    pub in_flight: usize,
    /// Events that wait for it.
    pub waiting: usize,
    /// Events that the plugin has failed to judge.
    pub failures: u64,
    /// Lines that answer no event in flight.
    pub malformed: u64,
    /// Processes after the first.
    pub restarts: u64,
}

/// Shows what a plugin does.
#[derive(Debug)]
pub struct PluginWatch(Arc<Shared>);

impl PluginWatch {
    /// What the plugin does now.
    pub fn counts(&self) -> PluginCounts {
        let PluginWatch(shared) = self;
        let (in_flight, waiting) = shared.queued();
        PluginCounts {
            in_flight,
            waiting,
            failures: shared.failures.load(Relaxed),
            malformed: shared.malformed.load(Relaxed),
            restarts: shared.restarts.load(Relaxed),
        }
    }
}

/// A write policy in a process of its own. Dropped, it closes the process's input, waits a second for
/// its end, and kills it.
#[derive(Debug)]
pub(super) struct Plugin {
    shared: Arc<Shared>,
    supervisor: Option<JoinHandle<()>>,
}

impl Plugin {
    /// Starts the process.
    ///
    /// # Errors
    /// The program or a thread cannot be started.
    pub(super) fn start(settings: PluginSettings) -> io::Result<Plugin> {
        let PluginSettings { command, in_flight_max, timeout, failure } = settings;
        let queue = Queue::new(in_flight_max.max(1), timeout, Instant::now());
        let failed = match failure {
            PluginFailure::Refuse => Judgement::Reject(failed()),
            PluginFailure::Accept => Judgement::Accept,
        };
        let shared = Arc::new(Shared::new(queue, failed));
        let alive = Arc::new(());
        let process = Process::start(&command, &shared, &alive)?;
        let mut supervisor = Supervisor { command, shared, process, alive, pause: PAUSE_FIRST };
        let shared = Arc::clone(&supervisor.shared);
        let thread = thread::Builder::new().name("weir-policy".to_owned());
        let supervisor = thread.spawn(move || supervisor.run())?;
        Ok(Plugin { shared, supervisor: Some(supervisor) })
    }

    /// For metrics.
    pub(super) fn watch(&self) -> PluginWatch {
        PluginWatch(Arc::clone(&self.shared))
    }

    #[cfg(test)]
    fn counts(&self) -> PluginCounts {
        self.watch().counts()
    }
}

impl WritePolicy for Plugin {
    fn judge(&self, submission: Submission<'_>, reply: Reply) {
        let line = wire::request(&submission);
        if let Err(reply) = self.shared.push(*submission.event.id(), line, reply) {
            let refusal = Prefix::RateLimited.text("too many events wait for the write policy");
            reply.send(Judgement::Reject(refusal));
        }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(supervisor) = self.supervisor.take() {
            // A panic of the supervisor was logged.
            let _ = supervisor.join();
        }
    }
}

/// Ends and starts processes.
struct Supervisor {
    command: String,
    shared: Arc<Shared>,
    process: Process,
    /// A clone for each thread of a process.
    alive: Arc<()>,
    pause: Duration,
}

impl Supervisor {
    fn run(&mut self) {
        loop {
            let end = self.shared.wait_for_end();
            if end == End::Stopped {
                self.shared.wait_for_exit(STOP_GRACE);
                self.process.end();
                return;
            }
            let status = self.process.end();
            if self.shared.finish() {
                self.pause = PAUSE_FIRST;
            }
            let why = match end {
                End::Outdated => {
                    info!("the write policy plugin has changed");
                    if !self.start() && !self.start_again() {
                        return;
                    }
                    continue;
                }
                End::Exited => "has exited",
                End::Hung => "did not answer in time",
                End::Malformed => "wrote lines that answer no event",
                End::Stopped => "was stopped",
            };
            warn!(
                "the write policy plugin {why} ({status}); it is started again in {:?}",
                self.pause
            );
            if !self.start_again() {
                return;
            }
        }
    }

    /// Starts the next process. False: the plugin is dropped.
    fn start_again(&mut self) -> bool {
        while self.shared.pause(self.pause) {
            self.pause = (self.pause * 2).min(PAUSE_MAX);
            if Arc::strong_count(&self.alive) > THREADS_MAX {
                warn!(
                    "the write policy plugin is not started: processes that it has left keep its pipes open"
                );
                continue;
            }
            if self.start() {
                return true;
            }
        }
        false
    }

    /// Starts the next process; false if that failed.
    fn start(&mut self) -> bool {
        match Process::start(&self.command, &self.shared, &self.alive) {
            Ok(process) => {
                self.process = process;
                self.shared.restarts.fetch_add(1, Relaxed);
                info!("the write policy plugin was started again");
                true
            }
            Err(error) => {
                warn!("the write policy plugin cannot be started: {error}");
                false
            }
        }
    }
}
