//! Heads and their logs, in the order in which subscribers receive them: one request at a time.
//!
//! Carries out the steps of the [`Chain`]: fetches blocks, and announces them and then the logs of
//! each. If the announced blocks cannot be continued, everything is forgotten.

use serde_json::value::RawValue;

use super::{Awaited, Purpose, Watch};
use crate::reactor::Time;
use crate::services::rpc::backend::Notice;
use crate::services::rpc::filter::Log;
use crate::services::rpc::gateway::block::Block;
use crate::services::rpc::gateway::chain::{BlockKey, Chain, KnownBlock, Step};
use crate::services::rpc::gateway::logs::{self, AnnouncedLogs};
use crate::services::rpc::gateway::poll_interval::PollInterval;
use crate::services::rpc::subscriptions::Source;
use crate::services::rpc::wire::answer::Outcome;
use crate::services::rpc::wire::hex::Quantity;

/// Attempts in a row at the logs of one block.
pub(super) const LOG_ATTEMPTS_MAX: u32 = 16;

impl Watch {
    /// Requests the logs that are due, or else the head: the whole block and not its number alone,
    /// since another block may have replaced the announced one.
    pub(super) fn request_next(&mut self, now: Time) {
        match (self.without_logs.front(), &self.wanted.logs) {
            (Some(block), _) if std::mem::take(&mut self.may_be_replaced) => {
                self.request_block(BlockKey::Number(block.number), now);
            }
            (Some(block), Some(query)) => {
                let (hash, params) = (block.hash, query.params(block.hash));
                self.awaited = Some((Awaited::Logs(hash), now));
                self.request(Purpose::Logs(hash), "eth_getLogs", params, None);
            }
            _ => {
                self.awaited = Some((Awaited::Head, now));
                let params = r#"["latest",false]"#.to_owned();
                self.request(Purpose::Head, "eth_getBlockByNumber", params, None);
            }
        }
    }

    pub(super) fn request_block(&mut self, key: BlockKey, now: Time) {
        self.awaited = Some((Awaited::Block(key), now));
        let (method, params) = match key {
            BlockKey::Number(number) => {
                ("eth_getBlockByNumber", format!(r#"["{}",false]"#, Quantity(number)))
            }
            BlockKey::Hash(hash) => ("eth_getBlockByHash", format!(r#"["{hash}",false]"#)),
        };
        self.request(Purpose::Block(key), method, params, None);
    }

    pub(super) fn on_head(&mut self, outcome: Outcome, now: Time) {
        match outcome.map(|json| Block::read(&json)) {
            Ok(Some(block)) => {
                self.head_reported_at = Some(now);
                let step = self.chain.on_head(block);
                self.carry_out(step, now);
            }
            Err(error) if !self.is_started => self.announce_start(Source::Chain, Err(error)),
            // A chain without a block, or no block at all: the next poll asks again.
            Ok(None) | Err(_) if !self.is_started => {}
            // A head that was pushed meanwhile does not depend on this answer.
            Ok(None) | Err(_) => self.carry_out(Step::Wait, now),
        }
    }

    pub(super) fn on_block(
        &mut self,
        key: BlockKey,
        upstream: Option<usize>,
        outcome: Option<Box<RawValue>>,
        now: Time,
    ) {
        // Without an answer nothing is known about the block: the next poll asks again.
        if upstream.is_none() {
            return;
        }
        let step = match outcome.and_then(|json| Block::read(&json)) {
            Some(block) if key.is(&block) => self.chain.add(block),
            // An upstream that returns another block might never return the right one.
            Some(_) | None => self.chain.missing(),
        };
        self.carry_out(step, now);
    }

    pub(super) fn on_logs(
        &mut self,
        upstream: Option<usize>,
        outcome: Option<Box<RawValue>>,
        now: Time,
    ) {
        if let Some(found) = outcome.and_then(|json| logs::read(&json)) {
            self.log_attempts = 0;
            if let Some(block) = self.without_logs.pop_front() {
                self.announce_logs(&found);
                self.announced.remember(block.hash, found);
            }
            return self.resume(now);
        }
        // Asked too early, an upstream that is behind, or the block was replaced.
        self.may_be_replaced = true;
        self.log_attempts += u32::from(upstream.is_some());
        if self.log_attempts > LOG_ATTEMPTS_MAX {
            log::warn!("subscribers are closed: the logs of a block cannot be fetched");
            self.lose(now);
        }
    }

    fn announce_logs(&mut self, logs: &[Log]) {
        self.notices.extend(logs.iter().cloned().map(Notice::Log));
    }

    /// Carries out a step of the chain.
    pub(super) fn carry_out(&mut self, step: Step, now: Time) {
        if !self.is_started && self.chain.head().is_some() {
            self.is_started = true;
            self.announce_start(Source::Chain, Ok(()));
        }
        match step {
            Step::Wait => {
                if let Some(block) = self.pushed.take() {
                    self.head_reported_at = Some(now);
                    let step = self.chain.add(block);
                    self.carry_out(step, now);
                }
            }
            Step::Fetch(key) => self.request_block(key, now),
            Step::Announce { removed, added } => {
                if !self.announce_removed(&removed) {
                    return self.lose(now);
                }
                self.poll_interval.count(added.len() as u32, now);
                for block in added {
                    if self.wanted.logs.is_some() {
                        self.without_logs.push_back(KnownBlock::from(&block));
                    }
                    self.notices.push_back(Notice::Head(block.header));
                }
                self.resume(now);
            }
            Step::Lost(loss) => {
                log::warn!("subscribers are closed: {loss}");
                self.lose(now);
            }
        }
    }

    /// Announces the logs of these blocks as removed. `false`: they are not remembered.
    fn announce_removed(&mut self, removed: &[KnownBlock]) -> bool {
        for block in removed {
            // Logs that were not announced need no removal.
            self.without_logs.retain(|waiting| waiting.hash != block.hash);
            match self.announced.undo(block.hash) {
                Some(logs) => self.announce_logs(&logs),
                None => return false,
            }
        }
        true
    }

    /// Continues after an announcement: with the logs that are due, or else with the next block.
    fn resume(&mut self, now: Time) {
        let Some(block) = self.without_logs.front() else {
            let step = self.chain.resume();
            return self.carry_out(step, now);
        };
        let logs = Awaited::Logs(block.hash);
        if self.awaited.is_none_or(|(awaited, _)| awaited != logs) {
            self.request_next(now);
        }
    }

    /// The announced blocks cannot be continued: the connections of subscribers are closed.
    fn lose(&mut self, now: Time) {
        self.losses += 1;
        self.forget_chain();
        self.notices.push_back(Notice::Gap);
        self.polls.heads = now;
    }

    pub(super) fn forget_chain(&mut self) {
        self.generation += 1;
        self.chain = Chain::default();
        self.is_started = false;
        self.poll_interval = PollInterval::default();
        self.without_logs.clear();
        self.pushed = None;
        self.head_reported_at = None;
        self.log_attempts = 0;
        self.may_be_replaced = false;
        self.announced = AnnouncedLogs::default();
        self.awaited = None;
    }
}
