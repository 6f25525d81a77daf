//! The thread that makes blocks: at an interval, and on demand.
//!
//! A block is on disk before it is announced. If it cannot be written, its transactions wait for the next
//! one, and the thread opens the store again, after pauses that grow, until it can be written. Meanwhile
//! it refuses transactions and makes no blocks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::TryRng;
use rand::rngs::SysRng;
use serde_json::Value;
use serde_json::value::RawValue;

use super::order::Order;
use super::pool::Pool;
use super::queries::Shared;
use super::record::{Record, Transaction, raw};
use super::status::Standing;
use super::store::StoreError;
use super::work::Post;
use crate::reactor::MailSender;
use crate::services::rpc::backend::Ticket;
use crate::services::rpc::wire::answer::Outcome;
use crate::services::rpc::wire::error::RpcError;
use crate::services::rpc::wire::hex::Bytes;
use crate::services::rpc::wire::hex::Quantity;
use crate::upstream::backoff::Backoff;

/// The chain's owner.
#[derive(Debug)]
pub(super) struct Leader {
    pub(super) chain_id: u64,
    /// `None`: only on demand.
    pub(super) block_time: Option<Duration>,
    pub(super) shared: Shared,
    pub(super) head: Record,
    pub(super) orders: Receiver<Order>,
    pub(super) mail: MailSender<Post>,
    /// The pauses between attempts to write the store again; reset by each block that is written.
    pub(super) backoff: Backoff,
    pub(super) outage: Option<Outage>,
}

/// The time in which the store cannot be written.
#[derive(Debug)]
pub(super) struct Outage {
    reason: String,
    /// When the store is opened again.
    retry: Instant,
    /// The block whose writing failed. It may be on disk all the same.
    unsure: Option<Record>,
}

