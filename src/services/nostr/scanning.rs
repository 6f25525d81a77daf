//! The loop's side of scans: which of them run, the pages that they return, and how they end.

use std::sync::Arc;

use log::Level;

use super::client::{Pause, Waiting};
use super::derived::visibility;
use super::filter::Filter;
use super::guard::Guard;
use super::message::SubscriptionId;
use super::metrics::{Reply, add};
use super::negentropy::NegentropyJob;
use super::refusal::{Prefix, Refusal};
use super::relay::Relay;
use super::reply::{Hint, write_count, write_eose, write_event};
use super::running::unput;
use super::scans::{ScanDone, ScanEnd, ScanJob, ScanNext, Search, Spent, Wanted};
use super::store::{Count, Counted, Scan, Visibility};
use super::subscription::{CatchUp, Ended, Query, QueryId};
use super::ticket::unix_seconds;
use crate::protocol::FrameBatch;
use crate::reactor::{ConnId, Context, SendOutcome, Task, Time};

impl Relay {
    /// Queues a scan of a connection, and starts it if there is room.
    pub(super) fn add_scan(&mut self, cx: &mut Context<'_>, conn: ConnId, scan: Box<ScanJob>) {
        let Some(client) = self.clients.get_mut(conn) else {
            return;
        };
        client.add_scan(scan);
        self.waiting.scans += 1;
        if client.scans() >= self.settings.scans_per_connection_max {
            client.pause(cx, conn, Pause::Scans);
        }
        self.start_scans(cx, conn);
    }

    /// Drops scans of a connection that nothing waits for.
    pub(super) fn drop_scans(&mut self, conn: ConnId) {
        if let Some(client) = self.clients.get_mut(conn) {
            let dropped = client.drop_scans();
            self.release_scans(dropped);
        }
    }

    /// Scans no longer wait.
    pub(super) fn release_scans(&mut self, scans: Waiting) {
        self.waiting.scans -= scans.scans;
        self.waiting.bytes -= scans.bytes;
        self.counts.scans_waiting_now.set(self.waiting.scans as u64);
    }

    /// Starts scans of a connection while it has room for their pages.
    /// Returns whether there was one.
    pub(super) fn start_scans(&mut self, cx: &mut Context<'_>, conn: ConnId) -> bool {
        let (Some(client), Some(running)) = (self.clients.get_mut(conn), &self.running) else {
            return false;
        };
        let mut started = Waiting::default();
        while let Some(scan) = client.next_scan() {
            let (is_first, held_bytes) = (scan.is_first(), scan.held_bytes);
            let task = Task::new(conn, scan);
            let task = if is_first { task } else { task.low_priority() };
            if is_first {
                running.first_slices.add();
            }
            match running.scanners.try_put(task) {
                Ok(()) => {
                    started.scans += 1;
                    started.bytes += held_bytes;
                }
                // Continued when another scan of any connection returns.
                Err(error) => {
                    if is_first {
                        running.first_slices.remove();
                    }
                    client.put_back(unput(error));
                    if !std::mem::replace(&mut client.is_stalled, true) {
                        self.stalled.push_back(conn);
                    }
                    break;
                }
            }
        }
        if client.scans() <= self.settings.scans_per_connection_max / 2 {
            client.resume(cx, conn, Pause::Scans);
        }
        self.release_scans(started);
        add(&self.counts.scans_running_now, started.scans as u64);
        started.scans > 0
    }

    /// A scan has returned from its thread.
    pub(super) fn scanned(&mut self, cx: &mut Context<'_>, done: ScanDone) {
        let (conn, running) = (done.conn, &self.counts.scans_running_now);
        running.set(running.get().saturating_sub(1));
        if let Some(client) = self.clients.get_mut(conn) {
            client.scan_returned();
            self.handle_slice(cx, done);
            self.start_scans(cx, conn);
        }
        // The queue has room for one more.
        while let Some(conn) = self.stalled.pop_front() {
            if let Some(client) = self.clients.get_mut(conn) {
                client.is_stalled = false;
            }
            if self.start_scans(cx, conn) {
                break;
            }
        }
    }

