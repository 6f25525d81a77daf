//! What stands behind the service: a chain of our own, or upstreams. The one interface to either.
//!
//! A backend answers calls and announces what subscribers want to hear. It runs on the loop, so it
//! may answer at once only from memory; whatever blocks belongs on threads of its own, which reach it
//! through mailboxes that it makes when it starts. It sees no connection and no id of a client's.

use serde_json::value::RawValue;

use super::filter::Log;
use super::subscriptions::{Feeds, Source};
use super::wire::answer::Outcome;
use super::wire::error::RpcError;
use super::wire::request::Call;
use crate::reactor::{CloseReason, ConnId, Context};

/// The chain that is spoken of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Whose it is: the first segment of a gateway's path, the name of a node.
    pub project: String,
    /// The kind of chain: `evm`.
    pub architecture: &'static str,
    /// The chain's number.
    pub chain_id: u64,
}

/// Names a call that is answered later. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    /// Counts messages.
    pub(super) number: u64,
    /// Counts the calls of the message that are answered later.
    pub(super) hole: usize,
    /// Where its reply waits.
    pub(super) slot: usize,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The result stands in the buffer.
    Done,
    /// It follows as a [`Notice::Answer`]. A backend that forgets it is answered for, with -32002.
    Later,
}

/// What a backend has to say.
#[derive(Debug)]
pub enum Notice {
    /// These calls, which were the same, have come to their end. Tickets that nobody waits for any
    /// more are passed over.
    Answer {
        /// The calls.
        tickets: Vec<Ticket>,
        /// What all of them are answered.
        outcome: Outcome,
    },
    /// What [had not begun](Backend::has_begun) has, or cannot: subscriptions to it are answered.
    Begun {
        /// What they are to.
        source: Source,
        /// Why it cannot.
        outcome: Result<(), RpcError>,
    },
    /// A new head, or one from a fork on, for `newHeads`: the header as subscribers are sent it.
    Head(Box<RawValue>),
    /// A log for `logs`, in the order of the chain.
    Log(Log),
    /// A transaction that waits for its block, for `newPendingTransactions`.
    Pending {
        /// Its hash, as a JSON string.
        hash: Box<RawValue>,
        /// All of it, for those who have asked for that; else they are sent the hash.
        full: Option<Box<RawValue>>,
    },
    /// For `syncing`: `false`, or an object.
    Syncing(Box<RawValue>),
    /// Blocks were missed that cannot be had any more: subscribers to heads and logs are closed with 1012,
    /// to begin anew, rather than left with a hole.
    Gap,
    /// Mail that is no news for anybody.
    Nothing,
}

/// What happens on a connection that a backend has made.
#[derive(Debug, Clone, Copy)]
pub enum LinkEvent<'a> {
    /// It is open.
    Opened,
    /// The other end has said this; empty if it was not text.
    Message(&'a str),
    /// It is over, or could not be made.
    Closed(CloseReason),
}

/// A chain behind the service.
pub trait Backend {
    /// Which one.
    fn network(&self) -> &Network;

    /// Called once, before the loop runs: the place to make mailboxes and start threads.
    fn start(&mut self, cx: &mut Context<'_>);

    /// Whether it wants to be asked even for what [`Backend::network`] says.
    fn answers_all(&self) -> bool {
        false
    }

    /// Answers a call, or promises to. Subscriptions are not asked, nor are `eth_chainId` and
    /// `net_version` unless it [answers all](Backend::answers_all).
    ///
    /// For [`Progress::Done`] the result, which must be JSON, has been appended to `result`; whatever
    /// was appended in any other case is forgotten.
    ///
    /// # Errors
    /// What to answer instead: -32601 for a method that it does not know, -32005 past its limits.
    fn call(
        &mut self,
        cx: &mut Context<'_>,
        ticket: Ticket,
        call: &Call<'_>,
        result: &mut String,
    ) -> Result<Progress, RpcError>;

    /// The next of the notices that something other than mail has led to: a timer, or a connection.
    fn said(&mut self) -> Option<Notice> {
        None
    }

    /// Takes one mail from its mailboxes and says what it means; `None` when there is no more.
    fn next(&mut self, cx: &mut Context<'_>) -> Option<Notice>;

    /// A timer that it has set with [`Context::schedule`] is due. Keys from 2^63 on are the service's.
    fn on_timer(&mut self, cx: &mut Context<'_>, key: u64) {
        let _ = (cx, key);
    }

    /// Whether it has made this connection, with [`Context::connect`].
    fn owns(&self, conn: ConnId) -> bool {
        let _ = conn;
        false
    }

    /// Something has happened on a connection that it owns.
    fn on_link(&mut self, cx: &mut Context<'_>, conn: ConnId, event: LinkEvent<'_>) {
        let _ = (cx, conn, event);
    }

    /// Whether clients may subscribe at all.
    ///
    /// # Errors
    /// What `eth_subscribe` and `eth_unsubscribe` are answered instead.
    fn subscribes(&self) -> Result<(), RpcError> {
        Ok(())
    }

    /// Whether all that happens from here on will be announced. If not, the reply to a subscription
    /// waits for [`Notice::Begun`], which must come, or a timeout does: so nothing is missed after it.
    fn has_begun(&self, source: Source) -> bool {
        let _ = source;
        true
    }

    /// What is subscribed to has changed: the first subscriber to something has come, or the last one
    /// has gone.
    fn on_feeds(&mut self, cx: &mut Context<'_>, feeds: &Feeds) {
        let _ = (cx, feeds);
    }
}
