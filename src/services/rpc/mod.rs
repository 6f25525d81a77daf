//! JSON-RPC 2.0 over WebSocket and HTTP POST, as Ethereum's clients speak it, for one network.
//!
//! [`Rpc`] reads messages, keeps subscriptions and writes replies; what is answered is a [`Backend`]'s:
//! a chain of our own, or upstreams. Both transports share one table of methods. Replies go out in the
//! order of their answers, each with the id that it was asked by, as text even to binary frames; the
//! reply to a subscription precedes its first notification. Calls under way, subscriptions, batches and
//! replies are bounded ([`RpcSettings`]); a connection with too many calls under way, or that does not
//! read, is not read from.

mod backend;
mod calls;
mod counts;
mod error;
mod filter;
pub mod gateway;
mod hex;
pub mod node;
mod reply;
mod request;
mod subscriptions;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use serde_json::value::RawValue;

use self::calls::{Calls, Exchange, Filled, Later, Via};
use self::counts::add;
use self::reply::{Reply, Written};
use self::request::{Bounds, Incoming};
use self::subscriptions::{SubscriptionId, Subscriptions};
use crate::protocol::handshake::{self, Response};
use crate::protocol::{CloseCode, Message};
use crate::reactor::settings::RouteSettings;
use crate::reactor::{
    CloseReason, ConnId, Context, Decision, More, PlainRequest, Request, SendOutcome, Service,
};

pub use self::backend::{Backend, LinkEvent, Network, Notice, Outcome, Progress, Ticket};
pub use self::counts::{Class, Count, Counts};
pub use self::error::RpcError;
pub use self::filter::{FilterParams, Log, LogFilter, TOPICS_MAX};
pub use self::hex::{Address, Bytes, HexError, Quantity, Word};
pub use self::request::Call;
pub use self::subscriptions::{Feeds, Kind, Source};

/// The timer key of calls that are overdue; a backend's own keys lie below 2^63.
const OVERDUE: u64 = 1 << 63;

/// The limits of one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcSettings {
    /// WebSockets at once; one more is answered 503.
    pub connections_max: usize,
    /// Subscriptions of one connection; one more is answered -32005.
    pub subscriptions_per_connection_max: usize,
    /// Subscriptions of all connections; one more is answered -32005.
    pub subscriptions_max: usize,
    /// Calls of one batch; past it -32600.
    pub batch_items_max: usize,
    /// Bytes of a message; past it 1009, or 413.
    pub request_bytes_max: usize,
    /// Bytes of a reply; past it -32003.
    pub response_bytes_max: usize,
    /// Brackets open at once within parameters; past it -32600.
    pub depth_max: usize,
    /// Calls of one connection under way, from which on it is not read from. A batch counts whole.
    pub calls_per_connection_max: usize,
    /// Calls of all connections under way; one more is answered -32005.
    pub calls_max: usize,
    /// How long a call may be under way; past it -32002.
    pub call_timeout: Duration,
}

impl Default for RpcSettings {
    fn default() -> RpcSettings {
        RpcSettings {
            connections_max: 10_000,
            subscriptions_per_connection_max: 100,
            subscriptions_max: 100_000,
            batch_items_max: 100,
            request_bytes_max: 1024 * 1024,
            response_bytes_max: 25_000_000,
            depth_max: 64,
            calls_per_connection_max: 256,
            calls_max: 16_384,
            call_timeout: Duration::from_secs(30),
        }
    }
}

impl RpcSettings {
    /// `route` with room for the largest message and the largest reply.
    pub fn fit(&self, route: RouteSettings) -> RouteSettings {
        /// Framing, an id, and the words around a result.
        const AROUND: usize = 64 * 1024;
        let hard = route.outbox_soft + self.response_bytes_max + AROUND;
        RouteSettings {
            message_bytes_max: self.request_bytes_max,
            outbox_hard: route.outbox_hard.max(hard),
            ..route
        }
    }

    fn bounds(&self) -> Bounds {
        Bounds { batch_items_max: self.batch_items_max, depth_max: self.depth_max }
    }
}

/// What keeps a connection from being read; none of it for most.
#[derive(Debug, Default)]
struct Flow {
    /// Calls under way.
    calls: usize,
    /// They are too many; reading goes on when half of them are answered.
    is_saturated: bool,
    /// It does not read what it is sent.
    is_congested: bool,
}

/// Serves one network.
#[derive(Debug)]
pub struct Rpc<B> {
    backend: B,
    settings: RpcSettings,
    subscriptions: Subscriptions,
    calls: Calls,
    flows: HashMap<ConnId, Flow>,
    /// WebSockets; who only posts is none.
    open: HashSet<ConnId>,
    counts: Rc<Counts>,
    /// The answers to `eth_chainId` and `net_version`, as JSON.
    chain_id: String,
    net_version: String,
    /// A reply's buffer between two messages.
    spare: String,
    has_timer: bool,
}

