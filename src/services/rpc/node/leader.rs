//! The thread that makes blocks: at an interval, and on demand.
//!
//! A block is on disk before it is announced. If it cannot be written, an outage starts: the
//! transactions of the block stay in the mempool, the thread refuses new ones, makes no blocks, and
//! opens the store again, after pauses that grow, until it can be written.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::TryRng;
use rand::rngs::SysRng;
use serde_json::Value;
use serde_json::value::RawValue;

use super::commands::Command;
use super::mail::NodeMail;
use super::mempool::Mempool;
use super::record::{Record, Transaction, raw};
use super::shared::Shared;
use super::status::NodeState;
use super::store::StoreError;
use crate::reactor::MailSender;
use crate::services::rpc::backend::Ticket;
use crate::services::rpc::wire::answer::Outcome;
use crate::services::rpc::wire::error::RpcError;
use crate::services::rpc::wire::hex::Bytes;
use crate::services::rpc::wire::hex::Quantity;
use crate::upstream::backoff::Backoff;

/// The state of the leader's thread.
#[derive(Debug)]
pub(super) struct Leader {
    pub(super) chain_id: u64,
    /// The time between blocks; `None`: only on demand.
    pub(super) block_time: Option<Duration>,
    pub(super) shared: Shared,
    pub(super) head: Record,
    pub(super) commands: Receiver<Command>,
    pub(super) mail: MailSender<NodeMail>,
    /// The pauses between attempts to write the store again; reset by each block that is written.
    pub(super) backoff: Backoff,
    pub(super) outage: Option<Outage>,
}

/// A time in which the store cannot be written.
#[derive(Debug)]
pub(super) struct Outage {
    reason: String,
    /// When the store is opened again.
    retry: Instant,
    /// The block whose write failed. It may be on disk nevertheless.
    uncertain: Option<Record>,
}

/// The head of the chain. An empty store gets a genesis block.
pub(super) fn first_head(shared: &Shared, chain_id: u64) -> Result<Record, StoreError> {
    if let Some(head) = shared.store.read()?.last()? {
        return Ok(head);
    }
    let mut salt = [0; 32];
    let failed = |error| StoreError::Directory(std::io::Error::other(error));
    SysRng.try_fill_bytes(&mut salt).map_err(failed)?;
    let genesis = Record::genesis(chain_id, unix_time(), Bytes(salt));
    shared.store.append(std::slice::from_ref(&genesis))?;
    Ok(genesis)
}

