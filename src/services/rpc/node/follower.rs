//! The thread that follows a leader: asks for what is new, keeps it, and never leaves a gap.
//!
//! The leader's WebSocket says when to look (see [`ears`](super::ears)); without one, it looks at an
//! interval. What it looks at is always the same: every block after its own head, in order, each the
//! child of the one before. If the leader's chain has another block in the place of its own head, it
//! goes back to where they part. Failures are tried again, after a delay that grows and is never quite
//! the same, so that many followers do not come all at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use log::{info, warn};
use serde_json::Value;

use super::asker::Asker;
use super::queries::Shared;
use super::record::Record;
use super::status::Standing;
use super::store::StoreError;
use super::upstream::Unanswered;
use super::work::Post;
use super::{PAUSE_MAX, PAUSE_MIN};
use crate::reactor::MailSender;
use crate::services::rpc::wire::error::RpcError;
use crate::services::rpc::wire::hex::{Bytes, Quantity, Word};
use crate::upstream::backoff::Backoff;

/// Blocks kept with one write while catching up.
const BATCH: usize = 64;
/// Blocks before the leader's head that a follower without any begins with; for older ones the leader
/// is asked.
const HISTORY: u64 = 1024;
/// How often the leader's chain may change while the follower catches up.
const REORGANISATIONS_MAX: usize = 16;
/// How far back the two chains may part.
const REORGANISATION_MAX: u64 = 1024;

/// Follows a leader.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) chain_id: u64,
    pub(super) asker: Asker,
    pub(super) shared: Shared,
    pub(super) head: Option<Record>,
    pub(super) poll_interval: Duration,
    pub(super) mail: MailSender<Post>,
    /// What the loop was told last.
    pub(super) standing: Option<Standing>,
    /// The store has failed.
    pub(super) has_failed: bool,
}

/// Why catching up has stopped.
#[derive(Debug)]
enum Failure {
    Unanswered(Unanswered),
    Refused(RpcError),
    Store(StoreError),
    Malformed(&'static str),
    OtherChain(String),
    /// The chains part further back than is looked.
    TooDeep,
    /// The leader's chain has changed between two questions.
    Changed,
    Panicked,
    /// The loop has ended.
    Gone,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Unanswered(error) => error.fmt(f),
            Failure::Refused(error) => error.fmt(f),
            Failure::Store(error) => write!(f, "the store cannot be used: {error}"),
            Failure::Malformed(what) => write!(f, "the leader's {what} is malformed"),
            Failure::OtherChain(id) => write!(f, "the leader's chain id is {id}"),
            Failure::TooDeep => f.write_str(
                "the leader's chain is another one; to follow it, restart with an empty data directory",
            ),
            Failure::Changed => f.write_str("the leader's chain has changed meanwhile"),
            Failure::Panicked => f.write_str("the thread that follows the leader panicked"),
            Failure::Gone => f.write_str("the loop has ended"),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Store(error)
    }
}

impl From<Failure> for Standing {
    fn from(failure: Failure) -> Standing {
        let reason = failure.to_string();
        match failure {
            Failure::OtherChain(_) | Failure::TooDeep => Standing::Diverged(reason),
            _ => Standing::Failing(reason),
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
            let (standing, delay) = match outcome {
                Ok(()) => {
                    backoff.succeed();
                    (Standing::Working, self.poll_interval)
                }
                Err(Failure::Gone) => return,
                // Another chain may answer next time.
                Err(failure) => (failure.into(), backoff.fail()),
            };
            if self.report(standing).is_err() {
                return;
            }
            if self.asker.wait(delay).is_err() {
                return;
            }
        }
    }