/// Who asks, and how.
#[derive(Debug, Clone, Copy)]
struct Origin {
    conn: ConnId,
    via: Via,
}

/// What a message has brought about besides its reply.
#[derive(Debug, Default)]
struct Effects {
    /// Calls that are answered later, in the order of their holes.
    calls: Vec<Later>,
    /// Subscriptions that the reply names already.
    named: Vec<SubscriptionId>,
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
            flows: HashMap::new(),
            open: HashSet::new(),
            counts,
            spare: String::new(),
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

    /// Does what a message says. Answers with the reply, empty if there is none, and the subscriptions
    /// that it names; or with nothing yet, and [`deliver`](Rpc::deliver) follows.
    fn take(
        &mut self,
        cx: &mut Context<'_>,
        origin: Origin,
        text: &str,
    ) -> Option<(String, Vec<SubscriptionId>)> {
        let bounds = self.settings.bounds();
        let buffer = std::mem::take(&mut self.spare);
        let mut reply = Reply::new(buffer, self.settings.response_bytes_max);
        let mut effects = Effects::default();
        match Incoming::parse(text, bounds) {
            Err(error) => self.reject(&mut reply, None, &error),
            Ok(Incoming::Single(Ok(call))) => {
                self.answer(cx, origin, &call, &mut reply, &mut effects);
            }
            Ok(Incoming::Single(Err(rejected))) => {
                self.reject(&mut reply, rejected.id, &rejected.error);
            }
            Ok(Incoming::Batch(items)) => {
                reply.begin_batch();
                for item in items {
                    match request::read(item, bounds) {
                        Ok(call) => self.answer(cx, origin, &call, &mut reply, &mut effects),
                        Err(rejected) => self.reject(&mut reply, rejected.id, &rejected.error),
                    }
                }
            }
        }
        self.tell_feeds(cx);
        if effects.calls.is_empty() {
            return Some((reply.finish(), effects.named));
        }
        self.wait(cx, origin, reply, effects);
        None
    }

    fn reject(&self, reply: &mut Reply, id: Option<&RawValue>, error: &RpcError) {
        self.counts.error(error.code);
        reply.error(id, error);
    }

