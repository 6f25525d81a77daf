//! The interface between the service and what answers its calls: a chain of its own, or upstreams.
//!
//! A backend answers calls and announces events to subscribers. It runs on the loop, so it may
//! answer at once only from memory. Work that blocks belongs on threads of its own, which reach it
//! through mailboxes that it makes when it starts. It does not see the connections and ids of
//! clients.

use serde_json::value::RawValue;

use super::filter::Log;
use super::subscriptions::{Feeds, Source};
use super::wire::answer::Outcome;
use super::wire::error::RpcError;
use super::wire::request::Call;
use crate::reactor::{CloseReason, ConnId, Context};

/// The chain that a service serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The project: the first segment of a gateway's path, the role of a node.
    pub project: String,
    /// The kind of chain: `evm`.
    pub architecture: &'static str,
    /// The chain id.
    pub chain_id: u64,
}

/// The id of a call that is answered later. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    /// The number of the message.
    pub(super) number: u64,
    /// The index of the placeholder in the reply.
    pub(super) placeholder: usize,
    /// The slot of the pending reply.
    pub(super) slot: usize,
}

/// The state of a call after [`Backend::call`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The result is in the buffer.
    Done,
    /// The answer follows as a [`Notice::Answer`]. If it does not within `call_timeout`, the
    /// service answers -32002.
    Later,
}

/// An answer or an event that a backend announces.
#[derive(Debug)]
pub enum Notice {
    /// The answer to one or more equal calls. Tickets of calls that no longer wait are
    /// ignored.
    Answer {
        /// The calls.
        tickets: Vec<Ticket>,
        /// The outcome of each of them.
        outcome: Outcome,
    },
    /// A source that [had not started](Backend::is_started) has started, or cannot: its waiting
    /// subscriptions are answered.
    Started {
        /// The source.
        source: Source,
        /// The error, if it cannot start.
        outcome: Result<(), RpcError>,
    },
    /// The header of a new block, or of one after a fork, for `newHeads`: as subscribers receive
    /// it.
    Head(Box<RawValue>),
    /// A log, for `logs`, in the order of the chain.
    Log(Log),
    /// A pending transaction, for `newPendingTransactions`.
    Pending {
        /// Its hash, as a JSON string.
        hash: Box<RawValue>,
        /// The whole transaction, for subscribers to whole transactions. Without it they receive
        /// the hash.
        full: Option<Box<RawValue>>,
    },
    /// The state for `syncing`: `false`, or an object.
    Syncing(Box<RawValue>),
    /// Blocks were missed for good: connections that subscribe to heads or logs are closed with
    /// 1012, so that clients start again instead of missing blocks unnoticed.
    Gap,
    /// Nothing to announce: the mail was for the backend itself.
    Nothing,
}

/// An event of a connection that a backend has made.
#[derive(Debug, Clone, Copy)]
pub enum LinkEvent<'a> {
    /// The connection is open.
    Opened,
    /// A message of the server; empty if it was not UTF-8.
    Message(&'a str),
    /// The connection has ended, or could not be made.
    Closed(CloseReason),
}

/// Answers the calls of a service.
pub trait Backend {
    /// The chain.
    fn network(&self) -> &Network;

    /// Called once, before the loop runs, to make mailboxes and start threads.
    fn start(&mut self, cx: &mut Context<'_>);

    /// Whether the backend also answers `eth_chainId` and `net_version`. Otherwise the service
    /// does, from [`Backend::network`].
    fn answers_all(&self) -> bool {
        false
    }

    /// Answers a call, at once or later. The service itself handles subscriptions, and
    /// `eth_chainId` and `net_version` unless the backend [answers all](Backend::answers_all).
    ///
    /// With [`Progress::Done`] the result, which must be JSON, is appended to `result`. In all
    /// other cases appended text is removed.
    ///
    /// # Errors
    /// The error for the client: -32601 if the method is unknown, -32005 if a limit is reached.
    fn call(
        &mut self,
        cx: &mut Context<'_>,
        ticket: Ticket,
        call: &Call<'_>,
        result: &mut String,
    ) -> Result<Progress, RpcError>;

    /// The next notice that a timer or a connection has led to.
    fn next_notice(&mut self) -> Option<Notice> {
        None
    }

    /// Takes one mail from its mailboxes and returns what it means; `None` if there is none.
    fn receive(&mut self, cx: &mut Context<'_>) -> Option<Notice>;

    /// A timer of [`Context::schedule`] has fired. Keys from 2^63 on are reserved for the service.
    fn on_timer(&mut self, cx: &mut Context<'_>, key: u64) {
        let _ = (cx, key);
    }

    /// Whether it has made this connection, by [`Context::connect`].
    fn owns(&self, conn: ConnId) -> bool {
        let _ = conn;
        false
    }

    /// An event of a connection that it has made.
    fn on_link(&mut self, cx: &mut Context<'_>, conn: ConnId, event: LinkEvent<'_>) {
        let _ = (cx, conn, event);
    }

    /// Checks that clients may subscribe.
    ///
    /// # Errors
    /// They may not: the error for `eth_subscribe` and `eth_unsubscribe`.
    fn check_can_subscribe(&self) -> Result<(), RpcError> {
        Ok(())
    }

    /// Whether everything that happens from now on will be announced. If not, the reply to a
    /// subscription waits for [`Notice::Started`] or its timeout, so that the client misses nothing
    /// after the reply.
    fn is_started(&self, source: Source) -> bool {
        let _ = source;
        true
    }

    /// The feeds have changed: one has its first subscriber, or has lost its last one.
    fn on_feeds(&mut self, cx: &mut Context<'_>, feeds: &Feeds) {
        let _ = (cx, feeds);
    }
}
