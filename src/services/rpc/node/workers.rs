//! Threads that take work from one queue, each the next piece.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Starts so many threads that do `work` until the queue's other end is gone.
pub(super) fn spawn<T: Send + 'static>(
    count: usize,
    queue: Receiver<T>,
    work: impl Fn(T) + Send + Sync + 'static,
) -> Vec<JoinHandle<()>> {
    let shared = Arc::new((Mutex::new(queue), work));
    let worker = || {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let (queue, work) = &*shared;
            loop {
                // The lock is held while waiting: whoever has it is the next to work.
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                match next {
                    Ok(next) => work(next),
                    Err(_) => return,
                }
            }
        })
    };
    (0..count).map(|_| worker()).collect()
}