    fn answer(
        &mut self,
        cx: &mut Context<'_>,
        origin: Origin,
        call: &Call<'_>,
        reply: &mut Reply,
        effects: &mut Effects,
    ) {
        self.counts.request(&call.method);
        let ticket = self.calls.ticket();
        let is_full = self.calls.len() + effects.calls.len() >= self.settings.calls_max;
        let mut begins = None;
        let written = reply.call(call.id, |out| match &*call.method {
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
                    begins = Some(id);
                    return Ok(false);
                }
                effects.named.push(id);
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
        match written {
            Written::Result | Written::Nothing => {}
            Written::Error(code) => self.counts.error(code),
            Written::Hole(_) => effects.calls.push(Later { ticket, begins }),
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
    fn wait(&mut self, cx: &mut Context<'_>, origin: Origin, reply: Reply, effects: Effects) {
        let Origin { conn, via } = origin;
        let Effects { calls, named } = effects;
        let flow = self.flows.entry(conn).or_default();
        flow.calls += calls.len();
        if flow.calls >= self.settings.calls_per_connection_max && via == Via::WebSocket {
            flow.is_saturated = true;
            add(&self.counts.pauses, 1);
            cx.pause(conn);
        }
        let until = cx.now() + self.settings.call_timeout;
        self.calls.wait(conn, via, reply, calls, named, until);
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

    /// Puts an answer in its place, and sends the reply if that completes it.
    fn settle(&mut self, cx: &mut Context<'_>, ticket: Ticket, outcome: &Outcome) {
        if outcome.is_err()
            && let Some((conn, id)) = self.calls.begins(ticket)
        {
            self.subscriptions.take_back(conn, id);
            self.tell_feeds(cx);
        }
        let (code, whole) = match self.calls.fill(ticket, outcome) {
            Filled::Unknown => return,
            Filled::Partly(code) => (code, None),
            Filled::Whole(code, exchange) => (code, Some(exchange)),
        };
        if let Some(code) = code {
            self.counts.error(code);
        }
        self.counts.calls_now.set(self.calls.len() as u64);
        if let Some(exchange) = whole {
            self.deliver(cx, exchange);
        }
    }

    fn deliver(&mut self, cx: &mut Context<'_>, exchange: Exchange) {
        let Exchange { conn, via, reply, calls, named, .. } = exchange;
        if let Some(flow) = self.flows.get_mut(&conn) {
            flow.calls -= calls.len();
            if flow.is_saturated && flow.calls <= self.settings.calls_per_connection_max / 2 {
                flow.is_saturated = false;
                if !flow.is_congested {
                    cx.resume(conn);
                }
            }
        }
        let text = reply.finish();
        match via {
            Via::WebSocket => self.send(cx, conn, text, &named),
            Via::Http => {
                self.flows.remove(&conn);
                cx.answer(conn, Decision::Respond(response(text)));
            }
        }
    }

    /// Sends a reply, and then begins what it names.
    fn send(&mut self, cx: &mut Context<'_>, conn: ConnId, text: String, named: &[SubscriptionId]) {
        if !text.is_empty() {
            match cx.send(conn, &*text) {
                SendOutcome::Queued | SendOutcome::Gone => {}
                SendOutcome::Congested => {
                    self.flows.entry(conn).or_default().is_congested = true;
                    cx.pause(conn);
                }
                // Notifications may be dropped for it, but a call whose reply was is never over.
                SendOutcome::Refused => {
                    cx.close(conn, CloseCode::TRY_AGAIN_LATER, "slow consumer");
                }
            }
        }
        for &id in named {
            self.subscriptions.activate(cx, conn, id);
        }
        self.keep(text);
    }

    /// Keeps a buffer for the next reply, unless it has grown large.
    fn keep(&mut self, buffer: String) {
        const KEPT_BYTES: usize = 64 * 1024;
        if buffer.capacity() <= KEPT_BYTES {
            self.spare = buffer;
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
                for ticket in tickets {
                    self.settle(cx, ticket, &outcome);
                }
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
                for conn in self.subscriptions.subscribers() {
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
                self.settle(cx, ticket, &outcome.clone().map(|()| named));
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

/// The answer to a POST; to one of notifications alone it has no body.
fn response(text: String) -> Response {
    if text.is_empty() {
        return Response::text(204, "");
    }
    Response::new(200, "application/json", text.into_bytes())
}

/// Whether a POST says that it is JSON, or comes from no browser. A page of another origin can have a
/// browser send what it likes, unasked, as long as it does not call that JSON.
fn is_trusted(request: &handshake::Request<'_>) -> bool {
    let kind = request.header("Content-Type").and_then(|kind| kind.split(';').next());
    let is_json = kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    is_json || request.header("Origin").is_none()
}

impl<B: Backend> Service for Rpc<B> {
    fn methods(&self) -> &'static [&'static str] {
        &["POST"]
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.backend.start(cx);
    }

    fn on_request(&mut self, _: &mut Context<'_>, _: ConnId, request: &Request<'_>) -> Decision {
        if self.counts.connections_now.get() >= self.settings.connections_max as u64 {
            return Decision::Respond(Response::text(503, "as many connections as are allowed"));
        }
        Decision::Accept { protocol: request.protocol }
    }

    fn on_plain(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &PlainRequest<'_>,
    ) -> Option<Response> {
        if !is_trusted(request.http) {
            return Some(Response::text(415, "Content-Type must be application/json"));
        }
        let text = simdutf8::basic::from_utf8(request.body).unwrap_or_default();
        let (reply, _) = self.take(cx, Origin { conn, via: Via::Http }, text)?;
        Some(response(reply))
    }

    fn is_busy(&self, conn: ConnId) -> bool {
        self.flows.get(&conn).is_some_and(|flow| flow.calls > 0)
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        if self.backend.owns(conn) {
            return self.link(cx, conn, LinkEvent::Opened);
        }
        self.open.insert(conn);
        self.counts.connections_now.set(self.open.len() as u64);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let text = match message {
            Message::Text(text) => text,
            // Some clients send their calls as binary frames. What is no text is no JSON either.
            Message::Binary(bytes) => simdutf8::basic::from_utf8(bytes).unwrap_or_default(),
        };
        if self.backend.owns(conn) {
            return self.link(cx, conn, LinkEvent::Message(text));
        }
        let origin = Origin { conn, via: Via::WebSocket };
        if let Some((reply, named)) = self.take(cx, origin, text) {
            self.send(cx, conn, reply, &named);
        }
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        if let Some(flow) = self.flows.get_mut(&conn) {
            flow.is_congested = false;
            if !flow.is_saturated {
                cx.resume(conn);
            }
        }
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: CloseReason) {
        if self.backend.owns(conn) {
            return self.link(cx, conn, LinkEvent::Closed(why));
        }
        self.flows.remove(&conn);
        self.calls.forget(conn);
        self.counts.calls_now.set(self.calls.len() as u64);
        self.subscriptions.forget(conn);
        self.tell_feeds(cx);
        if self.open.remove(&conn) {
            self.counts.connections_now.set(self.open.len() as u64);
        }
    }

    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        match self.backend.next(cx) {
            Some(notice) => {
                self.announce(cx, notice);
                More::Yes
            }
            None => More::No,
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, key: u64) {
        if key != OVERDUE {
            self.backend.on_timer(cx, key);
            return self.hear(cx);
        }
        self.has_timer = false;
        while let Some(ticket) = self.calls.overdue(cx.now()) {
            add(&self.counts.timeouts, 1);
            self.settle(cx, ticket, &Err(RpcError::timed_out()));
        }
        self.watch_overdue(cx);
    }
}
