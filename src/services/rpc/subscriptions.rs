//! The subscriptions of clients, and the notifications for them.
//!
//! A [`Feed`] is one kind of notification, or the logs of one distinct filter. The id of a
//! subscription is unique within its connection: it consists of the feed and of an ordinal, which
//! differs only if one connection subscribes to the same feed several times. So most subscribers to
//! a feed have the same id, and one encoded frame serves all of them. Each id is a topic of the
//! loop. A connection joins it when the reply with the id has been queued.

use std::collections::HashMap;
use std::rc::Rc;

use serde_json::value::RawValue;

use super::counts::Counts;
use super::filter::{FilterParams, Log, LogFilter};
use super::index::FilterIndex;
use super::wire::error::RpcError;
use super::wire::object;
use super::wire::request::Call;
use super::wire::subscription::{SubscriptionId, write_notification};
use crate::protocol::{CloseCode, Message, SharedFrame};
use crate::reactor::{ConnId, ConnMap, Context, PublishOptions, Target};
use crate::upstream::upstream_counts::add;

/// A kind of subscription.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Headers of new blocks.
    Heads,
    /// Logs of new blocks.
    Logs(Rc<LogFilter>),
    /// Pending transactions.
    Pending {
        /// Whole transactions, or hashes only.
        full: bool,
    },
    /// Whether the node is syncing.
    Syncing,
}

/// A source of notifications. All feeds of one source start together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Blocks and their logs.
    Chain,
    /// Pending transactions.
    Mempool,
    /// The state of the node.
    Node,
}

impl Kind {
    /// The source of its notifications.
    pub fn source(&self) -> Source {
        match self {
            Kind::Heads | Kind::Logs(_) => Source::Chain,
            Kind::Pending { .. } => Source::Mempool,
            Kind::Syncing => Source::Node,
        }
    }

    /// Reads the parameters of `eth_subscribe`.
    pub(super) fn parse(call: &Call<'_>) -> Result<Kind, RpcError> {
        let (name, detail): (Option<String>, Option<&RawValue>) = call.positional(2)?;
        let name = name.ok_or_else(|| RpcError::invalid_params("missing subscription name"))?;
        match &*name {
            "newHeads" => Ok(Kind::Heads),
            "syncing" => Ok(Kind::Syncing),
            "newPendingTransactions" => {
                let full = detail.map_or(Ok(false), |flag| serde_json::from_str(flag.get()));
                let not_boolean = "the second parameter must be a boolean";
                let full = full.map_err(|_| RpcError::invalid_params(not_boolean))?;
                Ok(Kind::Pending { full })
            }
            "logs" => {
                let params = detail
                    .map_or(Ok(FilterParams::default()), |filter| object::from_str(filter.get()));
                let invalid = |error| RpcError::invalid_params(format!("invalid filter: {error}"));
                let params = params.map_err(invalid)?;
                let filter = LogFilter::try_from(params).map_err(RpcError::invalid_params)?;
                Ok(Kind::Logs(Rc::new(filter)))
            }
            _ => {
                let shown: String = name.chars().take(64).collect();
                let message = format!(r#"no "{shown}" subscription in eth namespace"#);
                Err(RpcError::new(RpcError::METHOD_NOT_FOUND, message))
            }
        }
    }
}

/// One kind of notification, or the logs of one filter.
#[derive(Debug)]
struct Feed {
    kind: Kind,
    /// The number of subscriptions with each ordinal.
    members: Vec<usize>,
}

/// All feeds with subscribers.
#[derive(Debug, Default)]
pub struct Feeds {
    feeds: HashMap<u32, Feed>,
    numbers: HashMap<Kind, u32>,
    filters: FilterIndex,
    last: u32,
}

impl Feeds {
    /// Whether there are subscribers to new heads.
    pub fn heads(&self) -> bool {
        self.numbers.contains_key(&Kind::Heads)
    }

    /// Whether there are subscribers to pending transactions: whole ones (`full`), or hashes.
    pub fn pending(&self, full: bool) -> bool {
        self.numbers.contains_key(&Kind::Pending { full })
    }

    /// Whether there are subscribers to the state of syncing.
    pub fn syncing(&self) -> bool {
        self.numbers.contains_key(&Kind::Syncing)
    }