    fn handle_slice(&mut self, cx: &mut Context<'_>, done: ScanDone) {
        let ScanDone { conn, sub, since, page, is_first_page, spent, next } = done;
        if let Some(spent) = spent {
            self.note_spent(cx, conn, spent);
        }
        let is_wanted = match &next {
            ScanNext::Rest(scan) => scan.is_wanted(),
            ScanNext::End(wanted, _) => wanted.is_valid(),
            ScanNext::Dropped => false,
        };
        // The subscription was closed or replaced meanwhile.
        if !is_wanted || !self.send_page(cx, conn, page, is_first_page.then_some(since)) {
            return;
        }
        match next {
            ScanNext::Rest(scan) => self.continue_scan(cx, conn, scan),
            ScanNext::End(wanted, end) => self.end_scan(cx, conn, &sub, since, wanted, end),
            ScanNext::Dropped => {}
        }
    }

    /// Counts what a scan has needed, and logs a slow one: with its plan, without its filters.
    fn note_spent(&self, cx: &mut Context<'_>, conn: ConnId, spent: Spent) {
        let Spent { steps, time, plan } = spent;
        self.counts.scan_steps.count(steps);
        if let Some(plan) = plan
            && cx.may_log(Level::Warn, "slow scan")
        {
            let (relay, seconds) = (&self.counts.relay, time.as_secs_f64());
            log::warn!(
                relay:% = relay, conn:% = conn, seconds = seconds, steps = steps, plan:% = plan;
                "a request took long to search"
            );
        }
    }

    /// Sends a page; false if the connection is being closed instead.
    fn send_page(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        page: FrameBatch,
        requested: Option<Time>,
    ) -> bool {
        let events = page.messages() as u64;
        if events == 0 {
            return true;
        }
        if let Some(requested) = requested {
            self.counts.first_events.count(cx.now().since(requested));
        }
        add(&self.counts.deliveries_stored, events);
        add(&self.counts.sent[Reply::Event as usize], events);
        let outcome = cx.send_batch(conn, page);
        if outcome == SendOutcome::Congested
            && let Some(client) = self.clients.get_mut(conn)
        {
            client.set_congested(true);
        }
        outcome.is_queued()
    }

    /// Continues a scan when its connection has room. Unless that is now, it frees what it has read
    /// ahead.
    fn continue_scan(&mut self, cx: &mut Context<'_>, conn: ConnId, mut scan: Box<ScanJob>) {
        let Some(client) = self.clients.get_mut(conn) else {
            return;
        };
        if client.is_congested() || client.waiting().scans > 0 {
            scan.park();
        }
        scan.held_bytes = scan.bytes();
        let max = self.settings.scan_bytes_max;
        if self.waiting.bytes.saturating_add(scan.held_bytes) > max {
            let text = format!("requests that wait hold more than {max} bytes");
            let sub = scan.sub().clone();
            return self.fail_scan(cx, conn, &sub, scan.query(), &Prefix::RateLimited.text(text));
        }
        self.waiting.scans += 1;
        self.waiting.bytes += scan.held_bytes;
        client.add_scan(scan);
    }

    /// Ends a request whose scan failed.
    fn fail_scan(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        sub: &SubscriptionId,
        query: Option<QueryId>,
        refusal: &Refusal,
    ) {
        if query.is_some_and(|query| self.subscriptions.fail(query).is_none()) {
            return;
        }
        if let Some(client) = self.clients.get_mut(conn) {
            client.used = cx.now();
        }
        self.closed(cx, conn, sub, refusal);
        self.show_subscriptions();
    }

    fn end_scan(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        sub: &SubscriptionId,
        since: Time,
        wanted: Wanted,
        end: ScanEnd,
    ) {
        match (end, wanted) {
            (ScanEnd::Stored { last, hint }, Wanted::Subscription(query)) => {
                if let Some(ended) = self.subscriptions.end(query.id, last, cx.now()) {
                    self.go_live(cx, ended, hint, since);
                    self.show_subscriptions();
                }
            }
            (ScanEnd::Counted(counted), _) => {
                let Counted { count, is_approximate, hyperloglog } = counted;
                let _ = self.send(cx, conn, Reply::Count, |out| {
                    write_count(out, sub, count, is_approximate, hyperloglog.as_deref());
                });
            }
            (ScanEnd::Failed(refusal), Wanted::Subscription(query)) => {
                self.fail_scan(cx, conn, sub, Some(query.id), &refusal);
            }
            (ScanEnd::Failed(refusal), Wanted::Count(_)) => {
                self.fail_scan(cx, conn, sub, None, &refusal);
            }
            (ScanEnd::Negotiated(done), _) => self.negotiated(cx, done),
            (ScanEnd::Stored { .. }, Wanted::Count(_) | Wanted::Session(_))
            | (ScanEnd::Failed(_), Wanted::Session(_)) => {}
        }
    }

