//! The chain, mempool and syncing state that subscribers wait for: what to ask the upstreams, and
//! what to announce from their answers.
//!
//! Works while there are subscribers and forgets everything when there are none. [`Chain`] decides
//! about blocks. Requests are left in `requests`, announcements in `notices`. Reads no clock, sends
//! nothing, knows no subscriber.

mod heads;
mod mempool;
mod push;

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::value::RawValue;

use super::block::Block;
use super::chain::{BlockKey, Chain, KnownBlock};
use super::logs::{AnnouncedLogs, LogQuery};
use super::poll_interval::PollInterval;
use crate::reactor::Time;
use crate::services::rpc::backend::Notice;
use crate::services::rpc::subscriptions::{Feeds, Source};
use crate::services::rpc::wire::answer::Outcome;
use crate::services::rpc::wire::error::RpcError;
use crate::services::rpc::wire::hex::Word;

/// The interval of `eth_syncing`.
const SYNCING_INTERVAL: Duration = Duration::from_secs(5);
/// The poll interval of pending transactions.
const PENDING_INTERVAL: Duration = Duration::from_millis(500);
/// The poll interval of heads while an upstream pushes them: its subscription may have failed
/// silently.
const PUSHED_INTERVAL: Duration = Duration::from_secs(5);

/// The purpose of a request of the watch. It comes back with the answer, which
/// [`Watch::on_answer`] handles by it.
#[derive(Debug, Clone)]
pub(super) enum Purpose {
    /// The head of the upstream.
    Head,
    Block(BlockKey),
    /// The logs of the block with this hash.
    Logs(Word),
    Syncing,
    /// A filter for pending transactions.
    Filter,
    /// The new hashes of that filter.
    Changes,
    /// The transaction with this hash.
    Transaction(Box<RawValue>),
}

/// A request of the watch.
#[derive(Debug)]
pub(super) struct WatchRequest {
    pub(super) purpose: Purpose,
    /// The watch's generation when it made the request. Answers to an earlier one are ignored.
    pub(super) generation: u32,
    pub(super) method: &'static str,
    pub(super) params: String,
    /// The only upstream that can answer.
    pub(super) upstream: Option<usize>,
    /// An equal request is pending and its answer seems lost: this one must not join it.
    pub(super) is_repeated: bool,
}

/// The answer that the chain waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    Head,
    Block(BlockKey),
    Logs(Word),
}

/// The feeds that have subscribers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    heads: bool,
    logs: Option<LogQuery>,
    /// Pending transactions, as hashes or whole.
    pending: bool,
    /// Whole pending transactions.
    full: bool,
    syncing: bool,
}

/// When the next polls are due.
#[derive(Debug, Clone, Copy)]
struct Polls {
    heads: Time,
    pending: Time,
    syncing: Time,
}

/// The state of what subscribers of one network wait for.
#[derive(Debug)]
pub(super) struct Watch {
    wanted: Wanted,
    /// The number of times that the chain was forgotten.
    generation: u32,
    chain: Chain,
    /// The first block is known, and its announcement has answered the waiting subscriptions.
    is_started: bool,
    poll_interval: PollInterval,
    polls: Polls,
    /// The request for heads or logs whose answer counts, and when it was made: one at a time.
    awaited: Option<(Awaited, Time)>,
    /// An upstream pushes heads.
    is_pushed: bool,
    /// The head that was pushed last, if it was not handled yet.
    pushed: Option<Block>,
    /// Announced blocks whose logs are not announced yet.
    without_logs: VecDeque<KnownBlock>,
    /// Attempts in a row at the logs of one block.
    log_attempts: u32,
    /// The block whose logs could not be fetched may have been replaced.
    may_be_replaced: bool,
    announced: AnnouncedLogs,
    syncing: Option<Box<RawValue>>,
    /// The filter for pending transactions, and the upstream that has it.
    filter: Option<(usize, Box<RawValue>)>,
    awaits_pending: bool,
    pub(super) requests: Vec<WatchRequest>,
    pub(super) notices: VecDeque<Notice>,
    /// When an upstream last reported its head.
    pub(super) head_reported_at: Option<Time>,
    /// Times that announced blocks could not be continued.
    pub(super) losses: u64,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch {
            wanted: Wanted::default(),
            generation: 0,
            chain: Chain::default(),
            is_started: false,
            poll_interval: PollInterval::default(),
            polls: Polls { heads: Time::MAX, pending: Time::MAX, syncing: Time::MAX },
            awaited: None,
            is_pushed: false,
            pushed: None,
            without_logs: VecDeque::new(),
            log_attempts: 0,
            may_be_replaced: false,
            announced: AnnouncedLogs::default(),
            syncing: None,
            filter: None,
            awaits_pending: false,
            requests: Vec::new(),
            notices: VecDeque::new(),
            head_reported_at: None,
            losses: 0,
        }
    }
}

