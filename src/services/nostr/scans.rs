//! Scans: the threads that search the store, one slice at a time, and write pages of whole frames.
//!
//! After each slice a scan returns to the loop, which decides whether and when it continues: a page is
//! written only if the connection has room for it. A slice is divided into parts, after each of which it
//! ends if the first slice of another scan waits: a REQ by id does not wait for slices of large scans.

use std::cell::RefCell;
use std::fmt;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::message::SubscriptionId;
use super::negentropy::{NegentropyDone, NegentropyJob};
use super::refusal::{Prefix, Refusal};
use super::reply::{Hint, write_event_head};
use super::store::{Budget, Completeness, Count, Counted, End, Scan, Slice, Store};
use super::subscription::{Query, QueryId};
use super::ticket::unix_seconds;
use crate::protocol::{BatchDeflater, DeflateTerms, FrameBatch};
use crate::reactor::{ConnId, Step, Time, Workers};

/// The text of a refusal after a panic.
const INTERNAL: &str = "internal error";
/// Bytes of a page: then the scan returns to the loop.
const PAGE_BYTES: usize = 64 * 1024;

/// Steps of a part of a slice, some 0.1 ms: what a first slice waits for at most, per thread.
const PART_STEPS: usize = 125;

thread_local! {
    /// What this thread writes with.
    static DESK: RefCell<Desk> = RefCell::default();
}

/// The buffers of a thread.
#[derive(Default)]
struct Desk {
    message: Vec<u8>,
    deflater: BatchDeflater,
}

/// The threads that search.
pub(super) type Scanners = Workers<Box<ScanJob>, Box<ScanDone>, ConnId>;

/// How many first slices wait for a thread: the others make room for them.
#[derive(Clone, Debug, Default)]
pub(super) struct FirstSlices(Arc<AtomicUsize>);

