//! The job queue of a pool of threads: decides which job runs next. No threads and no locks here.
//!
//! Ordered jobs with the same key run one at a time. After each of them the key waits for its next
//! turn like any other job, so that a connection with a thousand jobs delays another one by one
//! job.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// The priority of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Priority {
    High,
    Low,
}

/// A job with its place in the queue. See [`Workers::try_put`](super::Workers::try_put).
#[derive(Debug)]
pub struct Task<J, K> {
    pub(super) job: J,
    pub(super) key: K,
    pub(super) priority: Priority,
    pub(super) is_ordered: bool,
}

impl<J, K> Task<J, K> {
    /// A job that may run at the same time as any other. If it panics, `key` identifies it
    /// ([`Lost`](super::Finished::Lost)).
    pub fn new(key: K, job: J) -> Task<J, K> {
        Task { job, key, priority: Priority::High, is_ordered: false }
    }

    /// Runs the job after all earlier ordered jobs with the same key, never at the same time.
    #[must_use]
    pub fn in_order(mut self) -> Task<J, K> {
        self.is_ordered = true;
        self
    }

    /// Runs the job after jobs of high priority, but not after more in a row than
    /// [`high_in_a_row_max`](field@super::WorkerSettings::high_in_a_row_max). An ordered job never
    /// overtakes an earlier one of its key.
    ///
    /// ```
    /// use weir::reactor::{ConnId, Task};
    ///
    /// fn export(conn: ConnId, table: String) -> Task<String, ConnId> {
    ///     Task::new(conn, table).low_priority()
    /// }
    /// ```
    #[must_use]
    pub fn low_priority(mut self) -> Task<J, K> {
        self.priority = Priority::Low;
        self
    }
}

/// An entry of the queue.
#[derive(Debug)]
enum Turn<J, K> {
    Single(Task<J, K>),
    /// The first job of a key.
    First(K),
}

/// All waiting and running jobs.
#[derive(Debug)]
pub(super) struct Queue<J, K> {
    high: VecDeque<Turn<J, K>>,
    low: VecDeque<Turn<J, K>>,
    high_in_a_row: usize,
    high_in_a_row_max: usize,
    /// The waiting jobs of each key that is queued or has a running job.
    ordered: HashMap<K, VecDeque<Task<J, K>>>,
    /// The number of waiting jobs.
    pub(super) len: usize,
    pub(super) running: usize,
}

impl<J, K> Queue<J, K> {
    pub(super) fn new(high_in_a_row_max: usize) -> Queue<J, K> {
        Queue {
            high: VecDeque::new(),
            low: VecDeque::new(),
            high_in_a_row: 0,
            high_in_a_row_max,
            ordered: HashMap::new(),
            len: 0,
            running: 0,
        }
    }

    /// Removes all waiting jobs.
    pub(super) fn clear(&mut self) -> Queue<J, K> {
        let cleared = Queue { running: self.running, ..Queue::new(self.high_in_a_row_max) };
        std::mem::replace(self, cleared)
    }
}

impl<J, K: Clone + Eq + Hash> Queue<J, K> {
    /// The number of jobs that may run now, each on its own thread.
    pub(super) fn ready(&self) -> usize {
        self.high.len() + self.low.len()
    }

    pub(super) fn put(&mut self, task: Task<J, K>) {
        self.len += 1;
        if !task.is_ordered {
            return self.enqueue(task.priority, Turn::Single(task));
        }
        if let Some(waiting) = self.ordered.get_mut(&task.key) {
            return waiting.push_back(task);
        }
        let (priority, key) = (task.priority, task.key.clone());
        self.ordered.insert(key.clone(), VecDeque::from([task]));
        self.enqueue(priority, Turn::First(key));
    }

    fn enqueue(&mut self, priority: Priority, turn: Turn<J, K>) {
        match priority {
            Priority::High => self.high.push_back(turn),
            Priority::Low => self.low.push_back(turn),
        }
    }

    /// Takes the next job to run; [`Queue::finish`] follows.
    pub(super) fn take(&mut self) -> Option<Task<J, K>> {
        let is_low_due = self.high_in_a_row >= self.high_in_a_row_max || self.high.is_empty();
        let turn = match self.low.is_empty() {
            false if is_low_due => {
                self.high_in_a_row = 0;
                self.low.pop_front()
            }
            is_low_empty => {
                self.high_in_a_row = if is_low_empty { 0 } else { self.high_in_a_row + 1 };
                self.high.pop_front()
            }
        };
        let task = match turn? {
            Turn::Single(task) => task,
            Turn::First(key) => self.ordered.get_mut(&key)?.pop_front()?,
        };
        self.len -= 1;
        self.running += 1;
        Some(task)
    }

    /// Records that the job of this key has run: the next job of an ordered key may run.
    pub(super) fn finish(&mut self, key: &K, is_ordered: bool) {
        self.running -= 1;
        if is_ordered {
            self.pass_turn(key);
        }
    }

