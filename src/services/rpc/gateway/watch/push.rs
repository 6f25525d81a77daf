//! Heads that an upstream pushes: handled at once, whatever answer is awaited.
//!
//! A head that follows on a known block needs no request. Any other one takes the place of a poll that is
//! under way, but not of a request for a block or for logs, without which the chain cannot go on. An
//! upstream that pushes is alive: such a request is repeated if its answer seems lost.

use std::time::Duration;

use serde_json::value::RawValue;

use super::super::block::Block;
use super::super::chain::{Next, REMEMBERED_MAX};
use super::{Awaited, Watch};
use crate::reactor::Time;

/// How long the answer to a request may take, while heads are pushed, until the request is repeated. A
/// slow answer to the first one still counts.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// Blocks whose logs are owed, until further heads wait for them.
pub(super) const OWED_MAX: usize = REMEMBERED_MAX;

impl Watch {
    /// An upstream has pushed a head.
    pub(in super::super) fn push(&mut self, header: &RawValue, now: Time) {
        let block = Block::read(header).filter(|_| self.wanted.follows());
        let Some(block) = block else {
            return;
        };
        self.heard = Some(now);
        if self.chain.head().is_none() && !self.chain.begin_before(&block) {
            // The genesis block: only a poll can tell what it all begins behind.
            if self.asking.is_none() {
                self.ask_next(now);
            }
            return;
        }
        if self.chain.knows(block.hash) {
            return;
        }
        let is_next = self.chain.knows(block.parent);
        self.pushed = Some(block);
        match self.asking {
            Some((Awaited::Head, _)) => self.asking = None,
            // The block that was to be fetched leads to another one than this.
            Some((Awaited::Block(_), _)) if is_next => self.asking = None,
            Some((Awaited::Block(_), since)) => return self.repeat_lost(since, now),
            Some((Awaited::Logs(_), since)) => {
                self.repeat_lost(since, now);
                if !is_next || self.owed.len() >= OWED_MAX {
                    return;
                }
            }
            None if self.owed.len() >= OWED_MAX => return self.ask_next(now),
            None => {}
        }
        self.go_on(Next::Wait, now);
    }

    /// Repeats the request under way if its answer seems lost.
    fn repeat_lost(&mut self, since: Time, now: Time) {
        if now.since(since) < PATIENCE {
            return;
        }
        match self.asking {
            Some((Awaited::Block(which), _)) => self.ask_block(which, now),
            _ => self.ask_next(now),
        }
        if let Some(ask) = self.asks.last_mut() {
            ask.is_repeated = true;
        }
    }
}