/// The chain's head, made if there is none.
pub(super) fn begin(shared: &Shared, chain_id: u64) -> Result<Record, StoreError> {
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
    /// Works until the loop's end of the orders is gone.
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
            // Asked first: orders that never end do not keep blocks from being made.
            if due.is_some_and(|due| due <= now) {
                // What went wrong was logged; the next interval may do better.
                let _ = self.guarded(Leader::make_block);
                due = self.block_time.map(|time| Instant::now() + time);
            }
            let retry = self.outage.as_ref().map(|outage| outage.retry);
            let order = match due.into_iter().chain(retry).min() {
                None => self.orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(until) => {
                    self.orders.recv_timeout(until.saturating_duration_since(Instant::now()))
                }
            };
            match order {
                Ok(Order::Send(ticket, transaction)) => self.take(ticket, transaction),
                Ok(Order::Mine(ticket, count)) => {
                    let made =
                        self.guarded(|leader| (0..count).try_for_each(|_| leader.make_block()));
                    self.answer(ticket, made.map(|()| self.number()));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Does a part of the work. A panic in it fails the call that it is for, and starts an outage: the
    /// thread reads its head from the store again before it goes on.
    fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut Leader) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        let outcome = catch_unwind(AssertUnwindSafe(|| work(self)));
        outcome.unwrap_or_else(|_| Err(self.start_outage("block production panicked".into(), None)))
    }

    fn take(&mut self, ticket: Ticket, transaction: Transaction) {
        let taken = self.guarded(|leader| {
            let hash = quoted(transaction.hash);
            let full = transaction.json(leader.chain_id, None);
            leader.add(transaction, full.clone())?;
            Ok((hash, full))
        });
        match taken {
            Ok((hash, full)) => {
                self.answer(ticket, Ok(hash.clone()));
                let _ = self.post(Post::Pending { hash, full });
            }
            Err(error) => self.answer(ticket, Err(error)),
        }
    }

    fn add(&mut self, transaction: Transaction, json: Box<RawValue>) -> Result<(), RpcError> {
        self.check_outage()?;
        let stored = self.shared.store.read();
        match stored.and_then(|snapshot| snapshot.transaction(transaction.hash)) {
            Ok(Some(_)) => Err(RpcError::server("already known")),
            Ok(None) => Pool::of(&self.shared.pool).add(transaction, json),
            Err(error) => Err(self.fail(&error, None)),
        }
    }

    fn make_block(&mut self) -> Result<(), RpcError> {
        self.check_outage()?;
        let transactions = Pool::of(&self.shared.pool).next();
        // A timestamp grows with every block, however many a second has and wherever the clock is set.
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

    /// Makes a block that is on disk the head, and announces it.
    fn finish(&mut self, block: Record) -> Result<(), RpcError> {
        Pool::of(&self.shared.pool).remove(block.transactions.len());
        self.head = block.clone();
        self.post(Post::Block(Box::new(block)))
    }

    fn check_outage(&self) -> Result<(), RpcError> {
        self.outage.as_ref().map_or(Ok(()), |outage| Err(RpcError::server(outage.reason.clone())))
    }

    /// The store cannot be written. Returns the error for calls that need it.
    fn fail(&mut self, error: &StoreError, unsure: Option<Record>) -> RpcError {
        self.start_outage(format!("the store cannot be written: {error}"), unsure)
    }

    /// Starts an outage, or prolongs it. Returns the error for calls that need the store.
    fn start_outage(&mut self, reason: String, unsure: Option<Record>) -> RpcError {
        match self.outage {
            None => log::error!("{reason}; trying again"),
            Some(_) => log::debug!("{reason}"),
        }
        let retry = Instant::now() + self.backoff.fail();
        self.outage = Some(Outage { reason: reason.clone(), retry, unsure });
        let _ = self.post(Post::Standing(Standing::Failing(reason.clone())));
        RpcError::server(reason)
    }

    /// Ends the outage if the store can be written. The block whose writing failed is the head if it is on disk nevertheless.
    fn recover(&mut self) {
        let unsure = self.outage.as_mut().and_then(|outage| outage.unsure.take());
        let store = &self.shared.store;
        let last = store.recover().and_then(|()| store.read()?.last());
        let last = match last {
            Ok(last) => last.map(|last| last.hash),
            Err(error) => {
                self.fail(&error, unsure);
                return;
            }
        };
        match unsure {
            Some(block) if last == Some(block.hash) => {
                let _ = self.finish(block);
            }
            unsure if last != Some(self.head.hash) => {
                self.fail(&StoreError::OtherBlocks, unsure);
                return;
            }
            _ => {}
        }
        log::info!("the store can be written again");
        self.outage = None;
        let _ = self.post(Post::Standing(Standing::Working));
    }

    fn number(&self) -> Box<RawValue> {
        quoted(Quantity(self.head.number))
    }

    fn answer(&self, ticket: Ticket, outcome: Outcome) {
        let _ = self.post(Post::Answer(ticket, outcome));
    }

    /// Tells the loop. If that is gone, so is this thread soon, and nothing more is to be done.
    fn post(&self, post: Post) -> Result<(), RpcError> {
        self.mail.send(post).map_err(|_| RpcError::internal())
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

    fn standing(mail: &MailReceiver<Post>) -> Standing {
        match mail.try_recv() {
            Ok(Post::Standing(standing)) => standing,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_panic_fails_its_call_and_block_production_recovers() {
        let directory = env::temp_dir().join(format!("weir-leader-{}", process::id()));
        let store = Arc::new(Store::open(&directory, CHAIN_ID).unwrap());
        let shared = Shared { store, pool: Arc::default() };
        let head = begin(&shared, CHAIN_ID).unwrap();
        let mut reactor = Reactor::new(Settings::default()).unwrap();
        let service = reactor.add_service(Silent).unwrap();
        let (mail, received) = reactor.context(service).mailbox(8);
        let (_, orders) = sync_channel(1);
        let backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        let (chain_id, block_time, outage) = (CHAIN_ID, None, None);
        let mut leader =
            Leader { chain_id, block_time, shared, head, orders, mail, backoff, outage };

        let failed = leader.guarded::<()>(|_| resume_unwind(Box::new("on purpose")));
        assert!(failed.unwrap_err().to_string().contains("block production panicked"));
        assert_eq!(standing(&received), Standing::Failing("block production panicked".into()));
        assert!(leader.guarded(Leader::make_block).is_err(), "before it has recovered");
        leader.recover();
        assert_eq!(standing(&received), Standing::Working);
        leader.guarded(Leader::make_block).unwrap();
        assert!(matches!(received.try_recv(), Ok(Post::Block(block)) if block.number == 1));
        drop(leader);
        fs::remove_dir_all(directory).unwrap();
    }
}
