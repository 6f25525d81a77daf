//! [`Throttle`]: a limit on the work that one connection has outstanding.
//!
//! It counts work that a service starts and finishes for each connection, and pauses reading in
//! between. It owns only the counts; the service does the work.

use super::conn_map::ConnMap;
use super::context::Context;
use super::id::ConnId;
use crate::reactor::conn::pause::PauseOwner;

/// Pauses reading from a connection while it has too much work outstanding.
///
/// A service calls [`start`](Throttle::start) when it starts work for a connection, and
/// [`finish`](Throttle::finish) when the work is done. At `jobs_max` jobs or `bytes_max` bytes
/// reading pauses, and TCP back-pressure makes the peer wait; at half of both limits it resumes. So
/// one client can fill neither a shared queue nor the memory.
///
/// A message that was read before the pause is delivered only after it. Work may exceed a limit by
/// what one message starts.
///
/// The pause belongs to the throttle: [`Context::resume`] does not end it, and it does not end a
/// pause by [`Context::pause`]. A service must have at most one throttle, since two would end each
/// other's pauses.
///
/// ```
/// use weir::protocol::Message;
/// use weir::reactor::{
///     CloseReason, ConnId, Context, Finished, More, Service, Task, Throttle, Workers,
/// };
///
/// struct Shouting {
///     throttle: Throttle,
///     workers: Workers<String, String, ConnId>,
/// }
///
/// impl Service for Shouting {
///     fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
///         let text = String::from_utf8_lossy(message.as_bytes()).into_owned();
///         let task = Task::new(conn, text).in_order();
///         if self.workers.try_put(task).is_ok() {
///             self.throttle.start(cx, conn, 1, message.len());
///         } else {
///             let _ = cx.send(conn, "busy");
///         }
///     }
/// #   fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
/// #       let _ = (cx, self.workers.take());
/// #       More::No
/// #   }
///     // on_mail: send the result, and self.throttle.finish(cx, conn, 1, bytes)
///     fn on_close(&mut self, _: &mut Context<'_>, conn: ConnId, _: CloseReason) {
///         self.throttle.forget(conn);
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Throttle {
    jobs_max: usize,
    bytes_max: usize,
    /// Counts of connections with outstanding work.
    counts: ConnMap<Count>,
}

#[derive(Debug, Default)]
struct Count {
    outstanding: Outstanding,
    is_paused: bool,
}

/// The outstanding work of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Outstanding {
    /// Jobs that were started and not finished.
    pub jobs: usize,
    /// The bytes that were started with them.
    pub bytes: usize,
}

impl Throttle {
    /// A throttle that pauses a connection at `jobs_max` jobs or `bytes_max` bytes. [`usize::MAX`]
    /// is no limit.
    pub fn new(jobs_max: usize, bytes_max: usize) -> Throttle {
        Throttle { jobs_max, bytes_max, counts: ConnMap::new() }
    }

    /// Counts work that starts for a connection; true if this pauses reading from it. For a
    /// connection that has ended or belongs to another service, nothing is counted.
    pub fn start(&mut self, cx: &mut Context<'_>, conn: ConnId, jobs: usize, bytes: usize) -> bool {
        let Some(count) = self.counts.get_or_insert_with(cx, conn, Count::default) else {
            return false;
        };
        let outstanding = &mut count.outstanding;
        outstanding.jobs = outstanding.jobs.saturating_add(jobs);
        outstanding.bytes = outstanding.bytes.saturating_add(bytes);
        let is_full = outstanding.jobs >= self.jobs_max || outstanding.bytes >= self.bytes_max;
        if count.is_paused || !is_full {
            return false;
        }
        count.is_paused = cx.pause_by(conn, PauseOwner::Throttle);
        count.is_paused
    }

    /// Counts finished work of a connection, and resumes reading at half of both limits.
    pub fn finish(&mut self, cx: &mut Context<'_>, conn: ConnId, jobs: usize, bytes: usize) {
        let Some(count) = self.counts.get_mut(conn) else {
            return;
        };
        let outstanding = &mut count.outstanding;
        outstanding.jobs = outstanding.jobs.saturating_sub(jobs);
        outstanding.bytes = outstanding.bytes.saturating_sub(bytes);
        let is_low =
            outstanding.jobs <= self.jobs_max / 2 && outstanding.bytes <= self.bytes_max / 2;
        if is_low && std::mem::take(&mut count.is_paused) {
            cx.resume_by(conn, PauseOwner::Throttle);
        }
    }

    /// The work that a connection has outstanding.
    pub fn outstanding(&self, conn: ConnId) -> Outstanding {
        self.counts.get(conn).map_or_else(Outstanding::default, |count| count.outstanding)
    }

    /// Removes a connection that has ended. Work for it that finishes later is not counted.
    pub fn forget(&mut self, conn: ConnId) {
        self.counts.remove(conn);
    }
}
