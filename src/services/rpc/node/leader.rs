//! The thread that makes blocks: at an interval, and on demand.
//!
//! A block is on disk before anybody hears of it. One that cannot be written is not made: its
//! transactions wait for the next.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use serde_json::value::RawValue;

use super::super::backend::{Outcome, Ticket};
use super::super::{Quantity, RpcError};
use super::order::Order;
use super::pool::Pool;
use super::queries::Shared;
use super::record::{Record, Transaction, raw};
use super::store::StoreError;
use super::work::Post;
use crate::reactor::MailSender;

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
}

/// The chain's head, made if there is none.
pub(super) fn begin(shared: &Shared, chain_id: u64) -> Result<Record, StoreError> {
    if let Some(head) = shared.store.read()?.last()? {
        return Ok(head);
    }
    let genesis = Record::genesis(chain_id, unix_time());
    shared.store.append(std::slice::from_ref(&genesis))?;
    Ok(genesis)
}

impl Leader {
    /// Works until the loop's end of the orders is gone.
    pub(super) fn run(mut self) {
        let mut due = self.block_time.map(|time| Instant::now() + time);
        loop {
            // Asked first: orders that never end do not keep blocks from being made.
            if due.is_some_and(|due| due <= Instant::now()) {
                // What went wrong was logged; the next interval may do better.
                let _ = self.make_block();
                due = self.block_time.map(|time| Instant::now() + time);
            }
            let order = match due {
                None => self.orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => {
                    self.orders.recv_timeout(due.saturating_duration_since(Instant::now()))
                }
            };
            match order {
                Ok(Order::Send(ticket, transaction)) => self.take(ticket, transaction),
                Ok(Order::Mine(ticket, count)) => {
                    let made = (0..count).try_for_each(|_| self.make_block());
                    self.answer(ticket, made.map(|()| self.number()));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, ticket: Ticket, transaction: Transaction) {
        let hash = quoted(transaction.hash);
        let full = transaction.json(self.chain_id, None);
        let known = self.shared.store.read();
        let known = known.and_then(|snapshot| snapshot.transaction(transaction.hash));
        let taken = match known {
            Ok(Some(_)) => Err(RpcError::server("already known")),
            Ok(None) => Pool::of(&self.shared.pool).add(transaction, full.clone()),
            Err(error) => Err(failed(&error)),
        };
        let is_taken = taken.is_ok();
        self.answer(ticket, taken.map(|()| hash.clone()));
        if is_taken {
            let _ = self.post(Post::Pending { hash, full });
        }
    }

    fn make_block(&mut self) -> Result<(), RpcError> {
        let transactions = Pool::of(&self.shared.pool).next();
        // A timestamp grows with every block, however many a second has and wherever the clock is set.
        let time = unix_time().max(self.head.timestamp().saturating_add(1));
        let block = self.head.next(self.chain_id, time, &transactions);
        self.shared.store.append(std::slice::from_ref(&block)).map_err(|error| failed(&error))?;
        Pool::of(&self.shared.pool).remove(transactions.len());
        self.head = block.clone();
        self.post(Post::Block(Box::new(block)))
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

fn failed(error: &StoreError) -> RpcError {
    log::error!("the store cannot be written: {error}");
    RpcError::internal()
}

fn quoted(shown: impl ToString) -> Box<RawValue> {
    raw(&Value::from(shown.to_string()))
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
