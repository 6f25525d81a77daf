//! Threads that take jobs from one queue, each the next one.
//!
//! A job that panics is reported as lost, so that its caller gets an error instead of silence. Its thread
//! goes on with the next job: it keeps nothing from one job to another.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Starts so many threads that do `work` until the queue's other end is gone. If `work` panics, `lost`
/// gets the `key` of the job.
pub(super) fn spawn<T: Send + 'static, K: 'static>(
    count: usize,
    queue: Receiver<T>,
    key: fn(&T) -> K,
    work: impl Fn(T) + Send + Sync + 'static,
    lost: impl Fn(K) + Send + Sync + 'static,
) -> Vec<JoinHandle<()>> {
    let shared = Arc::new((Mutex::new(queue), work, lost));
    let worker = || {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let (queue, work, lost) = &*shared;
            loop {
                // The lock is held while waiting: whoever has it is the next to work.
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(job) = next else {
                    return;
                };
                let key = key(&job);
                if catch_unwind(AssertUnwindSafe(|| work(job))).is_err() {
                    lost(key);
                }
            }
        })
    };
    (0..count).map(|_| worker()).collect()
}

#[cfg(test)]
mod tests {
    use std::panic::resume_unwind;
    use std::sync::mpsc::{channel, sync_channel};
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_job_that_panics_is_lost_and_its_thread_does_the_next() {
        let (sender, queue) = sync_channel(8);
        let (report, reports) = channel();
        let lost = report.clone();
        let work = move |job: u32| {
            if job % 2 == 1 {
                // A panic without a message on stderr.
                resume_unwind(Box::new("on purpose"));
            }
            report.send(("done", job)).unwrap();
        };
        let threads =
            spawn(1, queue, |job| *job, work, move |job| lost.send(("lost", job)).unwrap());
        for job in [1, 2, 3, 4] {
            sender.send(job).unwrap();
        }
        for expected in [("lost", 1), ("done", 2), ("lost", 3), ("done", 4)] {
            assert_eq!(reports.recv_timeout(Duration::from_secs(20)).unwrap(), expected);
        }
        drop(sender);
        assert!(threads.into_iter().all(|thread| thread.join().is_ok()));
    }
}
