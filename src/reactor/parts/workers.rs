//! [`Workers`]: a bounded pool of threads for work that would block the loop.
//!
//! Threads are started as jobs need them, and take jobs from one [queue]. Results are collected and
//! taken all at once, with one wake-up of the loop and one lock. It knows no connections: the
//! service chooses the keys of its jobs.

mod queue;

use std::collections::VecDeque;
use std::fmt;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::TrySendError;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use self::queue::Queue;
use super::mailbox::Notifier;
use crate::reactor::api::settings::with_setters;

pub use self::queue::Task;

with_setters! {
    /// The limits of a pool of threads.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct WorkerSettings {
        /// The name of the threads. Linux shows its first 15 bytes.
        pub name: String = name.to_owned(),
        /// Maximum number of threads; at least 1. They are started as jobs need them.
        pub threads_max: usize = threads_max,
        /// Maximum number of jobs that wait or run, or whose results the service has not taken.
        pub jobs_max: usize = jobs_max,
        /// Jobs of high priority that run in a row while one of low priority waits.
        pub high_in_a_row_max: usize = 32,
        /// The stack of each thread in bytes. Memory is used as the stack grows, up to this.
        pub stack_bytes: usize = 2 * 1024 * 1024,
    }

    /// Up to `threads_max` threads of 2 MiB stack, and `jobs_max` jobs.
    pub fn new(name: &str, threads_max: usize, jobs_max: usize);
}

/// The result of running a job on its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<J, D> {
    /// The job is done, with this result.
    Done(D),
    /// A part of the job is done; it runs again after the jobs that wait now.
    Again(J),
    /// The job was put into another queue, which will report its result.
    Forwarded,
}

/// The end of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished<D, K> {
    /// Its result.
    Done(D),
    /// The job of this key panicked. Its thread continues with the next job.
    Lost(K),
}

/// How busy a pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerLoad {
    /// Jobs that wait.
    pub queued: usize,
    /// Jobs that run.
    pub running: usize,
    /// Threads that have been started.
    pub threads: usize,
}

/// A bounded pool of threads that work for one service: jobs `J` in, results `D` out.
///
/// [`try_put`](Workers::try_put) never waits. [`on_mail`](crate::reactor::Service::on_mail) is
/// called when there are results, once for many; [`take`](Workers::take) returns them. The key `K`
/// identifies a job that was lost to a panic, and jobs that run [in order](Task::in_order).
///
/// When the pool is dropped, waiting jobs are dropped with it, and each thread ends after its
/// present job; [`join`](Workers::join) waits for that.
///
/// This service computes a checksum for each message, in the order of each client's messages. It
/// accepts at most 1000 messages at a time, and processes a long message in parts, so that it does
/// not delay short ones:
///
/// ```
/// use weir::protocol::{CloseCode, Message};
/// use weir::reactor::{
///     ConnId, Context, Finished, More, Reactor, Service, Step, Task, WorkerSettings, Workers,
/// };
///
/// struct Job {
///     conn: ConnId,
///     bytes: Vec<u8>,
///     sum: u32,
/// }
///
/// struct Checksums(Workers<Job, (ConnId, u32), ConnId>);
///
/// impl Service for Checksums {
///     fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
///         let bytes = message.as_bytes().to_vec();
///         let task = Task::new(conn, Job { conn, bytes, sum: 0 }).in_order();
///         if self.0.try_put(task).is_err() {
///             eprintln!("{} checksums are waiting", self.0.load().queued);
///             let _ = cx.send(conn, "busy");
///         }
///     }
///     fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
///         match self.0.take() {
///             Some(Finished::Done((conn, sum))) => {
///                 let _ = cx.send(conn, &sum.to_string());
///             }
///             Some(Finished::Lost(conn)) => cx.close(conn, CloseCode::INTERNAL_ERROR, "lost"),
///             None => return More::No,
///         }
///         More::Yes
///     }
/// }
///
/// fn add_part(mut job: Job) -> Step<Job, (ConnId, u32)> {
///     let rest = job.bytes.split_off(job.bytes.len().min(65536));
///     job.sum = job.bytes.iter().fold(job.sum, |sum, byte| sum.rotate_left(1) ^ u32::from(*byte));
///     match rest.is_empty() {
///         true => Step::Done((job.conn, job.sum)),
///         false => Step::Again(Job { bytes: rest, ..job }),
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut reactor = Reactor::new(Default::default())?;
/// let settings = WorkerSettings::new("checksums", 2, 1000);
/// let workers = reactor.workers(reactor.next_service_id(), settings, add_part);
/// reactor.add_service(Checksums(workers))?;
/// # Ok(())
/// # }
/// ```
pub struct Workers<J, D, K> {
    queue: WorkQueue<J, D, K>,
    /// Results taken from the threads, not yet returned by `take`.
    results: VecDeque<Finished<D, K>>,
}