    /// Sends EOSE, and the events that came during the scan.
    fn go_live(&mut self, cx: &mut Context<'_>, ended: Ended<ConnId>, hint: Hint, since: Time) {
        let Ended { conn, id, eose, events, catch_up } = ended;
        if eose {
            self.counts.eoses.count(cx.now().since(since));
            let hint = if self.settings.eose_hint { hint } else { Hint::None };
            let _ = self.send(cx, conn, Reply::Eose, |out| write_eose(out, &id, hint));
        }
        let now = unix_seconds();
        let settings = Arc::clone(&self.settings);
        let mut is_congested = false;
        for event in events {
            let keys = self.clients.get(conn).map_or(&[][..], |client| client.keys());
            let is_expired = event.expiration().is_some_and(|time| time <= now);
            if is_expired
                || self.events.vanished.withholds(&event)
                || !Guard::of(&settings, &event).admits(keys)
            {
                continue;
            }
            add(&self.counts.deliveries_live, 1);
            let sent = self.send(cx, conn, Reply::Event, |out| write_event(out, &id, &event));
            is_congested |= sent == SendOutcome::Congested;
        }
        if is_congested && let Some(client) = self.clients.get_mut(conn) {
            // The pages of the other scans, and of the catch-up, wait.
            client.set_congested(true);
        }
        if let Some(catch_up) = catch_up {
            let scan = self.catch_up_scan(cx, conn, id, catch_up);
            self.add_scan(cx, conn, scan);
        }
    }
}

/// The scans of requests.
impl Relay {
    /// The scan of a REQ.
    pub(super) fn stored_scan(
        &self,
        cx: &Context<'_>,
        conn: ConnId,
        sub: SubscriptionId,
        query: Query,
        filters: Arc<[Filter]>,
    ) -> Box<ScanJob> {
        let scan = Scan::new(filters, self.settings.scan_limits(), self.visibility(conn));
        self.job(cx, conn, sub, Search::Stored(scan), Wanted::Subscription(query))
    }

    /// The scan for events that were stored during the first one, and that the ring has lost.
    fn catch_up_scan(
        &self,
        cx: &Context<'_>,
        conn: ConnId,
        sub: SubscriptionId,
        catch_up: CatchUp,
    ) -> Box<ScanJob> {
        let CatchUp { query, filters, after } = catch_up;
        let scan = Scan::since_serial(filters, after, self.visibility(conn));
        self.job(cx, conn, sub, Search::Stored(scan), Wanted::Subscription(query))
    }

    /// The scan of a COUNT. It stops when `open` is dropped.
    pub(super) fn count_scan(
        &self,
        cx: &Context<'_>,
        conn: ConnId,
        sub: SubscriptionId,
        filters: Arc<[Filter]>,
        open: &Arc<()>,
    ) -> Box<ScanJob> {
        let count = Count::new(filters, self.settings.count_limits(), self.visibility(conn));
        self.job(cx, conn, sub, Search::Count(count), Wanted::Count(Arc::downgrade(open)))
    }

    /// The work of a negentropy session.
    pub(super) fn negentropy_scan(
        &self,
        cx: &Context<'_>,
        conn: ConnId,
        sub: SubscriptionId,
        job: NegentropyJob,
    ) -> Box<ScanJob> {
        let wanted = Wanted::Session(job.lease());
        self.job(cx, conn, sub, Search::Negentropy(job), wanted)
    }

    pub(super) fn visibility(&self, conn: ConnId) -> Visibility {
        visibility(self.clients.get(conn), &self.guarded)
    }

    fn job(
        &self,
        cx: &Context<'_>,
        conn: ConnId,
        sub: SubscriptionId,
        search: Search,
        wanted: Wanted,
    ) -> Box<ScanJob> {
        ScanJob::new(conn, sub, search, wanted, cx.deflate_terms(conn), cx.now())
    }
}