    /// Queues a job again after it has run, behind all jobs that may run now.
    pub(super) fn put_again(&mut self, task: Task<J, K>) {
        self.running -= 1;
        self.len += 1;
        if !task.is_ordered {
            return self.enqueue(task.priority, Turn::Single(task));
        }
        let key = task.key.clone();
        self.ordered.entry(key.clone()).or_default().push_front(task);
        self.pass_turn(&key);
    }

    fn pass_turn(&mut self, key: &K) {
        match self.ordered.get(key).and_then(VecDeque::front).map(|task| task.priority) {
            Some(priority) => self.enqueue(priority, Turn::First(key.clone())),
            None => drop(self.ordered.remove(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Jobs = Queue<&'static str, u32>;

    const IN_A_ROW: usize = 4;

    fn put_ordered(queue: &mut Jobs, key: u32, jobs: &[&'static str]) {
        for &job in jobs {
            queue.put(Task::new(key, job).in_order());
        }
    }

    /// Runs jobs one after the other, as a single thread would.
    fn run(queue: &mut Jobs) -> Vec<&'static str> {
        let mut ran = Vec::new();
        while let Some(Task { job, key, is_ordered, .. }) = queue.take() {
            ran.push(job);
            queue.finish(&key, is_ordered);
        }
        assert_eq!((queue.len, queue.running, queue.ordered.len()), (0, 0, 0));
        ran
    }

    #[test]
    fn keys_take_turns_and_jobs_of_one_key_keep_their_order() {
        let mut queue = Queue::new(IN_A_ROW);
        put_ordered(&mut queue, 1, &["1a", "1b", "1c"]);
        put_ordered(&mut queue, 2, &["2a", "2b"]);
        queue.put(Task::new(1, "single"));
        assert_eq!(run(&mut queue), ["1a", "2a", "single", "1b", "2b", "1c"]);
    }

    #[test]
    fn jobs_of_one_key_never_run_at_the_same_time() {
        let mut queue = Queue::new(IN_A_ROW);
        put_ordered(&mut queue, 1, &["1a", "1b"]);
        let first = queue.take().unwrap();
        assert_eq!((first.job, queue.ready()), ("1a", 0));
        assert!(queue.take().is_none(), "1b waits for 1a");
        put_ordered(&mut queue, 1, &["1c"]);
        put_ordered(&mut queue, 2, &["2a"]);
        assert_eq!(queue.take().unwrap().job, "2a");
        queue.finish(&1, true);
        assert_eq!(queue.take().unwrap().job, "1b");
        queue.finish(&1, true);
        queue.finish(&2, true);
        assert_eq!(run(&mut queue), ["1c"]);
    }

    #[test]
    fn a_job_that_runs_again_waits_for_the_others_but_keeps_its_place_in_its_key() {
        let mut queue = Queue::new(IN_A_ROW);
        put_ordered(&mut queue, 1, &["1a", "1b"]);
        queue.put(Task::new(7, "single"));
        put_ordered(&mut queue, 2, &["2a"]);
        let again = queue.take().unwrap();
        queue.put_again(again);
        assert_eq!((queue.len, queue.running), (4, 0));
        let single = queue.take().unwrap();
        queue.put_again(single);
        assert_eq!(run(&mut queue), ["2a", "1a", "single", "1b"]);
    }

    #[test]
    fn low_priority_comes_after_high_but_is_not_starved() {
        let mut queue = Queue::new(IN_A_ROW);
        for _ in 0..2 {
            queue.put(Task::new(1, "low").low_priority());
        }
        for _ in 0..IN_A_ROW + 5 {
            queue.put(Task::new(1, "high"));
        }
        let ran = run(&mut queue);
        let places: Vec<usize> = (0..ran.len()).filter(|&at| ran[at] == "low").collect();
        assert_eq!(places, [IN_A_ROW, 2 * IN_A_ROW + 1]);
    }

    #[test]
    fn a_job_in_order_does_not_overtake_one_of_lower_priority() {
        let mut queue = Queue::new(IN_A_ROW);
        queue.put(Task::new(1, "first").in_order().low_priority());
        queue.put(Task::new(1, "second").in_order());
        queue.put(Task::new(2, "other").in_order());
        assert_eq!(run(&mut queue), ["other", "first", "second"]);
    }

    #[test]
    fn jobs_that_wait_can_be_dropped_while_others_run() {
        let mut queue = Queue::new(IN_A_ROW);
        put_ordered(&mut queue, 1, &["1a", "1b"]);
        queue.take().unwrap();
        assert_eq!(queue.clear().len, 1);
        assert_eq!((queue.len, queue.running), (0, 1));
        queue.finish(&1, true);
        assert_eq!(run(&mut queue), [""; 0]);
    }
}
