//! When keys are loaded: at the start, each some minutes, and for a token with an unknown `kid`.
//!
//! One load at a time, on a thread. Old keys stay after a failure.

use std::time::Duration;

use super::keys::error::KeyError;
use super::keys::set::KeySet;
use super::keys::source::KeyLoader;
use crate::reactor::{Context, Finished, ServiceTimer, Step, Task, Time, WorkerSettings, Workers};

/// How often a file is read again.
const FILE_INTERVAL: Duration = Duration::from_secs(60);
/// How often keys are fetched again.
const SERVER_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// The least time between two fetches: for tokens with an unknown `kid`, and while there are no keys.
const FETCH_INTERVAL_MIN: Duration = Duration::from_secs(10);
/// The only timer of a gate for tokens.
pub(super) const LOAD_TIMER: u64 = 0;
/// TLS needs more than a minimal stack.
const STACK_BYTES: usize = 512 * 1024;

type Loaded = Result<KeySet, KeyError>;

/// Whether keys are fetched for a token that no key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fetch {
    /// They are being fetched.
    Running,
    /// They come from a file, which is read each minute.
    Never,
    /// They were fetched a moment ago.
    Recent,
    /// The last fetch has failed a moment ago: the keys may be old.
    Failed,
}

/// Loads keys on a thread.
#[derive(Debug)]
pub(super) struct Loading {
    threads: Workers<(), Loaded, ()>,
    is_file: bool,
    is_running: bool,
    /// Whether the last load has failed.
    has_failed: bool,
    /// When the last load was started.
    started: Time,
    /// The next load. Invariant: no other timer is set.
    next: Option<ServiceTimer>,
}

impl Loading {
    /// Starts to load from a server at once; the keys of a file are there already.
    pub(super) fn new(cx: &mut Context<'_>, loader: KeyLoader) -> Loading {
        let is_file = matches!(loader, KeyLoader::File(_));
        let mut settings = WorkerSettings::new("keys", 1, 1);
        settings.stack_bytes = STACK_BYTES;
        let threads = cx.workers(settings, move |()| Step::Done(loader.load()));
        let mut loading = Loading {
            threads,
            is_file,
            is_running: false,
            has_failed: false,
            started: cx.now(),
            next: None,
        };
        match is_file {
            true => loading.schedule(cx, FILE_INTERVAL),
            false => loading.start(cx),
        }
        loading
    }

    /// Sets the time of the next load, instead of an earlier one.
    fn schedule(&mut self, cx: &mut Context<'_>, delay: Duration) {
        self.unschedule(cx);
        self.next = cx.schedule(delay, LOAD_TIMER);
        if self.next.is_none() {
            log::error!("keys are not loaded again: too many timers");
        }
    }

    fn unschedule(&mut self, cx: &mut Context<'_>) {
        if let Some(next) = self.next.take() {
            // It may have fired.
            let _ = cx.cancel(next);
        }
    }

    /// Loads, unless a load is running.
    pub(super) fn start(&mut self, cx: &mut Context<'_>) {
        if self.is_running {
            return;
        }
        self.unschedule(cx);
        self.started = cx.now();
        self.is_running = self.threads.try_put(Task::new((), ())).is_ok();
        if !self.is_running {
            self.schedule(cx, FETCH_INTERVAL_MIN);
        }
    }

    /// Whether the keys are fetched for a token with an unknown `kid`. Starts a fetch if the last one was
    /// long enough ago.
    pub(super) fn fetch_for_token(&mut self, cx: &mut Context<'_>) -> Fetch {
        if self.is_file {
            return Fetch::Never;
        }
        if !self.is_running && cx.now().since(self.started) >= FETCH_INTERVAL_MIN {
            self.start(cx);
        }
        if self.is_running { Fetch::Running } else { self.last_fetch() }
    }

    /// How the last load has ended.
    pub(super) fn last_fetch(&self) -> Fetch {
        if self.has_failed { Fetch::Failed } else { Fetch::Recent }
    }

    /// The result of a load that has ended; the next one is scheduled.
    pub(super) fn take(&mut self, cx: &mut Context<'_>, has_keys: bool) -> Option<Loaded> {
        let loaded = match self.threads.take()? {
            Finished::Done(loaded) => loaded,
            Finished::Lost(()) => Err(KeyError::Fetch("loading panicked".to_owned())),
        };
        self.is_running = false;
        self.has_failed = loaded.is_err();
        self.schedule(
            cx,
            match (self.is_file, has_keys || loaded.is_ok()) {
                (true, _) => FILE_INTERVAL,
                (false, true) => SERVER_INTERVAL,
                (false, false) => FETCH_INTERVAL_MIN,
            },
        );
        Some(loaded)
    }
}
