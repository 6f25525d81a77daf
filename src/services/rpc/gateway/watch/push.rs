//! Heads that an upstream pushes: handled at once, whatever answer is awaited.
//!
//! A head that continues a known block needs no request. Any other head takes the place of a
//! pending poll, but not of a pending request for a block or for logs, which the chain needs to
//! continue. An upstream that pushes heads is alive, so such a request is repeated if its answer
//! seems lost.

use std::time::Duration;

use serde_json::value::RawValue;

use super::{Awaited, Watch};
use crate::reactor::Time;
use crate::services::rpc::gateway::block::Block;
use crate::services::rpc::gateway::chain::{REMEMBERED_MAX, Step};

/// A request is repeated if its answer takes longer than this while heads are pushed. A late answer
/// to the first one still counts.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// When this many announced blocks lack their logs, further heads wait.
pub(super) const WITHOUT_LOGS_MAX: usize = REMEMBERED_MAX;

impl Watch {
    /// An upstream has pushed a head.
    pub(in super::super) fn on_pushed_head(&mut self, header: &RawValue, now: Time) {
        let block = Block::read(header).filter(|_| self.wanted.chain());
        let Some(block) = block else {
            return;
        };
        self.head_reported_at = Some(now);
        if self.chain.head().is_none() && !self.chain.start_before(&block) {
            // The genesis block has no parent to start after. A poll starts the chain.
            if self.awaited.is_none() {
                self.request_next(now);
            }
            return;
        }
        if self.chain.knows(block.hash) {
            return;
        }
        let is_next = self.chain.knows(block.parent);
        self.pushed = Some(block);
        match self.awaited {
            Some((Awaited::Head, _)) => self.awaited = None,
            // The block that is being fetched was to lead to another head.
            Some((Awaited::Block(_), _)) if is_next => self.awaited = None,
            Some((Awaited::Block(_), since)) => return self.repeat_lost(since, now),
            Some((Awaited::Logs(_), since)) => {
                self.repeat_lost(since, now);
                if !is_next || self.without_logs.len() >= WITHOUT_LOGS_MAX {
                    return;
                }
            }
            None if self.without_logs.len() >= WITHOUT_LOGS_MAX => return self.request_next(now),
            None => {}
        }
        self.carry_out(Step::Wait, now);
    }

    /// Repeats the awaited request if its answer seems lost.
    fn repeat_lost(&mut self, since: Time, now: Time) {
        if now.since(since) < PATIENCE {
            return;
        }
        match self.awaited {
            Some((Awaited::Block(key), _)) => self.request_block(key, now),
            _ => self.request_next(now),
        }
        if let Some(request) = self.requests.last_mut() {
            request.is_repeated = true;
        }
    }
}