/// Puts jobs into a pool from any thread: see [`Workers::queue`].
pub struct WorkQueue<J, D, K>(Arc<Pool<J, D, K>>);

/// The state that the threads of a pool share with the loop.
struct Pool<J, D, K> {
    settings: WorkerSettings,
    state: Mutex<State<J, D, K>>,
    /// Wakes threads that wait for a job.
    ready: Condvar,
    notifier: Notifier,
    work: Box<dyn Fn(J) -> Step<J, D> + Send + Sync>,
    /// Apart from the state, since starting a thread takes long.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct State<J, D, K> {
    queue: Queue<J, K>,
    results: VecDeque<Finished<D, K>>,
    /// Threads that were started, or are being started.
    threads: usize,
    /// Threads that wait for a job, or will take one next.
    idle: usize,
    /// Whether a thread is being started that has not looked for a job yet.
    is_starting: bool,
    is_closed: bool,
}

impl<J, D, K> Workers<J, D, K>
where
    J: Send + 'static,
    D: Send + 'static,
    K: Clone + Eq + Hash + Send + 'static,
{
    pub(crate) fn new(
        notifier: Notifier,
        settings: WorkerSettings,
        work: impl Fn(J) -> Step<J, D> + Send + Sync + 'static,
    ) -> Workers<J, D, K> {
        let state = State::new(settings.high_in_a_row_max);
        let pool = Pool {
            settings,
            state: Mutex::new(state),
            ready: Condvar::new(),
            notifier,
            work: Box::new(work),
            threads: Mutex::default(),
        };
        Workers { queue: WorkQueue(Arc::new(pool)), results: VecDeque::new() }
    }

    /// Puts a job; never waits.
    ///
    /// # Errors [`TrySendError::Full`] if [`jobs_max`](field@WorkerSettings::jobs_max) is reached,
    /// or the first thread could not be started. The error contains the job.
    pub fn try_put(&self, task: Task<J, K>) -> Result<(), TrySendError<J>> {
        self.queue.try_put(task)
    }

    /// The result of a job that has ended; `None` if there is none. Never waits.
    pub fn take(&mut self) -> Option<Finished<D, K>> {
        if self.results.is_empty() {
            std::mem::swap(&mut self.queue.0.lock().results, &mut self.results);
        }
        self.results.pop_front()
    }

    /// How busy the pool is.
    pub fn load(&self) -> WorkerLoad {
        let state = self.queue.0.lock();
        let State { queue, threads, .. } = &*state;
        WorkerLoad { queued: queue.len, running: queue.running, threads: *threads }
    }

    /// Puts jobs from other threads, for example from a job of another pool.
    pub fn queue(&self) -> WorkQueue<J, D, K> {
        self.queue.clone()
    }

    /// Drops waiting jobs, and waits for running ones.
    pub fn join(self) {
        let pool = Arc::clone(&self.queue.0);
        drop(self);
        // A thread that was starting another one adds it before it ends.
        while let Some(thread) = pool.next_thread() {
            if thread.join().is_err() {
                log::error!("a thread of {} has panicked", pool.settings.name);
            }
        }
    }
}

impl<J, D, K> WorkQueue<J, D, K>
where
    J: Send + 'static,
    D: Send + 'static,
    K: Clone + Eq + Hash + Send + 'static,
{
    /// See [`Workers::try_put`].
    ///
    /// # Errors
    /// As for [`Workers::try_put`]; also [`TrySendError::Disconnected`] if the pool was dropped.
    pub fn try_put(&self, task: Task<J, K>) -> Result<(), TrySendError<J>> {
        let mut state = self.0.lock();
        if state.is_closed {
            return Err(TrySendError::Disconnected(task.job));
        }
        let jobs = state.queue.len + state.queue.running + state.results.len();
        if jobs >= self.0.settings.jobs_max {
            return Err(TrySendError::Full(task.job));
        }
        if state.reserve_first() {
            drop(state);
            if !start_thread(&self.0) {
                return Err(TrySendError::Full(task.job));
            }
            state = self.0.lock();
        }
        state.queue.put(task);
        let starts = state.reserve_thread(self.0.settings.threads_max);
        drop(state);
        if starts {
            start_thread(&self.0);
        }
        self.0.ready.notify_one();
        Ok(())
    }
}

impl<J, D, K: Clone + Eq + Hash> State<J, D, K> {
    fn new(high_in_a_row_max: usize) -> State<J, D, K> {
        State {
            queue: Queue::new(high_in_a_row_max),
            results: VecDeque::new(),
            threads: 0,
            idle: 0,
            is_starting: false,
            is_closed: false,
        }
    }

    /// Reserves the first thread of the pool.
    fn reserve_first(&mut self) -> bool {
        self.threads == 0 && self.reserve()
    }

