//! Workers: jobs on threads, results by mail, order by key, and limits.

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TrySendError, channel};
use std::sync::{Arc, Mutex};

use weir::protocol::Message;
use weir::reactor::settings::Settings;
use weir::reactor::{
    ConnId, Context, Finished, MailSender, More, Service, Step, Task, WorkerSettings, Workers,
};

use crate::puppet::Puppet;
use crate::support::{DEADLINE, Server, eventually};

/// A job that waits until the test finishes it.
struct Gated {
    name: u32,
    started: Sender<u32>,
    end: Receiver<Step<(), u32>>,
}

/// The test's side of a [`Gated`] job.
struct Gate {
    name: u32,
    started: Receiver<u32>,
    end: Sender<Step<(), u32>>,
}

impl Gate {
    fn new(name: u32) -> (Gate, Gated) {
        let ((started, starts), (end, ends)) = (channel(), channel());
        (Gate { name, started: starts, end }, Gated { name, started, end: ends })
    }

    fn await_start(&self) {
        assert_eq!(self.started.recv_timeout(DEADLINE), Ok(self.name));
    }

    fn finish(&self) {
        self.end.send(Step::Done(self.name)).unwrap();
    }
}

/// Runs a job; odd numbers panic at the end.
fn run_gated(job: Gated) -> Step<Gated, u32> {
    job.started.send(job.name).unwrap();
    match job.end.recv_timeout(DEADLINE).unwrap() {
        Step::Done(name) if name % 2 == 1 => resume_unwind(Box::new("on purpose")),
        Step::Done(name) => Step::Done(name),
        Step::Again(()) => Step::Again(job),
        Step::Forwarded => Step::Forwarded,
    }
}

type Pool = Workers<Gated, u32, u32>;

/// A server with a pool whose results the test takes.
fn pool(threads: usize, jobs: usize) -> (Server, Arc<Mutex<Pool>>) {
    let (puppet, strings) = Puppet::new();
    let server = puppet.serve_plain();
    let settings = WorkerSettings::new("test", threads, jobs);
    let workers = strings.run(move |cx| cx.workers(settings, run_gated));
    (server, Arc::new(Mutex::new(workers)))
}

fn next(pool: &Mutex<Pool>) -> Finished<u32, u32> {
    let mut found = None;
    let mut taken = || pool.lock().unwrap().take();
    eventually(
        || {
            found = found.or_else(&mut taken);
            found.is_some()
        },
        "a job ends",
    );
    found.unwrap()
}

#[test]
fn a_full_pool_returns_the_job_until_a_result_is_taken() {
    let (_server, pool) = pool(1, 2);
    let put = |gated| pool.lock().unwrap().try_put(Task::new(0, gated));
    let (first, job) = Gate::new(2);
    put(job).unwrap();
    first.await_start();
    let (second, job) = Gate::new(4);
    put(job).unwrap();
    let full = || matches!(put(Gate::new(6).1), Err(TrySendError::Full(job)) if job.name == 6);
    assert!(full(), "one runs, one waits");
    let load = pool.lock().unwrap().load();
    assert_eq!((load.queued, load.running, load.threads), (1, 1, 1));
    first.finish();
    second.await_start();
    assert!(full(), "one runs, and the result of the other was not taken");
    assert_eq!(next(&pool), Finished::Done(2));
    put(Gate::new(8).1).unwrap();
}

#[test]
fn threads_are_started_on_demand() {
    let (_server, pool) = pool(3, 100);
    let threads = || pool.lock().unwrap().load().threads;
    let put = |gated| pool.lock().unwrap().try_put(Task::new(0, gated)).unwrap();
    assert_eq!(threads(), 0);
    for name in [2, 4, 6] {
        let (gate, job) = Gate::new(name);
        put(job);
        gate.await_start();
        gate.finish();
        assert_eq!(next(&pool), Finished::Done(name));
    }
    assert_eq!(threads(), 1, "one job at a time");
    let gates: Vec<Gate> = [2, 4, 6, 8, 10]
        .map(|name| {
            let (gate, job) = Gate::new(name);
            put(job);
            gate
        })
        .into();
    for gate in &gates[..3] {
        gate.await_start();
    }
    assert_eq!(threads(), 3);
    assert!(gates[3].started.try_recv().is_err(), "a fourth job waits");
    gates.iter().for_each(Gate::finish);
    gates[4].await_start();
}

#[test]
fn a_job_that_panics_is_lost_and_its_thread_takes_the_next() {
    let (_server, pool) = pool(1, 10);
    for name in [1, 2, 3, 4] {
        let (gate, job) = Gate::new(name);
        pool.lock().unwrap().try_put(Task::new(100 + name, job)).unwrap();
        gate.finish();
        let expected = match name % 2 {
            1 => Finished::Lost(100 + name),
            _ => Finished::Done(name),
        };
        assert_eq!(next(&pool), expected);
    }
    assert_eq!(pool.lock().unwrap().load().threads, 1);
}

