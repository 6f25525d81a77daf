//! Scans: the threads that search the store, one slice at a time, and write pages of whole frames.
//!
//! After each slice a scan returns to the loop, which decides whether and when it continues: a page is
//! written only if the connection has room for it.

use std::cell::RefCell;
use std::fmt::{self, Display};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Weak;
use std::time::Duration;

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
        slow: Duration,
    ) -> Step<Box<ScanJob>, Box<ScanDone>> {
        let (conn, sub, since) = (self.conn, self.sub.clone(), self.since);
        let is_first_page = !self.has_page;
        let mut page = FrameBatch::new(self.terms);
        let (next, spent) = match self.is_wanted() {
            true => self.continued(store, slow, &mut page),
            false => (ScanNext::Dropped, None),
        };
        Step::Done(Box::new(ScanDone { conn, sub, since, page, is_first_page, spent, next }))
    }

    fn continued(
        mut self: Box<ScanJob>,
        store: &Store,
        slow: Duration,
        page: &mut FrameBatch,
    ) -> (ScanNext, Option<Spent>) {
        // Unwind-safe: a scan that panicked is dropped.
        let slice = catch_unwind(AssertUnwindSafe(|| self.slice(store, page)));
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
    fn slice(&mut self, store: &Store, page: &mut FrameBatch) -> Option<ScanEnd> {
        let failed = |error: &dyn Display| ScanEnd::Failed(Prefix::Error.text(error.to_string()));
        let (now, budget) = (unix_seconds(), Budget::default());
        match &mut self.search {
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
                    Ok(Slice::OutOfBudget | Slice::Full) => None,
                    Ok(Slice::End(End { last, completeness })) => {
                        let hint = match completeness {
                            Completeness::Finished => Hint::Finish,
                            Completeness::More => Hint::More,
                            Completeness::Limited => Hint::None,
                        };
                        Some(ScanEnd::Stored { last, hint })
                    }
                    Err(error) => Some(failed(&error)),
                }
            }
            Search::Count(count) => match count.slice(store, budget, now) {
                Ok(counted) => counted.map(ScanEnd::Counted),
                Err(error) => Some(failed(&error)),
            },
            Search::Negentropy(job) => job.run(store, budget, now).map(ScanEnd::Negotiated),
        }
    }
}

impl fmt::Debug for ScanJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ScanJob { conn, sub, slices, .. } = self;
        write!(f, "ScanJob({conn}, {}, {slices} slices)", sub.json())
    }
}
