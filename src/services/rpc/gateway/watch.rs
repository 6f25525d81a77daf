//! What subscribers wait for: when to ask the upstream for news, and what its answers mean to them.
//!
//! Works while something is subscribed to and forgets all when nothing is. Drives the [`Chain`] and
//! turns blocks, logs, waiting transactions and syncing into notices; what it wants asked it leaves in
//! `asks`. Reads no clock, makes no request, knows no subscriber.

mod heads;
mod pool;
mod push;

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::value::RawValue;

use super::block::Block;
use super::chain::{Chain, Link, Which};
use super::logs::{Announced, Query};
use super::pace::Pace;
use crate::reactor::Time;
use crate::services::rpc::backend::Notice;
use crate::services::rpc::subscriptions::{Feeds, Source};
use crate::services::rpc::wire::answer::Outcome;
use crate::services::rpc::wire::error::RpcError;
use crate::services::rpc::wire::hex::Word;

/// How often the upstream is asked whether it is syncing.
const SYNCING_INTERVAL: Duration = Duration::from_secs(5);
/// How often it is asked for transactions that wait.
const PENDING_INTERVAL: Duration = Duration::from_millis(500);
/// How often it is polled for heads although it pushes them: a subscription may be dead in silence.
const PUSHED_INTERVAL: Duration = Duration::from_secs(5);

/// What an answer is for.
#[derive(Debug, Clone)]
pub(super) enum Purpose {
    /// What the upstream's head is.
    Head,
    Block(Which),
    /// The logs of the block with this hash.
    Logs(Word),
    Syncing,
    /// A filter for waiting transactions.
    Filter,
    /// What is new in it.
    Changes,
    /// The transaction with this hash.
    Transaction(Box<RawValue>),
}

/// A request of the gateway's own.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) purpose: Purpose,
    /// Counts the times that everything was forgotten: answers from before say nothing any more.
    pub(super) era: u32,
    pub(super) method: &'static str,
    pub(super) params: String,
    /// The upstream that must answer, if one must.
    pub(super) upstream: Option<usize>,
    /// The same request is under way and seems lost: this one must not share its answer.
    pub(super) is_repeated: bool,
}

/// A request for heads or logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    Head,
    Block(Which),
    Logs(Word),
}

/// What is subscribed to, as far as it makes a difference here.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    heads: bool,
    logs: Option<Query>,
    pending: bool,
    full: bool,
    syncing: bool,
}

/// What is waited for next.
#[derive(Debug, Clone, Copy)]
struct Clock {
    heads: Time,
    pending: Time,
    syncing: Time,
}

/// The news of one network.
#[derive(Debug)]
pub(super) struct Watch {
    wanted: Wanted,
    era: u32,
    chain: Chain,
    /// Those who wait for the chain's first block have been told of it.
    has_begun: bool,
    pace: Pace,
    clock: Clock,
    /// The request for heads or logs whose answer counts, and when it was made: one at a time.
    asking: Option<(Awaited, Time)>,
    /// An upstream pushes heads.
    is_pushed: bool,
    /// The head that was pushed last, if it has not been looked at.
    pushed: Option<Block>,
    /// Blocks that were announced and whose logs were not.
    owed: VecDeque<Link>,
    log_tries: u32,
    /// The block whose logs could not be had may not be there any more.
    is_doubted: bool,
    announced: Announced,
    syncing: Option<Box<RawValue>>,
    /// The filter for waiting transactions, and where it is.
    filter: Option<(usize, Box<RawValue>)>,
    is_asking_pending: bool,
    pub(super) asks: Vec<Ask>,
    pub(super) notices: VecDeque<Notice>,
    /// When the upstream last told its head.
    pub(super) heard: Option<Time>,
    /// Times that what was announced could not be continued.
    pub(super) losses: u64,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch {
            wanted: Wanted::default(),
            era: 0,
            chain: Chain::default(),
            has_begun: false,
            pace: Pace::default(),
            clock: Clock { heads: Time::MAX, pending: Time::MAX, syncing: Time::MAX },
            asking: None,
            is_pushed: false,
            pushed: None,
            owed: VecDeque::new(),
            log_tries: 0,
            is_doubted: false,
            announced: Announced::default(),
            syncing: None,
            filter: None,
            is_asking_pending: false,
            asks: Vec::new(),
            notices: VecDeque::new(),
            heard: None,
            losses: 0,
        }
    }
}

impl Watch {
    /// What is subscribed to has changed.
    pub(super) fn want(&mut self, wanted: Wanted, now: Time) {
        let before = std::mem::replace(&mut self.wanted, wanted);
        let begins = |before, after, clock: &mut Time| {
            if before != after {
                *clock = if after { now } else { Time::MAX };
            }
        };
        begins(before.follows(), self.wanted.follows(), &mut self.clock.heads);
        begins(before.pending, self.wanted.pending, &mut self.clock.pending);
        begins(before.syncing, self.wanted.syncing, &mut self.clock.syncing);
        if before.follows() && !self.wanted.follows() {
            self.forget_chain();
        }
        if self.wanted.logs.is_none() {
            self.owed.clear();
        }
        if !self.wanted.pending {
            self.filter = None;
        }
        if !self.wanted.syncing {
            self.syncing = None;
        }
        self.poll(now);
    }

