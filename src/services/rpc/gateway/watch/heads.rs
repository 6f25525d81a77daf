//! Heads and their logs, as subscribers are told them: one request at a time.
//!
//! Does what the [`Chain`] says: fetches blocks, announces them, and the logs of each behind it. What
//! cannot be continued is lost as a whole.

use serde_json::value::RawValue;

use super::super::block::Block;
use super::super::chain::{Chain, Link, Next, Which};
use super::super::logs::{self, Announced};
use super::super::pace::Pace;
use super::{Awaited, Purpose, Watch};
use crate::reactor::Time;
use crate::services::rpc::backend::Notice;
use crate::services::rpc::filter::Log;
use crate::services::rpc::subscriptions::Source;
use crate::services::rpc::wire::answer::Outcome;
use crate::services::rpc::wire::hex::Quantity;

/// How often in a row the logs of a block may not be had.
pub(super) const LOG_TRIES_MAX: u32 = 16;

impl Watch {
    // Heads and their logs: one request at a time.

    /// The logs that are owed, then the head. All of that block is asked for, not its number alone:
    /// another may have taken the place of the one that was announced.
    pub(super) fn ask_next(&mut self, now: Time) {
        match (self.owed.front(), &self.wanted.logs) {
            (Some(block), _) if std::mem::take(&mut self.is_doubted) => {
                self.ask_block(Which::Number(block.number), now);
            }
            (Some(block), Some(query)) => {
                let (hash, params) = (block.hash, query.params(block.hash));
                self.asking = Some((Awaited::Logs(hash), now));
                self.ask(Purpose::Logs(hash), "eth_getLogs", params, None);
            }
            _ => {
                self.asking = Some((Awaited::Head, now));
                let params = r#"["latest",false]"#.to_owned();
                self.ask(Purpose::Head, "eth_getBlockByNumber", params, None);
            }
        }
    }

    pub(super) fn ask_block(&mut self, which: Which, now: Time) {
        self.asking = Some((Awaited::Block(which), now));
        let (method, params) = match which {
            Which::Number(number) => {
                ("eth_getBlockByNumber", format!(r#"["{}",false]"#, Quantity(number)))
            }
            Which::Hash(hash) => ("eth_getBlockByHash", format!(r#"["{hash}",false]"#)),
        };
        self.ask(Purpose::Block(which), method, params, None);
    }

    pub(super) fn take_head(&mut self, outcome: Outcome, now: Time) {
        match outcome.map(|json| Block::read(&json)) {
            Ok(Some(block)) => {
                self.heard = Some(now);
                let next = self.chain.see_head(block);
                self.go_on(next, now);
            }
            Err(error) if !self.has_begun => self.announce_beginning(Source::Chain, Err(error)),
            // A chain without a block, or no chain: the next poll asks again.
            Ok(None) | Err(_) if !self.has_begun => {}
            // What was pushed meanwhile does not wait for that.
            Ok(None) | Err(_) => self.go_on(Next::Wait, now),
        }
    }

    pub(super) fn take_block(
        &mut self,
        which: Which,
        upstream: Option<usize>,
        outcome: Option<Box<RawValue>>,
        now: Time,
    ) {
        // An upstream that does not answer says nothing about the block: the next poll asks again.
        if upstream.is_none() {
            return;
        }
        let next = match outcome.and_then(|json| Block::read(&json)) {
            Some(block) if which.is(&block) => self.chain.take(block),
            // Another one than was asked for might be all that it ever answers.
            Some(_) | None => self.chain.miss(),
        };
        self.go_on(next, now);
    }

    pub(super) fn take_logs(
        &mut self,
        upstream: Option<usize>,
        outcome: Option<Box<RawValue>>,
        now: Time,
    ) {
        if let Some(found) = outcome.and_then(|json| logs::read(&json)) {
            self.log_tries = 0;
            if let Some(block) = self.owed.pop_front() {
                self.announce_logs(&found);
                self.announced.remember(block.hash, found);
            }
            return self.settle(now);
        }
        // It was asked too early, of an upstream that is behind, or the block has been replaced.
        self.is_doubted = true;
        self.log_tries += u32::from(upstream.is_some());
        if self.log_tries > LOG_TRIES_MAX {
            log::warn!("the logs of a block are not to be had");
            self.lose(now);
        }
    }

    fn announce_logs(&mut self, logs: &[Log]) {
        self.notices.extend(logs.iter().cloned().map(Notice::Log));
    }

    /// Does what the chain says.
    pub(super) fn go_on(&mut self, next: Next, now: Time) {
        if !self.has_begun && self.chain.head().is_some() {
            self.has_begun = true;
            self.announce_beginning(Source::Chain, Ok(()));
        }
        match next {
            Next::Wait => {
                if let Some(block) = self.pushed.take() {
                    self.heard = Some(now);
                    let next = self.chain.take(block);
                    self.go_on(next, now);
                }
            }
            Next::Fetch(which) => self.ask_block(which, now),
            Next::Announce { removed, added } => {
                if !self.take_back(&removed) {
                    return self.lose(now);
                }
                self.pace.saw(added.len() as u32, now);
                for block in added {
                    if self.wanted.logs.is_some() {
                        self.owed.push_back(Link { number: block.number, hash: block.hash });
                    }
                    self.notices.push_back(Notice::Head(block.header));
                }
                self.settle(now);
            }
            Next::Lost(loss) => {
                log::warn!("subscribers are closed: {loss}");
                self.lose(now);
            }
        }
    }

    /// Announces the logs of these blocks as undone; whether that could be.
    fn take_back(&mut self, removed: &[Link]) -> bool {
        for link in removed {
            // What was not announced yet needs no taking back.
            self.owed.retain(|owed| owed.hash != link.hash);
            match self.announced.undo(link.hash) {
                Some(logs) => self.announce_logs(&logs),
                None => return false,
            }
        }
        true
    }

    /// Goes on after an announcement: with the logs that are owed, else with the next block.
    fn settle(&mut self, now: Time) {
        let Some(owed) = self.owed.front() else {
            let next = self.chain.resume();
            return self.go_on(next, now);
        };
        let logs = Awaited::Logs(owed.hash);
        if self.asking.is_none_or(|(awaited, _)| awaited != logs) {
            self.ask_next(now);
        }
    }

    /// What was announced cannot be continued: subscribers are told so by the end of their connections.
    fn lose(&mut self, now: Time) {
        self.losses += 1;
        self.forget_chain();
        self.notices.push_back(Notice::Gap);
        self.clock.heads = now;
    }

    pub(super) fn forget_chain(&mut self) {
        self.era += 1;
        self.chain = Chain::default();
        self.has_begun = false;
        self.pace = Pace::default();
        self.owed.clear();
        self.pushed = None;
        self.heard = None;
        self.log_tries = 0;
        self.is_doubted = false;
        self.announced = Announced::default();
        self.asking = None;
    }
}