impl FirstSlices {
    /// One is put into the queue.
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One has left the queue.
    pub(super) fn remove(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn wait(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// What a scan is for. It stops at its next slice if nothing waits for it.
#[derive(Debug)]
pub(super) enum Wanted {
    Subscription(Query),
    /// A COUNT, until its connection ends.
    Count(Weak<()>),
    /// A negentropy session, until it is closed or replaced.
    Session(Weak<()>),
}

impl Wanted {
    pub(super) fn is_valid(&self) -> bool {
        match self {
            Wanted::Subscription(query) => query.lease.is_valid(),
            Wanted::Count(lease) | Wanted::Session(lease) => lease.strong_count() > 0,
        }
    }
}

/// What a scan searches for.
pub(super) enum Search {
    Stored(Scan),
    Count(Count),
    /// Ids for a session, or its next reply.
    Negentropy(NegentropyJob),
}

impl Search {
    /// What a scan has needed, with its plan from the time `slow` on. `None` for negentropy.
    fn spent(&self, slow: Duration) -> Option<Spent> {
        let spent = |steps, time, plan: &dyn Fn() -> String| {
            Some(Spent { steps, time, plan: (time >= slow).then(plan) })
        };
        match self {
            Search::Stored(scan) => spent(scan.steps(), scan.time(), &|| scan.plan_text()),
            Search::Count(count) => spent(count.steps(), count.time(), &|| count.plan_text()),
            Search::Negentropy(_) => None,
        }
    }
}

/// A scan on its way between the loop and the threads.
pub(super) struct ScanJob {
    conn: ConnId,
    sub: SubscriptionId,
    search: Search,
    wanted: Wanted,
    terms: Option<DeflateTerms>,
    /// When the request came.
    since: Time,
    /// Its memory while it waits for its connection.
    pub(super) held_bytes: usize,
    /// Slices that have run.
    slices: u32,
    /// Whether a page was sent.
    has_page: bool,
}

/// How a scan has ended.
#[derive(Debug)]
pub(super) enum ScanEnd {
    Stored { last: u64, hint: Hint },
    Counted(Counted),
    Negotiated(NegentropyDone),
    Failed(Refusal),
}

/// What a slice of a scan returns.
pub(super) struct ScanDone {
    pub(super) conn: ConnId,
    pub(super) sub: SubscriptionId,
    pub(super) since: Time,
    pub(super) page: FrameBatch,
    pub(super) is_first_page: bool,
    /// What the scan has needed, if it has ended.
    pub(super) spent: Option<Spent>,
    pub(super) next: ScanNext,
}

/// What a scan of a REQ or COUNT has needed.
#[derive(Debug)]
pub(super) struct Spent {
    pub(super) steps: usize,
    pub(super) time: Duration,
    /// How it has searched, if that took long.
    pub(super) plan: Option<String>,
}

/// What follows a slice.
pub(super) enum ScanNext {
    /// The scan goes on.
    Rest(Box<ScanJob>),
    End(Wanted, ScanEnd),
    /// Nothing waits for the scan.
    Dropped,
}

impl ScanJob {
    /// `terms` are those of the connection, `since` is when the request came.
    pub(super) fn new(
        conn: ConnId,
        sub: SubscriptionId,
        search: Search,
        wanted: Wanted,
        terms: Option<DeflateTerms>,
        since: Time,
    ) -> Box<ScanJob> {
        let (held_bytes, slices, has_page) = (0, 0, false);
        Box::new(ScanJob { conn, sub, search, wanted, terms, since, held_bytes, slices, has_page })
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.is_valid()
    }

    /// Whether no slice has run.
    pub(super) fn is_first(&self) -> bool {
        self.slices == 0
    }

    /// Frees what the scan has read ahead, while it waits for its connection.
    pub(super) fn park(&mut self) {
        if let Search::Stored(scan) = &mut self.search {
            scan.park();
        }
    }

    /// The id of its request.
    pub(super) fn sub(&self) -> &SubscriptionId {
        &self.sub
    }

    /// The subscription that waits for the scan.
    pub(super) fn query(&self) -> Option<QueryId> {
        match &self.wanted {
            Wanted::Subscription(query) => Some(query.id),
            Wanted::Count(_) | Wanted::Session(_) => None,
        }
    }

    /// Its memory.
    pub(super) fn bytes(&self) -> usize {
        match &self.search {
            Search::Stored(scan) => scan.bytes(),
            Search::Count(_) | Search::Negentropy(_) => 0,
        }
    }

    /// Runs a slice. A panic ends the scan. From the time `slow` on, its end has the plan.
    pub(super) fn run(
        self: Box<ScanJob>,
        store: &Store,
        first_slices: &FirstSlices,
        slow: Duration,
    ) -> Step<Box<ScanJob>, Box<ScanDone>> {
        if self.is_first() {
            first_slices.remove();
        }
        let (conn, sub, since) = (self.conn, self.sub.clone(), self.since);
        let is_first_page = !self.has_page;
        let mut page = FrameBatch::new(self.terms);
        let (next, spent) = match self.is_wanted() {
            true => self.continued(store, first_slices, slow, &mut page),
            false => (ScanNext::Dropped, None),
        };
        Step::Done(Box::new(ScanDone { conn, sub, since, page, is_first_page, spent, next }))
    }

    fn continued(
        mut self: Box<ScanJob>,
        store: &Store,
        first_slices: &FirstSlices,
        slow: Duration,
        page: &mut FrameBatch,
    ) -> (ScanNext, Option<Spent>) {
        // Unwind-safe: a scan that panicked is dropped.
        let slice = catch_unwind(AssertUnwindSafe(|| self.slice(store, first_slices, page)));
        let end = slice.unwrap_or_else(|_| Some(ScanEnd::Failed(Prefix::Error.text(INTERNAL))));
        self.slices += 1;
        self.has_page |= !page.is_empty();
        match end {
            Some(end) => {
                let spent = self.search.spent(slow);
                (ScanNext::End(self.wanted, end), spent)
            }
            None => (ScanNext::Rest(self), None),
        }
    }

    /// Runs a slice; `None` if the scan goes on.
    fn slice(
        &mut self,
        store: &Store,
        first_slices: &FirstSlices,
        page: &mut FrameBatch,
    ) -> Option<ScanEnd> {
        let (start, budget) = (Instant::now(), Budget::default());
        for _ in 0..budget.steps / PART_STEPS {
            match self.part(store, page) {
                Part::End(end) => return Some(end),
                Part::Full => return None,
                Part::Rest if first_slices.wait() || start.elapsed() >= budget.time => return None,
                Part::Rest => {}
            }
        }
        None
    }

    /// Runs a part of a slice.
    fn part(&mut self, store: &Store, page: &mut FrameBatch) -> Part {
        let budget = Budget { steps: PART_STEPS, ..Budget::default() };
        let now = unix_seconds();
        let end = match &mut self.search {
            Search::Stored(scan) => {
                let sub = &self.sub;
                let slice = DESK.with_borrow_mut(|Desk { message, deflater }| {
                    scan.slice(store, budget, now, &mut |record| {
                        message.clear();
                        write_event_head(message, sub);
                        record.write_json(message);
                        message.push(b']');
                        page.push(message, deflater);
                        match page.bytes() < PAGE_BYTES {
                            true => ControlFlow::Continue(()),
                            false => ControlFlow::Break(()),
                        }
                    })
                });
                match slice {
                    Ok(Slice::OutOfBudget) => None,
                    Ok(Slice::Full) => return Part::Full,
                    Ok(Slice::End(End { last, completeness })) => {
                        let hint = match completeness {
                            Completeness::Finished => Hint::Finish,
                            Completeness::More => Hint::More,
                            Completeness::Limited => Hint::None,
                        };
                        Some(ScanEnd::Stored { last, hint })
                    }
                    Err(error) => Some(failed(error.to_string())),
                }
            }
            Search::Count(count) => match count.slice(store, budget, now) {
                Ok(counted) => counted.map(ScanEnd::Counted),
                Err(error) => Some(failed(error.to_string())),
            },
            Search::Negentropy(job) => job.run(store, budget, now).map(ScanEnd::Negotiated),
        };
        end.map_or(Part::Rest, Part::End)
    }
}

fn failed(error: String) -> ScanEnd {
    ScanEnd::Failed(Prefix::Error.text(error))
}

/// How a part of a slice has ended.
enum Part {
    /// There is more to do.
    Rest,
    /// The page is full.
    Full,
    /// The scan is complete.
    End(ScanEnd),
}

impl fmt::Debug for ScanJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ScanJob { conn, sub, slices, .. } = self;
        write!(f, "ScanJob({conn}, {}, {slices} slices)", sub.json())
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, process};

    use super::*;
    use crate::services::nostr::store::{ScanLimits, StoreSettings, Visibility, open};
    use crate::services::nostr::testing::{event, filters};

    #[test]
    fn a_slice_ends_after_a_part_if_a_first_slice_waits() {
        let directory = env::temp_dir().join(format!("weir-slices-{}", process::id()));
        let _ = fs::remove_dir_all(&directory);
        let (store, mut writer) = open(&directory, StoreSettings::default()).unwrap();
        writer.commit((0..400).map(|id| event(id, 1, 1, 1, "[]")).collect(), 1).unwrap();
        let lease = Arc::new(());
        let scan = || {
            let filters = filters(r#"{"limit":1000}"#);
            let scan = Scan::new(filters, ScanLimits::default(), Visibility::all());
            let wanted = Wanted::Count(Arc::downgrade(&lease));
            let sub = SubscriptionId::of("a");
            let (conn, search) = (ConnId::numbered(1), Search::Stored(scan));
            ScanJob::new(conn, sub, search, wanted, None, Time::ZERO)
        };
        let first_slices = FirstSlices::default();
        let run = |job: Box<ScanJob>| match job.run(&store, &first_slices, Duration::MAX) {
            Step::Done(done) => (done.page.messages(), done.next),
            Step::Again(_) | Step::Forwarded => panic!("a slice returns to the loop"),
        };
        // Its own first slice does not count.
        first_slices.add();
        let (events, next) = run(scan());
        assert!(events > 2 * PART_STEPS / 5, "{events} events in one slice");
        let ScanNext::Rest(rest) = next else { panic!("400 records are more than a slice") };
        first_slices.add();
        let (events, _) = run(rest);
        assert!((1..=PART_STEPS / 4).contains(&events), "{events} events in one part");
        drop((store, writer));
        fs::remove_dir_all(&directory).unwrap();
    }
}