    /// Reserves one more thread, if jobs wait for it and no other one is being started.
    fn reserve_thread(&mut self, most: usize) -> bool {
        let is_needed = self.queue.ready() > self.idle && self.threads < most;
        is_needed && self.reserve()
    }

    /// A thread starts the next one when it takes its first job: a burst of jobs costs the loop the
    /// start of one thread.
    fn reserve(&mut self) -> bool {
        let may_start = !self.is_starting && !self.is_closed;
        if may_start {
            self.is_starting = true;
            self.threads += 1;
            self.idle += 1;
        }
        may_start
    }

    fn cancel_reserved(&mut self) {
        self.is_starting = false;
        self.threads -= 1;
        self.idle -= 1;
    }
}

/// Starts a thread that was reserved; false if the system has none.
fn start_thread<J, D, K>(pool: &Arc<Pool<J, D, K>>) -> bool
where
    J: Send + 'static,
    D: Send + 'static,
    K: Clone + Eq + Hash + Send + 'static,
{
    let WorkerSettings { name, stack_bytes, .. } = &pool.settings;
    let thread = thread::Builder::new().name(name.clone()).stack_size(*stack_bytes);
    let of_thread = Arc::clone(pool);
    match thread.spawn(move || run(&of_thread)) {
        Ok(thread) => {
            pool.lock_threads().push(thread);
            true
        }
        Err(error) => {
            log::error!("cannot start a thread of {name}: {error}");
            pool.lock().cancel_reserved();
            false
        }
    }
}

/// Runs jobs until the pool is closed.
fn run<J, D, K>(pool: &Arc<Pool<J, D, K>>)
where
    J: Send + 'static,
    D: Send + 'static,
    K: Clone + Eq + Hash + Send + 'static,
{
    pool.lock().is_starting = false;
    while let Some((task, starts)) = pool.take() {
        if starts {
            start_thread(pool);
        }
        pool.run(task);
    }
}

impl<J, D, K: Clone + Eq + Hash> Pool<J, D, K> {
    fn run(&self, Task { job, key, priority, is_ordered }: Task<J, K>) {
        // Unwind-safe: a thread keeps no state between two jobs.
        let step = catch_unwind(AssertUnwindSafe(|| (self.work)(job)));
        let mut state = self.lock();
        state.idle += 1;
        let result = match step {
            Ok(Step::Again(job)) => {
                return state.queue.put_again(Task { job, key, priority, is_ordered });
            }
            Ok(Step::Done(done)) => Some(Finished::Done(done)),
            Ok(Step::Forwarded) => None,
            Err(_) => Some(Finished::Lost(key.clone())),
        };
        state.queue.finish(&key, is_ordered);
        let is_result = result.is_some();
        state.results.extend(result);
        drop(state);
        if is_result {
            self.notifier.notify();
        }
    }

    /// Waits for the next job; `None` when the pool is closed. Also whether the caller must start one
    /// more thread, because further jobs wait.
    fn take(&self) -> Option<(Task<J, K>, bool)> {
        let mut state = self.lock();
        while !state.is_closed {
            if let Some(task) = state.queue.take() {
                state.idle -= 1;
                let starts = state.reserve_thread(self.settings.threads_max);
                return Some((task, starts));
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }
}

impl<J, D, K> Pool<J, D, K> {
    fn lock(&self) -> MutexGuard<'_, State<J, D, K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_thread(&self) -> Option<JoinHandle<()>> {
        self.lock_threads().pop()
    }
}

impl<J, D, K> Drop for Workers<J, D, K> {
    fn drop(&mut self) {
        let mut state = self.queue.0.lock();
        state.is_closed = true;
        let waiting = state.queue.clear();
        drop(state);
        self.queue.0.ready.notify_all();
        drop(waiting);
    }
}

impl<J, D, K> Clone for WorkQueue<J, D, K> {
    fn clone(&self) -> WorkQueue<J, D, K> {
        WorkQueue(Arc::clone(&self.0))
    }
}

impl<J, D, K> fmt::Debug for Workers<J, D, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("settings", &self.queue.0.settings).finish_non_exhaustive()
    }
}

impl<J, D, K> fmt::Debug for WorkQueue<J, D, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorkQueue")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_jobs_starts_one_thread_which_starts_the_next() {
        let mut state = State::<(), (), u32>::new(1);
        assert!(state.reserve_first() && !state.reserve_first());
        for key in 0..3 {
            state.queue.put(Task::new(key, ()));
            assert!(!state.reserve_thread(2), "the first one is being started");
        }
        // It runs, and takes a job.
        state.is_starting = false;
        assert!(state.queue.take().is_some());
        state.idle -= 1;
        assert!(state.reserve_thread(2) && state.threads == 2);
        state.is_starting = false;
        assert!(!state.reserve_thread(2), "there are as many as allowed");
        state.cancel_reserved();
        state.is_closed = true;
        assert!(!state.reserve_thread(2), "the pool is closed");
    }
}