    /// Whether heads are to be pushed, where an upstream can.
    pub(super) fn wants_heads(&self) -> bool {
        self.wanted.follows()
    }

    /// Whether an upstream pushes heads.
    pub(super) fn is_pushed(&self) -> bool {
        self.is_pushed
    }

    /// When [`Watch::poll`] has something to do next.
    pub(super) fn due(&self) -> Time {
        self.clock.heads.min(self.clock.pending).min(self.clock.syncing)
    }

    /// The block announced last.
    pub(super) fn head(&self) -> Option<Link> {
        self.chain.head()
    }

    /// The time between blocks.
    pub(super) fn block_time(&self) -> Option<Duration> {
        self.pace.block_time()
    }

    /// Asks for what is due.
    pub(super) fn poll(&mut self, now: Time) {
        if now >= self.clock.heads {
            let interval = self.pace.interval();
            let interval = if self.is_pushed { interval.max(PUSHED_INTERVAL) } else { interval };
            self.clock.heads = now + interval;
            if self.asking.is_none() {
                self.ask_next(now);
            }
        }
        if now >= self.clock.pending {
            self.clock.pending = now + PENDING_INTERVAL;
            if !self.is_asking_pending {
                self.ask_pending();
            }
        }
        if now >= self.clock.syncing {
            self.clock.syncing = now + SYNCING_INTERVAL;
            self.ask(Purpose::Syncing, "eth_syncing", "[]".to_owned(), None);
        }
    }

    /// From here on an upstream pushes heads, or none does any more.
    pub(super) fn set_pushed(&mut self, is_pushed: bool, now: Time) {
        if self.is_pushed != is_pushed && self.wanted.follows() {
            self.clock.heads = now;
        }
        self.is_pushed = is_pushed;
    }

    /// Whether all that happens from here on will be announced.
    pub(super) fn has_begun(&self, source: Source) -> bool {
        match source {
            Source::Chain => self.has_begun,
            Source::Mempool => self.filter.is_some(),
            Source::Node => true,
        }
    }

    /// What a request was answered by this upstream; without one, why it was not.
    pub(super) fn take(
        &mut self,
        purpose: Purpose,
        era: u32,
        upstream: Option<usize>,
        outcome: Outcome,
        now: Time,
    ) {
        match purpose {
            Purpose::Syncing => self.take_syncing(outcome.ok()),
            Purpose::Transaction(hash) => {
                let full = outcome.ok().filter(|full| full.get() != "null");
                self.notices.push_back(Notice::Pending { hash, full });
            }
            Purpose::Filter => self.take_filter(upstream, outcome),
            Purpose::Changes => self.take_changes(outcome.ok()),
            // From before everything was forgotten.
            Purpose::Head | Purpose::Block(_) | Purpose::Logs(_) if era != self.era => {}
            Purpose::Head if self.stop_awaiting(Awaited::Head) => self.take_head(outcome, now),
            Purpose::Block(which) if self.stop_awaiting(Awaited::Block(which)) => {
                self.take_block(which, upstream, outcome.ok(), now);
            }
            Purpose::Logs(block) if self.stop_awaiting(Awaited::Logs(block)) => {
                self.take_logs(upstream, outcome.ok(), now);
            }
            // Something else was asked since, or the same again and answered.
            Purpose::Head | Purpose::Block(_) | Purpose::Logs(_) => {}
        }
    }

    /// Whether this answer is the one that counts; from here on none is.
    fn stop_awaiting(&mut self, answered: Awaited) -> bool {
        self.asking.take_if(|(awaited, _)| *awaited == answered).is_some()
    }

    fn announce_beginning(&mut self, source: Source, outcome: Result<(), RpcError>) {
        self.notices.push_back(Notice::Started { source, outcome });
    }

    fn ask(
        &mut self,
        purpose: Purpose,
        method: &'static str,
        params: String,
        upstream: Option<usize>,
    ) {
        let (era, is_repeated) = (self.era, false);
        self.asks.push(Ask { purpose, era, method, params, upstream, is_repeated });
    }
}

impl From<&Feeds> for Wanted {
    fn from(feeds: &Feeds) -> Wanted {
        Wanted {
            heads: feeds.heads(),
            logs: Query::merge(feeds.filters()),
            pending: feeds.pending(false) || feeds.pending(true),
            full: feeds.pending(true),
            syncing: feeds.syncing(),
        }
    }
}

impl Wanted {
    /// Whether the chain is followed.
    fn follows(&self) -> bool {
        self.heads || self.logs.is_some()
    }
}

#[cfg(test)]
mod tests;