impl Leader {
    /// Works until the sender of the commands is dropped.
    pub(super) fn run(mut self) {
        let mut due = self.block_time.map(|time| Instant::now() + time);
        loop {
            let now = Instant::now();
            if self.outage.as_ref().is_some_and(|outage| outage.retry <= now) {
                let _ = self.guarded(|leader| {
                    leader.recover();
                    Ok(())
                });
            }
            // Checked before commands: an endless stream of commands does not keep blocks from
            // being made.
            if due.is_some_and(|due| due <= now) {
                // A failure is logged already. The next interval tries again.
                let _ = self.guarded(Leader::make_block);
                due = self.block_time.map(|time| Instant::now() + time);
            }
            let retry = self.outage.as_ref().map(|outage| outage.retry);
            let command = match due.into_iter().chain(retry).min() {
                None => self.commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(until) => {
                    self.commands.recv_timeout(until.saturating_duration_since(Instant::now()))
                }
            };
            match command {
                Ok(Command::Send(ticket, transaction)) => self.accept(ticket, transaction),
                Ok(Command::Mine(ticket, count)) => {
                    let made =
                        self.guarded(|leader| (0..count).try_for_each(|_| leader.make_block()));
                    self.answer(ticket, made.map(|()| self.number()));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Does one piece of work. A panic fails the call that the work is for, and starts an outage,
    /// so that the thread reads its head from the store before it continues.
    fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut Leader) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        let outcome = catch_unwind(AssertUnwindSafe(|| work(self)));
        outcome.unwrap_or_else(|_| Err(self.start_outage("block production panicked".into(), None)))
    }

    fn accept(&mut self, ticket: Ticket, transaction: Transaction) {
        let accepted = self.guarded(|leader| {
            let hash = quoted(transaction.hash);
            let full = transaction.json(leader.chain_id, None);
            leader.add(transaction, full.clone())?;
            Ok((hash, full))
        });
        match accepted {
            Ok((hash, full)) => {
                self.answer(ticket, Ok(hash.clone()));
                let _ = self.send(NodeMail::Pending { hash, full });
            }
            Err(error) => self.answer(ticket, Err(error)),
        }
    }

    fn add(&mut self, transaction: Transaction, json: Box<RawValue>) -> Result<(), RpcError> {
        self.check_outage()?;
        let stored = self.shared.store.read();
        match stored.and_then(|snapshot| snapshot.transaction(transaction.hash)) {
            Ok(Some(_)) => Err(RpcError::server("already known")),
            Ok(None) => Mempool::lock(&self.shared.mempool).add(transaction, json),
            Err(error) => Err(self.fail(&error, None)),
        }
    }

    fn make_block(&mut self) -> Result<(), RpcError> {
        self.check_outage()?;
        let transactions = Mempool::lock(&self.shared.mempool).next();
        // Timestamps increase with every block, even if several blocks have one second or the clock
        // is set back.
        let time = unix_time().max(self.head.timestamp().saturating_add(1));
        let block = self.head.next(self.chain_id, time, &transactions);
        match self.shared.store.append(std::slice::from_ref(&block)) {
            Ok(()) => {
                self.backoff.succeed();
                self.finish(block)
            }
            Err(error) => Err(self.fail(&error, Some(block))),
        }
    }

    /// Makes a stored block the head, and announces it.
    fn finish(&mut self, block: Record) -> Result<(), RpcError> {
        Mempool::lock(&self.shared.mempool).remove(block.transactions.len());
        self.head = block.clone();
        self.send(NodeMail::Block(Box::new(block)))
    }

    fn check_outage(&self) -> Result<(), RpcError> {
        self.outage.as_ref().map_or(Ok(()), |outage| Err(RpcError::server(outage.reason.clone())))
    }

    /// The store cannot be written. Returns the error for calls that need the store.
    fn fail(&mut self, error: &StoreError, uncertain: Option<Record>) -> RpcError {
        self.start_outage(format!("the store cannot be written: {error}"), uncertain)
    }

    /// Starts an outage, or extends it. Returns the error for calls that need the store.
    fn start_outage(&mut self, reason: String, uncertain: Option<Record>) -> RpcError {
        match self.outage {
            None => log::error!("{reason}; trying again"),
            Some(_) => log::debug!("{reason}"),
        }
        let retry = Instant::now() + self.backoff.fail();
        self.outage = Some(Outage { reason: reason.clone(), retry, uncertain });
        let _ = self.send(NodeMail::State(NodeState::Failing(reason.clone())));
        RpcError::server(reason)
    }

    /// Ends the outage if the store can be written. If the block whose write failed is on disk
    /// nevertheless, it becomes the head.
    fn recover(&mut self) {
        let uncertain = self.outage.as_mut().and_then(|outage| outage.uncertain.take());
        let store = &self.shared.store;
        let last = store.recover().and_then(|()| store.read()?.last());
        let last = match last {
            Ok(last) => last.map(|last| last.hash),
            Err(error) => {
                self.fail(&error, uncertain);
                return;
            }
        };
        match uncertain {
            Some(block) if last == Some(block.hash) => {
                let _ = self.finish(block);
            }
            uncertain if last != Some(self.head.hash) => {
                self.fail(&StoreError::OtherBlocks, uncertain);
                return;
            }
            _ => {}
        }
        log::info!("the store can be written again");
        self.outage = None;
        let _ = self.send(NodeMail::State(NodeState::Working));
    }

    fn number(&self) -> Box<RawValue> {
        quoted(Quantity(self.head.number))
    }

    fn answer(&self, ticket: Ticket, outcome: Outcome) {
        let _ = self.send(NodeMail::Answer(ticket, outcome));
    }

    /// Sends mail to the loop. If the loop has ended, this thread ends soon, too.
    fn send(&self, mail: NodeMail) -> Result<(), RpcError> {
        self.mail.send(mail).map_err(|_| RpcError::internal())
    }
}

fn quoted(shown: impl ToString) -> Box<RawValue> {
    raw(&Value::from(shown.to_string()))
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::panic::resume_unwind;
    use std::sync::Arc;
    use std::sync::mpsc::sync_channel;
    use std::{env, fs, process};

    use super::super::store::Store;
    use super::*;
    use crate::protocol::Message;
    use crate::reactor::settings::Settings;
    use crate::reactor::{ConnId, Context, MailReceiver, Reactor, Service};

    const CHAIN_ID: u64 = 1;

    struct Silent;

    impl Service for Silent {
        fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
    }

    fn state(mail: &MailReceiver<NodeMail>) -> NodeState {
        match mail.try_recv() {
            Ok(NodeMail::State(state)) => state,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_panic_fails_its_call_and_block_production_recovers() {
        let directory = env::temp_dir().join(format!("weir-leader-{}", process::id()));
        let store = Arc::new(Store::open(&directory, CHAIN_ID).unwrap());
        let shared = Shared { store, mempool: Arc::default() };
        let head = first_head(&shared, CHAIN_ID).unwrap();
        let mut reactor = Reactor::new(Settings::default()).unwrap();
        let service = reactor.add_service(Silent).unwrap();
        let (mail, received) = reactor.context(service).mailbox(8);
        let (_, commands) = sync_channel(1);
        let backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        let (chain_id, block_time, outage) = (CHAIN_ID, None, None);
        let mut leader =
            Leader { chain_id, block_time, shared, head, commands, mail, backoff, outage };

        let failed = leader.guarded::<()>(|_| resume_unwind(Box::new("on purpose")));
        assert!(failed.unwrap_err().to_string().contains("block production panicked"));
        assert_eq!(state(&received), NodeState::Failing("block production panicked".into()));
        assert!(leader.guarded(Leader::make_block).is_err(), "before the recovery");
        leader.recover();
        assert_eq!(state(&received), NodeState::Working);
        leader.guarded(Leader::make_block).unwrap();
        assert!(matches!(received.try_recv(), Ok(NodeMail::Block(block)) if block.number == 1));
        drop(leader);
        fs::remove_dir_all(directory).unwrap();
    }
}
