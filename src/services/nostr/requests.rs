//! Requests: REQ, COUNT and CLOSE. [`scanning`](super::scanning) continues with their scans.

use std::sync::Arc;

use super::client::Client;
use super::filter::Filter;
use super::message::SubscriptionId;
use super::metrics::{Reply, add};
use super::refusal::{Prefix, Refusal};
use super::relay::Relay;
use super::reply::{Hint, write_closed, write_eose};
use super::settings::BroadFilters;
use super::subscription::Opened;
use super::ticket::unix_seconds;
use crate::reactor::{ConnId, Context, Time};

impl Relay {
    /// Opens a subscription.
    pub(super) fn subscribe(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        sub: SubscriptionId,
        filters: Vec<Filter>,
    ) {
        if let Err(refusal) = self.check_request(conn, &filters, cx.now()) {
            // The request replaces an open subscription all the same (NIP-01).
            self.subscriptions.close(conn, &sub);
            self.drop_scans(conn);
            return self.closed(cx, conn, &sub, &refusal);
        }
        let filters: Arc<[Filter]> = filters.into();
        match self.subscriptions.request(conn, sub.clone(), Arc::clone(&filters)) {
            Ok(Opened::Live) => {
                let _ = self.send(cx, conn, Reply::Eose, |out| write_eose(out, &sub, Hint::None));
            }
            Ok(Opened::Scan(query)) => {
                self.drop_scans(conn);
                let scan = self.stored_scan(cx, conn, sub, query, filters);
                self.add_scan(cx, conn, scan);
            }
            Err(refused) => {
                self.closed(cx, conn, &sub, &Prefix::RateLimited.text(refused.to_string()));
            }
        }
        self.show_subscriptions();
    }

    /// Counts events.
    pub(super) fn count(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        sub: SubscriptionId,
        filters: Vec<Filter>,
    ) {
        match self.check_request(conn, &filters, cx.now()) {
            Ok(()) => {
                let Some(open) = self.clients.get_mut(conn).map(Client::open) else {
                    return;
                };
                let scan = self.count_scan(cx, conn, sub, filters.into(), &open);
                self.add_scan(cx, conn, scan);
            }
            Err(refusal) => self.closed(cx, conn, &sub, &refusal),
        }
    }

    /// Why a request is refused.
    pub(super) fn check_request(
        &mut self,
        conn: ConnId,
        filters: &[Filter],
        now: Time,
    ) -> Result<(), Refusal> {
        if let Some(client) = self.clients.get_mut(conn) {
            client.charge_request(&mut self.rates, now)?;
        }
        let keys = self.clients.get(conn).map_or(&[][..], |client| client.keys());
        if self.settings.auth.protects_reads() && keys.is_empty() {
            return Err(Prefix::AuthRequired.text("requests need authentication"));
        }
        self.lists.load().may_read(keys)?;
        self.settings.check_restricted(filters, keys)?;
        self.check_broad(filters)?;
        if self.waiting.scans >= self.settings.scans_waiting_max {
            let max = self.settings.scans_waiting_max;
            return Err(Prefix::RateLimited.text(format!("{max} requests wait already")));
        }
        Ok(())
    }

    fn check_broad(&self, filters: &[Filter]) -> Result<(), Refusal> {
        let text = match self.settings.broad_filters {
            BroadFilters::Allow => return Ok(()),
            BroadFilters::Limited => {
                "a filter without ids, authors and tags needs a limit of at most 100, or a range of \
                 at most two hours"
            }
            BroadFilters::Refuse => "a filter needs ids, authors or tags",
        };
        let (policy, now) = (self.settings.broad_filters, unix_seconds());
        match filters.iter().any(|filter| policy.refuses(filter, now)) {
            true => Err(Prefix::Blocked.text(text)),
            false => Ok(()),
        }
    }

    /// Ends a subscription and its scan.
    pub(super) fn close_subscription(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        sub: &SubscriptionId,
    ) {
        if self.subscriptions.close(conn, sub) {
            if let Some(client) = self.clients.get_mut(conn) {
                client.used = cx.now();
            }
            self.drop_scans(conn);
            self.start_scans(cx, conn);
            self.show_subscriptions();
        }
    }

    /// Ends a request with CLOSED.
    pub(super) fn closed(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        sub: &SubscriptionId,
        refusal: &Refusal,
    ) {
        self.counts.refuse(refusal.prefix);
        add(&self.counts.closed[refusal.prefix as usize], 1);
        let _ = self.send(cx, conn, Reply::Closed, |out| write_closed(out, sub, refusal));
    }

    /// Removes some of the subscriptions of ended connections, once a turn.
    pub(super) fn release_subscriptions(&mut self, cx: &mut Context<'_>) {
        if self.subscriptions.ended() == 0 || self.released == Some(cx.now()) {
            return;
        }
        self.released = Some(cx.now());
        self.subscriptions.release();
        if self.subscriptions.ended() > 0 {
            cx.wake();
        }
        self.show_subscriptions();
    }

    /// Updates the gauges of subscriptions.
    pub(super) fn show_subscriptions(&self) {
        let (live, ended) = (self.subscriptions.counts(), self.subscriptions.ended());
        self.counts.subscriptions_now.set((live.subscriptions - ended) as u64);
        self.counts.subscriptions_ended_now.set(ended as u64);
        self.counts.filters_now.set(live.filters as u64);
        self.counts.live_values_now.set(live.values as u64);
        self.counts.lost.set(self.subscriptions.dropped());
    }
}