#[test]
fn jobs_in_order_wait_for_each_other_on_several_threads_even_if_one_runs_again() {
    let (_server, pool) = pool(4, 10);
    let put = |key, name| {
        let (gate, job) = Gate::new(name);
        pool.lock().unwrap().try_put(Task::new(key, job).in_order()).unwrap();
        gate
    };
    let (first, second, other) = (put(1, 2), put(1, 4), put(2, 6));
    first.await_start();
    other.await_start();
    first.end.send(Step::Again(())).unwrap();
    first.await_start();
    other.finish();
    assert_eq!(next(&pool), Finished::Done(6));
    assert!(second.started.try_recv().is_err(), "the first job of the key still runs");
    first.finish();
    second.await_start();
    second.finish();
    assert_eq!([next(&pool), next(&pool)], [Finished::Done(2), Finished::Done(4)]);
}

#[test]
fn a_job_may_be_sent_to_another_pool() {
    let (puppet, strings) = Puppet::new();
    let _server = puppet.serve_plain();
    let (mut first, mut second) = strings.run(|cx| {
        let second: Workers<u32, u32, ()> =
            cx.workers(WorkerSettings::new("second", 1, 2), |job| Step::Done(job * 2));
        let onward = second.queue();
        let work = move |job: u32| match onward.try_put(Task::new((), job)) {
            Ok(()) => Step::Forwarded,
            Err(_) => Step::Done(0),
        };
        let first: Workers<u32, u32, ()> = cx.workers(WorkerSettings::new("first", 1, 2), work);
        (first, second)
    });
    first.try_put(Task::new((), 21)).unwrap();
    let mut results = Vec::new();
    eventually(
        || {
            results.extend(second.take());
            !results.is_empty()
        },
        "the second pool has the result",
    );
    assert_eq!(results, [Finished::Done(42)]);
    assert_eq!(first.take(), None);
    // A forwarded job no longer counts, and a dropped pool accepts no job.
    second.join();
    for _ in 0..10 {
        first.try_put(Task::new((), 1)).unwrap();
        eventually(|| first.take() == Some(Finished::Done(0)), "the first pool keeps it");
    }
}

#[test]
fn joining_waits_for_running_jobs_and_drops_waiting_ones() {
    let (_server, pool) = pool(1, 10);
    let ((first, job), (second, waiting)) = (Gate::new(2), Gate::new(4));
    let queue = pool.lock().unwrap().queue();
    queue.try_put(Task::new(0, job)).unwrap();
    first.await_start();
    queue.try_put(Task::new(0, waiting)).unwrap();
    let pool = Arc::into_inner(pool).unwrap().into_inner().unwrap();
    let (report, joined) = channel();
    let thread = std::thread::spawn(move || {
        pool.join();
        report.send(()).unwrap();
    });
    // The sender is dropped with its job.
    assert_eq!(second.started.recv_timeout(DEADLINE), Err(RecvTimeoutError::Disconnected));
    assert!(joined.try_recv().is_err(), "one job runs");
    let refused = queue.try_put(Task::new(0, Gate::new(6).1));
    assert!(matches!(refused, Err(TrySendError::Disconnected(_))));
    first.finish();
    assert_eq!(joined.recv_timeout(DEADLINE), Ok(()));
    thread.join().unwrap();
}

/// Reports its calls for results, and the results.
struct Summing {
    workers: Option<Workers<u64, u64, u64>>,
    lend: Sender<MailSender<Option<u64>>>,
    orders: Option<weir::reactor::MailReceiver<Option<u64>>>,
    sums: HashMap<u64, u64>,
    sender: Sender<HashMap<u64, u64>>,
}

impl Service for Summing {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        let settings = WorkerSettings::new("sums", 4, 10_000);
        self.workers = Some(cx.workers(settings, Step::Done));
        let (sender, orders) = cx.mailbox(1);
        self.orders = Some(orders);
        self.lend.send(sender).unwrap();
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

    fn on_mail(&mut self, _: &mut Context<'_>) -> More {
        let workers = self.workers.as_mut().unwrap();
        if let Some(Finished::Done(number)) = workers.take() {
            *self.sums.entry(number).or_default() += 1;
            return More::Yes;
        }
        match self.orders.as_ref().unwrap().try_recv() {
            Ok(Some(number)) => workers.try_put(Task::new(number, number)).unwrap(),
            Ok(None) => self.sender.send(self.sums.clone()).unwrap(),
            Err(_) => return More::No,
        }
        More::Yes
    }
}

#[test]
fn every_result_is_delivered_once() {
    const JOBS: u64 = 5_000;
    let (lend, lent) = channel();
    let (sender, receiver) = channel();
    let _server = Server::start(Settings::default(), move |reactor| {
        let sums = HashMap::new();
        let summing = Summing { workers: None, lend, orders: None, sums, sender };
        reactor.add_service(summing).unwrap();
    });
    let orders = lent.recv_timeout(DEADLINE).unwrap();
    for number in 0..JOBS {
        orders.send(Some(number)).unwrap();
    }
    let all: HashMap<u64, u64> = (0..JOBS).map(|number| (number, 1)).collect();
    eventually(
        || {
            orders.send(None).unwrap();
            receiver.recv_timeout(DEADLINE) == Ok(all.clone())
        },
        "all results have come",
    );
}
