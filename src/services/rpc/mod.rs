//! JSON-RPC 2.0 over WebSocket and HTTP POST, as Ethereum's clients speak it, for one network.
//!
//! [`Rpc`] reads messages, keeps subscriptions and writes replies; what is answered is a [`Backend`]'s:
//! a chain of our own, or upstreams. Both transports share one table of methods. Replies go out in the
//! order of their answers, each with the id that it was asked by, as text even to binary frames; the
//! reply to a subscription precedes its first notification. Calls under way, subscriptions, batches and
//! replies are bounded ([`RpcSettings`]); a connection with too many calls under way, or that does not
//! read, is not read from.

mod answers;
mod backend;
mod calls;
mod counts;
mod delivery;
mod filter;
mod flows;
pub mod gateway;
mod index;
#[cfg(feature = "node")]
pub mod node;
mod service;
mod settings;
mod subscriptions;
mod wire;

use std::collections::HashSet;
use std::rc::Rc;

use serde_json::value::RawValue;

use self::answers::Answers;
use self::calls::{Calls, Via};
use self::flows::Flows;
use self::subscriptions::Subscriptions;
use self::wire::filling::Answer;
use self::wire::reply::{Failed, Reply, Written};
use self::wire::request::{self, Rejected};
use crate::protocol::CloseCode;
use crate::reactor::{ConnId, Context};
use crate::upstream::counts::add;

pub use self::backend::{Backend, LinkEvent, Network, Notice, Progress, Ticket};
pub use self::counts::Counts;
pub use self::filter::{FilterParams, Log, LogFilter, TOPICS_MAX};
pub use self::settings::RpcSettings;
pub use self::subscriptions::{Feeds, Kind, Source};
pub use self::wire::answer::Outcome;
pub use self::wire::error::RpcError;
pub use self::wire::hex::{Address, Bytes, HexError, Quantity, Word};
pub use self::wire::method::Class;
pub use self::wire::request::Call;

/// Room for a reply, for a start: most are shorter.
const REPLY_BYTES: usize = 256;
/// The timer key of calls that are overdue; a backend's own keys lie below 2^63.
const OVERDUE: u64 = 1 << 63;

/// Serves one network.
#[derive(Debug)]
pub struct Rpc<B> {
    backend: B,
    settings: RpcSettings,
    subscriptions: Subscriptions,
    calls: Calls,
    answers: Answers,
    flows: Flows,
    /// WebSockets; who only posts is none.
    open: HashSet<ConnId>,
    counts: Rc<Counts>,
    /// The answers to `eth_chainId` and `net_version`, as JSON.
    chain_id: String,
    net_version: String,
    /// Buffers for replies.
    spares: Vec<String>,
    has_timer: bool,
}

/// Who asks, and how.
#[derive(Debug, Clone, Copy)]
struct Origin {
    conn: ConnId,
    via: Via,
}