impl Watch {
    /// The feeds with subscribers have changed.
    pub(super) fn set_wanted(&mut self, wanted: Wanted, now: Time) {
        let before = std::mem::replace(&mut self.wanted, wanted);
        let start_or_stop = |before, after, poll: &mut Time| {
            if before != after {
                *poll = if after { now } else { Time::MAX };
            }
        };
        start_or_stop(before.chain(), self.wanted.chain(), &mut self.polls.heads);
        start_or_stop(before.pending, self.wanted.pending, &mut self.polls.pending);
        start_or_stop(before.syncing, self.wanted.syncing, &mut self.polls.syncing);
        if before.chain() && !self.wanted.chain() {
            self.forget_chain();
        }
        if self.wanted.logs.is_none() {
            self.without_logs.clear();
        }
        if !self.wanted.pending {
            self.filter = None;
        }
        if !self.wanted.syncing {
            self.syncing = None;
        }
        self.poll(now);
    }

    /// Whether an upstream should push heads.
    pub(super) fn wants_heads(&self) -> bool {
        self.wanted.chain()
    }

    /// Whether an upstream pushes heads.
    pub(super) fn is_pushed(&self) -> bool {
        self.is_pushed
    }

    /// When [`Watch::poll`] is due.
    pub(super) fn due(&self) -> Time {
        self.polls.heads.min(self.polls.pending).min(self.polls.syncing)
    }

    /// The block announced last.
    pub(super) fn head(&self) -> Option<KnownBlock> {
        self.chain.head()
    }

    /// The mean time between blocks.
    pub(super) fn block_time(&self) -> Option<Duration> {
        self.poll_interval.block_time()
    }

    /// Makes the requests that are due.
    pub(super) fn poll(&mut self, now: Time) {
        if now >= self.polls.heads {
            let interval = self.poll_interval.get();
            let interval = if self.is_pushed { interval.max(PUSHED_INTERVAL) } else { interval };
            self.polls.heads = now + interval;
            if self.awaited.is_none() {
                self.request_next(now);
            }
        }
        if now >= self.polls.pending {
            self.polls.pending = now + PENDING_INTERVAL;
            if !self.awaits_pending {
                self.request_pending();
            }
        }
        if now >= self.polls.syncing {
            self.polls.syncing = now + SYNCING_INTERVAL;
            self.request(Purpose::Syncing, "eth_syncing", "[]".to_owned(), None);
        }
    }

    /// An upstream pushes heads from now on, or no upstream does so any longer.
    pub(super) fn set_pushed(&mut self, is_pushed: bool, now: Time) {
        if self.is_pushed != is_pushed && self.wanted.chain() {
            self.polls.heads = now;
        }
        self.is_pushed = is_pushed;
    }

    /// Whether everything that happens from now on will be announced.
    pub(super) fn is_started(&self, source: Source) -> bool {
        match source {
            Source::Chain => self.is_started,
            Source::Mempool => self.filter.is_some(),
            Source::Node => true,
        }
    }

    /// The answer to a request, and the upstream that sent it; without an upstream, the reason that
    /// there is no answer.
    pub(super) fn on_answer(
        &mut self,
        purpose: Purpose,
        generation: u32,
        upstream: Option<usize>,
        outcome: Outcome,
        now: Time,
    ) {
        match purpose {
            Purpose::Syncing => self.on_syncing(outcome.ok()),
            Purpose::Transaction(hash) => {
                let full = outcome.ok().filter(|full| full.get() != "null");
                self.notices.push_back(Notice::Pending { hash, full });
            }
            Purpose::Filter => self.on_filter(upstream, outcome),
            Purpose::Changes => self.on_changes(outcome.ok()),
            Purpose::Head | Purpose::Block(_) | Purpose::Logs(_)
                if generation != self.generation => {}
            Purpose::Head if self.stop_awaiting(Awaited::Head) => self.on_head(outcome, now),
            Purpose::Block(key) if self.stop_awaiting(Awaited::Block(key)) => {
                self.on_block(key, upstream, outcome.ok(), now);
            }
            Purpose::Logs(block) if self.stop_awaiting(Awaited::Logs(block)) => {
                self.on_logs(upstream, outcome.ok(), now);
            }
            // Another request was made since, or this one was repeated and is answered already.
            Purpose::Head | Purpose::Block(_) | Purpose::Logs(_) => {}
        }
    }

    /// Whether the chain waits for this answer. From now on it does not.
    fn stop_awaiting(&mut self, answered: Awaited) -> bool {
        self.awaited.take_if(|(awaited, _)| *awaited == answered).is_some()
    }

    fn announce_start(&mut self, source: Source, outcome: Result<(), RpcError>) {
        self.notices.push_back(Notice::Started { source, outcome });
    }

    fn request(
        &mut self,
        purpose: Purpose,
        method: &'static str,
        params: String,
        upstream: Option<usize>,
    ) {
        let (generation, is_repeated) = (self.generation, false);
        self.requests.push(WatchRequest {
            purpose,
            generation,
            method,
            params,
            upstream,
            is_repeated,
        });
    }
}

impl From<&Feeds> for Wanted {
    fn from(feeds: &Feeds) -> Wanted {
        Wanted {
            heads: feeds.heads(),
            logs: LogQuery::merge(feeds.filters()),
            pending: feeds.pending(false) || feeds.pending(true),
            full: feeds.pending(true),
            syncing: feeds.syncing(),
        }
    }
}

impl Wanted {
    /// Whether the chain has to be followed.
    fn chain(&self) -> bool {
        self.heads || self.logs.is_some()
    }
}

#[cfg(test)]
mod tests;