    /// The distinct filters of subscribers to logs.
    pub fn filters(&self) -> impl Iterator<Item = &LogFilter> {
        self.numbers.keys().filter_map(|kind| match kind {
            Kind::Logs(filter) => Some(&**filter),
            _ => None,
        })
    }

    /// The feeds whose filters match a log.
    fn matching(&self, log: &Log) -> impl Iterator<Item = u32> {
        let matches = |number: &u32| match self.feeds.get(number).map(|feed| &feed.kind) {
            Some(Kind::Logs(filter)) => filter.matches(&log.address, &log.topics),
            _ => false,
        };
        self.filters.candidates(log).filter(matches)
    }

    /// The number of feeds.
    pub fn len(&self) -> usize {
        self.feeds.len()
    }

    /// Whether there are no subscribers.
    pub fn is_empty(&self) -> bool {
        self.feeds.is_empty()
    }

    /// The number of the feed, and whether it is new.
    fn open(&mut self, kind: Kind) -> (u32, bool) {
        if let Some(&number) = self.numbers.get(&kind) {
            return (number, false);
        }
        // After 2^32 feeds the numbers start again; numbers in use are skipped.
        loop {
            self.last = self.last.wrapping_add(1);
            if !self.feeds.contains_key(&self.last) {
                break;
            }
        }
        if let Kind::Logs(filter) = &kind {
            self.filters.insert(filter, self.last);
        }
        self.numbers.insert(kind.clone(), self.last);
        self.feeds.insert(self.last, Feed { kind, members: Vec::new() });
        (self.last, true)
    }

    /// Removes a subscription. `true`: it was the last one of its feed.
    fn leave(&mut self, id: SubscriptionId) -> bool {
        let Some(feed) = self.feeds.get_mut(&id.feed) else {
            return false;
        };
        feed.members[usize::from(id.ordinal)] -= 1;
        let is_empty = feed.members.iter().all(|&count| count == 0);
        if is_empty && let Some(feed) = self.feeds.remove(&id.feed) {
            if let Kind::Logs(filter) = &feed.kind {
                self.filters.remove(filter, id.feed);
            }
            self.numbers.remove(&feed.kind);
        }
        is_empty
    }
}

/// The subscriptions of all connections of a service.
#[derive(Debug)]
pub(super) struct Subscriptions {
    per_connection_max: usize,
    all_max: usize,
    feeds: Feeds,
    by_connection: ConnMap<Vec<SubscriptionId>>,
    count: usize,
    counts: Rc<Counts>,
    /// The text of a notification; kept to reuse its memory.
    text: String,
    /// A feed was added or removed since [`Subscriptions::take_changed`].
    changed: bool,
}

impl Subscriptions {
    pub(super) fn new(
        per_connection_max: usize,
        all_max: usize,
        counts: Rc<Counts>,
    ) -> Subscriptions {
        Subscriptions {
            per_connection_max,
            all_max,
            feeds: Feeds::default(),
            by_connection: ConnMap::new(),
            count: 0,
            counts,
            text: String::new(),
            changed: false,
        }
    }

    pub(super) fn feeds(&self) -> &Feeds {
        &self.feeds
    }

    /// Whether a feed was added or removed since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Adds a subscription. It gets no notifications until it is
    /// [activated](Subscriptions::activate).
    pub(super) fn add(
        &mut self,
        cx: &Context<'_>,
        conn: ConnId,
        kind: Kind,
    ) -> Result<SubscriptionId, RpcError> {
        let held = self.by_connection.get(conn).map_or(0, Vec::len);
        if held >= self.per_connection_max {
            return Err(RpcError::limit("too many subscriptions on this connection"));
        }
        if self.count >= self.all_max {
            return Err(RpcError::limit("too many subscriptions"));
        }
        // No client reads this error: the connection has ended.
        let own = self.by_connection.get_or_insert_with(cx, conn, Vec::new);
        let own = own.ok_or_else(RpcError::internal)?;
        let (feed, is_new) = self.feeds.open(kind);
        self.changed |= is_new;
        let is_taken = |ordinal: &u16| own.contains(&SubscriptionId { feed, ordinal: *ordinal });
        let ordinal = (0..=u16::MAX).find(|ordinal| !is_taken(ordinal)).unwrap_or_default();
        let id = SubscriptionId { feed, ordinal };
        own.push(id);
        if let Some(feed) = self.feeds.feeds.get_mut(&feed) {
            let place = usize::from(ordinal);
            feed.members.resize(feed.members.len().max(place + 1), 0);
            feed.members[place] += 1;
        }
        self.count += 1;
        self.update_counts();
        Ok(id)
    }

