//! The thread that follows a leader: fetches new blocks and stores them, without a gap.
//!
//! Notifications wake it ([`LeaderSubscription`](super::LeaderSubscription),
//! [`Peers`](super::Peers)); it also polls at an interval. Each time it fetches all blocks after
//! its own head, in order, each the child of the one before. If the leader's chain does not contain
//! its own head, it goes back to the block where the two chains part. After a failure it tries
//! again after a pause that grows and is random, so that many followers do not return at the same
//! time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use log::{info, warn};
use serde_json::Value;

use super::leader_calls::LeaderCalls;
use super::leader_client::LeaderError;
use super::limits::{PAUSE_MAX, PAUSE_MIN};
use super::mail::NodeMail;
use super::record::Record;
use super::shared::Shared;
use super::status::NodeState;
use super::store::StoreError;
use crate::reactor::MailSender;
use crate::services::rpc::wire::error::RpcError;
use crate::services::rpc::wire::hex::{Bytes, Quantity, Word};
use crate::upstream::backoff::Backoff;

/// Blocks that are stored by one write while catching up.
const BATCH: usize = 64;
/// A follower without blocks starts this many blocks before the leader's head. Calls about older
/// ones go to the leader.
const HISTORY: u64 = 1024;
/// Changes of the leader's chain while the follower catches up.
const REORGANISATIONS_MAX: usize = 16;
/// The depth at which the two chains may part.
const REORGANISATION_MAX: u64 = 1024;

/// Follows a leader.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) chain_id: u64,
    pub(super) leader: LeaderCalls,
    pub(super) shared: Shared,
    pub(super) head: Option<Record>,
    pub(super) poll_interval: Duration,
    pub(super) mail: MailSender<NodeMail>,
    /// The state that was reported last.
    pub(super) state: Option<NodeState>,
    /// The store has failed.
    pub(super) has_failed: bool,
}

/// The reason that catching up has stopped.
#[derive(Debug)]
enum FollowError {
    Leader(LeaderError),
    Rpc(RpcError),
    Store(StoreError),
    Malformed(&'static str),
    /// The leader has this chain id.
    OtherChain(String),
    /// The chains part before the blocks that are compared.
    TooDeep,
    /// The leader's chain changed between two calls.
    Changed,
    Panicked,
    /// The loop has ended.
    LoopEnded,
}

impl std::fmt::Display for FollowError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FollowError::Leader(error) => error.fmt(f),
            FollowError::Rpc(error) => error.fmt(f),
            FollowError::Store(error) => write!(f, "the store cannot be used: {error}"),
            FollowError::Malformed(what) => write!(f, "the leader's {what} is malformed"),
            FollowError::OtherChain(id) => write!(f, "the leader's chain id is {id}"),
            FollowError::TooDeep => f.write_str(
                "the leader has a different chain; to follow it, restart with an empty data directory",
            ),
            FollowError::Changed => f.write_str("the leader's chain changed meanwhile"),
            FollowError::Panicked => f.write_str("the thread that follows the leader panicked"),
            FollowError::LoopEnded => f.write_str("the loop has ended"),
        }
    }
}

impl From<StoreError> for FollowError {
    fn from(error: StoreError) -> FollowError {
        FollowError::Store(error)
    }
}

impl From<FollowError> for NodeState {
    fn from(failure: FollowError) -> NodeState {
        let reason = failure.to_string();
        match failure {
            FollowError::OtherChain(_) | FollowError::TooDeep => NodeState::Diverged(reason),
            _ => NodeState::Failing(reason),
        }
    }
}

impl Follower {
    /// Works until the loop has ended.
    pub(super) fn run(mut self) {
        let mut backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
        let mut is_checked = false;
        loop {
            let outcome = self.guarded(is_checked);
            is_checked = outcome.is_ok();
            let (state, delay) = match outcome {
                Ok(()) => {
                    backoff.succeed();
                    (NodeState::Working, self.poll_interval)
                }
                Err(FollowError::LoopEnded) => return,
                // Even another chain may be replaced by the right one.
                Err(failure) => (failure.into(), backoff.fail()),
            };
            if self.report(state).is_err() {
                return;
            }
            if self.leader.wait(delay).is_err() {
                return;
            }
        }
    }