    /// Follows, with a panic as a failure like others: what is known is read from the store again.
    fn guarded(&mut self, is_checked: bool) -> Result<(), Failure> {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.follow(is_checked)));
        outcome.unwrap_or_else(|_| {
            self.has_failed = true;
            Err(Failure::Panicked)
        })
    }

    fn follow(&mut self, is_checked: bool) -> Result<(), Failure> {
        if self.has_failed {
            self.recover()?;
        }
        if !is_checked {
            self.check_chain()?;
        }
        let outcome = self.catch_up();
        self.has_failed = matches!(outcome, Err(Failure::Store(_)));
        outcome
    }

    /// Recovers the store. Its last block may be one whose writing seemed to fail.
    fn recover(&mut self) -> Result<(), Failure> {
        self.shared.store.recover()?;
        self.has_failed = false;
        let last = self.shared.store.read()?.last()?;
        let before = self.head.as_ref().map(|head| head.hash);
        self.head = last.clone();
        match last {
            Some(last) if before != Some(last.hash) => self.tell(Post::Block(Box::new(last))),
            _ => Ok(()),
        }
    }

    /// Tells the loop and the log how it stands, if that has changed.
    fn report(&mut self, standing: Standing) -> Result<(), Failure> {
        if self.standing.as_ref() == Some(&standing) {
            return Ok(());
        }
        match &standing {
            Standing::Working => info!("following {}", self.asker.url()),
            Standing::Failing(reason) | Standing::Diverged(reason) => {
                warn!("not following {}: {reason}", self.asker.url());
            }
        }
        self.standing = Some(standing.clone());
        self.tell(Post::Standing(standing))
    }

    fn check_chain(&self) -> Result<(), Failure> {
        let id = self.ask("eth_chainId", "[]")?;
        let ours = Quantity(self.chain_id).to_string();
        match id.as_str() {
            Some(id) if id == ours => Ok(()),
            _ => Err(Failure::OtherChain(id.to_string())),
        }
    }

    fn catch_up(&mut self) -> Result<(), Failure> {
        for _ in 0..REORGANISATIONS_MAX {
            if self.advance()? {
                return Ok(());
            }
        }
        Err(Failure::Changed)
    }

    /// Takes what the leader has; whether that was all. If not, the chains have parted, and it is to be
    /// called again.
    fn advance(&mut self) -> Result<bool, Failure> {
        let leader = self.ask("eth_blockNumber", "[]")?;
        let leader = leader.as_str().and_then(|text| Quantity::parse(text).ok());
        let Quantity(leader) = leader.ok_or(Failure::Malformed("block number"))?;
        self.tell(Post::Leader(leader))?;
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
                self.keep(&mut batch)?;
                if next > leader {
                    return Ok(true);
                }
                continue;
            }
            let block = self.block(next)?;
            if let Some(last) = last
                && last.hash != block.parent
            {
                let parted = last.number.saturating_sub(1);
                self.keep(&mut batch)?;
                return self.go_back(parted).map(|()| false);
            }
            batch.push(block);
        }
    }

    /// Finds the last block that both chains have, from `number` down, and goes on from there.
    fn go_back(&mut self, number: u64) -> Result<(), Failure> {
        let deepest = number.saturating_sub(REORGANISATION_MAX);
        let first = self.shared.store.read()?.numbers()?.map_or(deepest, |stored| *stored.start());
        let deepest = deepest.max(first.min(number));
        // If the blocks differ here, all later ones do.
        if self.block(deepest)?.hash != self.own_hash(deepest)? {
            return Err(Failure::TooDeep);
        }
        for number in (deepest..=number).rev() {
            let block = self.block(number)?;
            if block.hash == self.own_hash(number)? {
                let next = self.block(number + 1)?;
                if next.parent != block.hash {
                    return Err(Failure::Changed);
                }
                info!("the chain parts after block {number}");
                return self.keep(&mut vec![next]);
            }
        }
        Err(Failure::TooDeep)
    }

    /// The hash of our own block of this number; of none that could be if we do not have it.
    fn own_hash(&self, number: u64) -> Result<Word, Failure> {
        let own = self.shared.store.read()?.block(number)?;
        Ok(own.map_or(Bytes([0; 32]), |block| block.hash))
    }

    /// Writes blocks, and tells of them once they are on disk.
    fn keep(&mut self, blocks: &mut Vec<Record>) -> Result<(), Failure> {
        self.shared.store.append(blocks)?;
        for block in blocks.drain(..) {
            self.head = Some(block.clone());
            self.tell(Post::Block(Box::new(block)))?;
        }
        Ok(())
    }

    fn block(&self, number: u64) -> Result<Record, Failure> {
        let id = Quantity(number);
        let block = self.ask("eth_getBlockByNumber", &format!(r#"["{id}",true]"#))?;
        let hash = block.get("hash").and_then(Value::as_str).unwrap_or_default();
        let logs = self.ask("eth_getLogs", &format!(r#"[{{"blockHash":"{hash}"}}]"#))?;
        let block = Record::heard(block, logs).map_err(Failure::Malformed)?;
        if block.number != number {
            return Err(Failure::Malformed("block"));
        }
        Ok(block)
    }

    fn ask(&self, method: &str, params: &str) -> Result<Value, Failure> {
        let outcome = self.asker.call(method, params).map_err(Failure::Unanswered)?;
        let result = outcome.map_err(Failure::Refused)?;
        serde_json::from_str(result.get()).map_err(|_| Failure::Malformed("answer"))
    }

    fn tell(&self, post: Post) -> Result<(), Failure> {
        self.mail.send(post).map_err(|_| Failure::Gone)
    }
}