    /// From now on the subscription, if it still exists, gets notifications.
    pub(super) fn activate(&self, cx: &mut Context<'_>, conn: ConnId, id: SubscriptionId) {
        let is_held = self.by_connection.get(conn).is_some_and(|own| own.contains(&id));
        if is_held && let Err(error) = cx.subscribe(conn, &id.to_string()) {
            // The connection is ending, or all networks together have reached the loop's limit on
            // topics. A client with a subscription id must not wait for notifications that never
            // come.
            log::debug!("{conn}: cannot subscribe: {error:?}");
            cx.close(conn, CloseCode::TRY_AGAIN_LATER, "too many subscriptions");
        }
    }

    /// Ends a subscription.
    pub(super) fn remove(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        id: &str,
    ) -> Result<(), RpcError> {
        let not_found = || RpcError::server("subscription not found");
        let id = SubscriptionId::parse(id).ok_or_else(not_found)?;
        self.revoke(conn, id).ok_or_else(not_found)?;
        cx.unsubscribe(conn, &id.to_string());
        Ok(())
    }

    /// Ends a subscription that is not activated; `None` if it does not exist.
    pub(super) fn revoke(&mut self, conn: ConnId, id: SubscriptionId) -> Option<()> {
        let own = self.by_connection.get_mut(conn)?;
        let at = own.iter().position(|held| *held == id)?;
        own.swap_remove(at);
        if own.is_empty() {
            self.by_connection.remove(conn);
        }
        self.leave(id);
        Some(())
    }

    /// The source of a subscription, if it exists.
    pub(super) fn source(&self, id: SubscriptionId) -> Option<Source> {
        self.feeds.feeds.get(&id.feed).map(|feed| feed.kind.source())
    }

    /// Ends all subscriptions of a connection that has ended.
    pub(super) fn forget(&mut self, conn: ConnId) {
        for id in self.by_connection.remove(conn).unwrap_or_default() {
            self.leave(id);
        }
    }

    fn leave(&mut self, id: SubscriptionId) {
        self.changed |= self.feeds.leave(id);
        self.count -= 1;
        self.update_counts();
    }

    fn update_counts(&self) {
        self.counts.subscriptions_now.set(self.count as u64);
        self.counts.feeds_now.set(self.feeds.len() as u64);
    }

    /// The connections that subscribe to a source.
    pub(super) fn subscribers(&self, source: Source) -> Vec<ConnId> {
        let is_of = |id: &SubscriptionId| self.source(*id) == Some(source);
        let subscribers = self.by_connection.iter().filter(|(_, own)| own.iter().any(is_of));
        subscribers.map(|(conn, _)| conn).collect()
    }

    /// Notifies the subscribers of one kind.
    pub(super) fn publish(&mut self, cx: &mut Context<'_>, kind: &Kind, result: &RawValue) {
        if let Some(&number) = self.feeds.numbers.get(kind) {
            self.publish_to(cx, number, result);
        }
    }

    /// Notifies the subscribers whose filters match. Each distinct filter is matched at most once.
    pub(super) fn publish_log(&mut self, cx: &mut Context<'_>, log: &Log) {
        let matching: Vec<u32> = self.feeds.matching(log).collect();
        for number in matching {
            self.publish_to(cx, number, &log.json);
        }
    }

    fn publish_to(&mut self, cx: &mut Context<'_>, number: u32, result: &RawValue) {
        let Some(feed) = self.feeds.feeds.get(&number) else {
            return;
        };
        for (ordinal, _) in feed.members.iter().enumerate().filter(|(_, count)| **count > 0) {
            let id = SubscriptionId { feed: number, ordinal: ordinal as u16 }.to_string();
            if cx.members(&id) == 0 {
                continue;
            }
            self.text.clear();
            write_notification(&mut self.text, &id, result.get());
            let frame = SharedFrame::message(Message::Text(&self.text));
            add(&self.counts.notifications_encoded, 1);
            let outcome = cx.publish(Target::Topic(&id), &frame, PublishOptions::default());
            add(&self.counts.notifications_sent, outcome.sent);
            add(&self.counts.notifications_dropped, outcome.refused);
        }
    }
}