impl<B: Backend> Rpc<B> {
    /// A service in front of `backend`.
    pub fn new(backend: B, settings: RpcSettings) -> Rpc<B> {
        let counts = Rc::<Counts>::default();
        let (each, all) = (settings.subscriptions_per_connection_max, settings.subscriptions_max);
        let chain_id = backend.network().chain_id;
        Rpc {
            subscriptions: Subscriptions::new(each, all, Rc::clone(&counts)),
            chain_id: format!(r#""{}""#, Quantity(chain_id)),
            net_version: format!(r#""{chain_id}""#),
            backend,
            settings,
            calls: Calls::default(),
            answers: Answers::default(),
            flows: Flows::default(),
            open: HashSet::new(),
            counts,
            spares: Vec::new(),
            has_timer: false,
        }
    }

    /// What stands behind it.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// What it counts, for whoever shows it.
    pub fn counts(&self) -> Rc<Counts> {
        Rc::clone(&self.counts)
    }

    /// A reply that says nothing yet.
    fn blank(&mut self) -> Reply {
        let buffer = self.spares.pop().unwrap_or_else(|| String::with_capacity(REPLY_BYTES));
        Reply::new(buffer, self.settings.response_bytes_max)
    }

    /// Does what a message says, and replies as far as that is known already.
    fn take(&mut self, cx: &mut Context<'_>, origin: Origin, text: &str, reply: &mut Reply) {
        let bounds = self.settings.bounds();
        self.calls.begin();
        if request::is_batch(text) {
            match request::batch(text, bounds) {
                Ok(items) => {
                    reply.begin_batch();
                    for item in items {
                        self.answer(cx, origin, request::item(item, bounds), reply);
                    }
                }
                Err(error) => self.reject(reply, &Rejected { id: None, error }),
            }
        } else {
            self.answer(cx, origin, request::single(text, bounds), reply);
        }
        self.tell_feeds(cx);
    }

    fn reject(&self, reply: &mut Reply, rejected: &Rejected<'_>) {
        self.counts.error(Failed { class: Class::Other, code: rejected.error.code });
        reply.error(rejected.id, &rejected.error);
    }

    fn answer(
        &mut self,
        cx: &mut Context<'_>,
        origin: Origin,
        call: Result<Call<'_>, Rejected<'_>>,
        reply: &mut Reply,
    ) {
        let call = &match call {
            Ok(call) => call,
            Err(rejected) => return self.reject(reply, &rejected),
        };
        let class = Class::of(&call.method);
        self.counts.request(class);
        let (hole, named) = (reply.holes(), reply.named().len());
        let ticket = self.calls.ticket(hole);
        let is_full = self.calls.len() + hole >= self.settings.calls_max;
        let written = reply.call(call.id, class, |out, subscriptions| match &*call.method {
            "eth_chainId" if !self.backend.answers_all() => done(out, &self.chain_id),
            "net_version" if !self.backend.answers_all() => done(out, &self.net_version),
            "eth_subscribe" => {
                let kind = self.kind(origin, call)?;
                let has_begun = self.backend.has_begun(kind.source());
                if !has_begun && is_full {
                    return Err(RpcError::busy());
                }
                let id = self.subscriptions.add(origin.conn, kind)?;
                if !has_begun {
                    subscriptions.begin.push((hole, id));
                    return Ok(false);
                }
                subscriptions.named.push(id);
                done(out, &format!(r#""{id}""#))
            }
            "eth_unsubscribe" => {
                self.unsubscribe(cx, origin, call)?;
                done(out, "true")
            }
            _ if is_full => Err(RpcError::busy()),
            _ => {
                let progress = self.backend.call(cx, ticket, call, out)?;
                Ok(progress == Progress::Done)
            }
        });
        if let Written::Error(failed) = written {
            self.counts.error(failed);
            // A subscription whose id has found no room is none.
            for id in reply.unname(named) {
                self.subscriptions.take_back(origin.conn, id);
            }
        }
    }

    /// What is to be subscribed to.
    fn kind(&self, origin: Origin, call: &Call<'_>) -> Result<Kind, RpcError> {
        self.backend.subscribes()?;
        let kind = Kind::parse(call)?;
        match origin.via {
            Via::WebSocket => Ok(kind),
            Via::Http => Err(RpcError::no_notifications()),
        }
    }

    fn unsubscribe(
        &mut self,
        cx: &mut Context<'_>,
        origin: Origin,
        call: &Call<'_>,
    ) -> Result<(), RpcError> {
        self.backend.subscribes()?;
        let (id,): (Option<String>,) = call.positional(1)?;
        let id = id.ok_or_else(|| RpcError::invalid_params("missing subscription id"))?;
        self.subscriptions.remove(cx, origin.conn, &id)
    }

    /// Keeps an incomplete reply, and stops reading from a connection that has many.
    fn wait(&mut self, cx: &mut Context<'_>, origin: Origin, reply: Reply) {
        let Origin { conn, via } = origin;
        let flow = self.flows.enter(conn);
        flow.calls += reply.holes();
        if flow.calls >= self.settings.calls_per_connection_max && via == Via::WebSocket {
            flow.is_saturated = true;
            add(&self.counts.pauses, 1);
            cx.pause(conn);
        }
        let until = cx.now() + self.settings.call_timeout;
        flow.exchanges.push(self.calls.wait((conn, via), reply, until));
        self.counts.calls_now.set(self.calls.len() as u64);
        self.watch_overdue(cx);
    }

    fn watch_overdue(&mut self, cx: &mut Context<'_>) {
        if !self.has_timer
            && let Some(delay) = self.calls.next_due(cx.now())
        {
            self.has_timer = cx.schedule(delay, OVERDUE).is_some();
        }
    }

    /// Tells the backend of a connection of its own.
    fn link(&mut self, cx: &mut Context<'_>, conn: ConnId, event: LinkEvent<'_>) {
        self.backend.on_link(cx, conn, event);
        self.hear(cx);
    }

    /// Announces what the backend has found out otherwise than by mail.
    fn hear(&mut self, cx: &mut Context<'_>) {
        while let Some(notice) = self.backend.said() {
            self.announce(cx, notice);
        }
    }

    fn announce(&mut self, cx: &mut Context<'_>, notice: Notice) {
        match notice {
            Notice::Answer { tickets, outcome } => {
                self.answer_all(cx, tickets, outcome);
            }
            Notice::Begun { source, outcome } => self.begin(cx, source, &outcome),
            Notice::Head(header) => {
                add(&self.counts.heads, 1);
                self.subscriptions.publish(cx, &Kind::Heads, &header);
            }
            Notice::Log(log) => self.subscriptions.publish_log(cx, &log),
            Notice::Pending { hash, full } => {
                self.subscriptions.publish(cx, &Kind::Pending { full: false }, &hash);
                let full = full.unwrap_or(hash);
                self.subscriptions.publish(cx, &Kind::Pending { full: true }, &full);
            }
            Notice::Syncing(state) => self.subscriptions.publish(cx, &Kind::Syncing, &state),
            Notice::Gap => {
                for conn in self.subscriptions.subscribers(Source::Chain) {
                    add(&self.counts.gaps_closed, 1);
                    cx.close(conn, CloseCode::SERVICE_RESTART, "blocks were missed");
                }
            }
            Notice::Nothing => {}
        }
    }

    /// Answers the subscriptions that have waited for their source.
    fn begin(&mut self, cx: &mut Context<'_>, source: Source, outcome: &Result<(), RpcError>) {
        for (ticket, id) in self.calls.beginning() {
            if self.subscriptions.source(id) == Some(source) {
                let named = RawValue::from_string(format!(r#""{id}""#)).unwrap_or_default();
                self.settle(cx, ticket, &Answer::Own(outcome.clone().map(|()| named)));
            }
        }
    }

    /// Tells the backend if what is subscribed to has changed.
    fn tell_feeds(&mut self, cx: &mut Context<'_>) {
        if self.subscriptions.take_changed() {
            self.backend.on_feeds(cx, self.subscriptions.feeds());
        }
    }
}

/// Appends a result that is at hand.
fn done(out: &mut String, result: &str) -> Result<bool, RpcError> {
    *out += result;
    Ok(true)
}