    /// Follows the leader. A panic counts as a failure; then the head is read from the store again.
    fn guarded(&mut self, is_checked: bool) -> Result<(), FollowError> {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.follow(is_checked)));
        outcome.unwrap_or_else(|_| {
            self.has_failed = true;
            Err(FollowError::Panicked)
        })
    }

    fn follow(&mut self, is_checked: bool) -> Result<(), FollowError> {
        if self.has_failed {
            self.recover()?;
        }
        if !is_checked {
            self.check_chain()?;
        }
        let outcome = self.catch_up();
        self.has_failed = matches!(outcome, Err(FollowError::Store(_)));
        outcome
    }

    /// Recovers the store. Its last block may be one whose write seemed to fail.
    fn recover(&mut self) -> Result<(), FollowError> {
        self.shared.store.recover()?;
        self.has_failed = false;
        let last = self.shared.store.read()?.last()?;
        let before = self.head.as_ref().map(|head| head.hash);
        self.head = last.clone();
        match last {
            Some(last) if before != Some(last.hash) => self.send(NodeMail::Block(Box::new(last))),
            _ => Ok(()),
        }
    }

    /// Reports the state to the loop and the log, if it has changed.
    fn report(&mut self, state: NodeState) -> Result<(), FollowError> {
        if self.state.as_ref() == Some(&state) {
            return Ok(());
        }
        match &state {
            NodeState::Working => info!("following {}", self.leader.url()),
            NodeState::Failing(reason) | NodeState::Diverged(reason) => {
                warn!("not following {}: {reason}", self.leader.url());
            }
        }
        self.state = Some(state.clone());
        self.send(NodeMail::State(state))
    }

    fn check_chain(&self) -> Result<(), FollowError> {
        let id = self.call("eth_chainId", "[]")?;
        let ours = Quantity(self.chain_id).to_string();
        match id.as_str() {
            Some(id) if id == ours => Ok(()),
            _ => Err(FollowError::OtherChain(id.to_string())),
        }
    }

    fn catch_up(&mut self) -> Result<(), FollowError> {
        for _ in 0..REORGANISATIONS_MAX {
            if self.advance()? {
                return Ok(());
            }
        }
        Err(FollowError::Changed)
    }

    /// Fetches the leader's new blocks. `false`: the chains have parted, and it has gone back; call
    /// it again.
    fn advance(&mut self) -> Result<bool, FollowError> {
        let number = self.call("eth_blockNumber", "[]")?;
        let number = number.as_str().and_then(|text| Quantity::parse(text).ok());
        let Quantity(leader) = number.ok_or(FollowError::Malformed("block number"))?;
        self.send(NodeMail::LeaderHead(leader))?;
        if let Some(head) = &self.head
            && head.number >= leader
            && self.block(leader)?.hash != self.own_hash(leader)?
        {
            return self.go_back(leader.saturating_sub(1)).map(|()| false);
        }
        let mut batch: Vec<Record> = Vec::new();
        loop {
            let last = batch.last().or(self.head.as_ref());
            let next = last.map_or(leader.saturating_sub(HISTORY), |last| last.number + 1);
            if next > leader || batch.len() == BATCH {
                self.store(&mut batch)?;
                if next > leader {
                    return Ok(true);
                }
                continue;
            }
            let block = self.block(next)?;
            if let Some(last) = last
                && last.hash != block.parent
            {
                let before = last.number.saturating_sub(1);
                self.store(&mut batch)?;
                return self.go_back(before).map(|()| false);
            }
            batch.push(block);
        }
    }

    /// Finds the last block that both chains have, from `number` down, and replaces the block after
    /// it.
    fn go_back(&mut self, number: u64) -> Result<(), FollowError> {
        let deepest = number.saturating_sub(REORGANISATION_MAX);
        let first = self.shared.store.read()?.numbers()?.map_or(deepest, |stored| *stored.start());
        let deepest = deepest.max(first.min(number));
        // If the blocks differ here, all later blocks differ.
        if self.block(deepest)?.hash != self.own_hash(deepest)? {
            return Err(FollowError::TooDeep);
        }
        for number in (deepest..=number).rev() {
            let block = self.block(number)?;
            if block.hash == self.own_hash(number)? {
                let next = self.block(number + 1)?;
                if next.parent != block.hash {
                    return Err(FollowError::Changed);
                }
                info!("the chain parts after block {number}");
                return self.store(&mut vec![next]);
            }
        }
        Err(FollowError::TooDeep)
    }

    /// The hash of the stored block with this number; zero, which no block has, without one.
    fn own_hash(&self, number: u64) -> Result<Word, FollowError> {
        let own = self.shared.store.read()?.block(number)?;
        Ok(own.map_or(Bytes([0; 32]), |block| block.hash))
    }

    /// Stores blocks, and announces them once they are on disk.
    fn store(&mut self, blocks: &mut Vec<Record>) -> Result<(), FollowError> {
        self.shared.store.append(blocks)?;
        for block in blocks.drain(..) {
            self.head = Some(block.clone());
            self.send(NodeMail::Block(Box::new(block)))?;
        }
        Ok(())
    }

    fn block(&self, number: u64) -> Result<Record, FollowError> {
        let id = Quantity(number);
        let block = self.call("eth_getBlockByNumber", &format!(r#"["{id}",true]"#))?;
        let hash = block.get("hash").and_then(Value::as_str).unwrap_or_default();
        let logs = self.call("eth_getLogs", &format!(r#"[{{"blockHash":"{hash}"}}]"#))?;
        let block = Record::from_leader(block, logs).map_err(FollowError::Malformed)?;
        if block.number != number {
            return Err(FollowError::Malformed("block"));
        }
        Ok(block)
    }

    fn call(&self, method: &str, params: &str) -> Result<Value, FollowError> {
        let outcome = self.leader.call(method, params).map_err(FollowError::Leader)?;
        let result = outcome.map_err(FollowError::Rpc)?;
        serde_json::from_str(result.get()).map_err(|_| FollowError::Malformed("answer"))
    }

    fn send(&self, mail: NodeMail) -> Result<(), FollowError> {
        self.mail.send(mail).map_err(|_| FollowError::LoopEnded)
    }
}
