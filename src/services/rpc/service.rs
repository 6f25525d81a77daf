//! The service: its state, and the events of the loop that change it.

use std::rc::Rc;

use super::answer_queue::AnswerQueue;
use super::backend::{Backend, LinkEvent};
use super::counts::Counts;
use super::pending_calls::{Origin, PendingCalls, Transport};
use super::settings::RpcSettings;
use super::subscriptions::Subscriptions;
use super::wire::error::RpcError;
use super::wire::filling::CallAnswer;
use super::wire::hex::Quantity;
use super::wire::reply::Reply;
use crate::protocol::Message;
use crate::protocol::handshake::{self, Refusal, Response};
use crate::reactor::{
    CloseReason, ConnId, ConnMap, Context, Decision, HttpRequest, More, Service, Throttle,
    UpgradeRequest,
};
use crate::upstream::upstream_counts::add;

/// Initial capacity of a reply: most replies are shorter.
const REPLY_BYTES: usize = 256;
/// The timer key of calls that time out. The keys of backends are below 2^63.
const TIMEOUT_TIMER: u64 = 1 << 63;
/// Media types of a POST: the registered ones of JSON-RPC over HTTP, and those that its clients
/// send.
const MEDIA_TYPES: [&str; 3] =
    ["application/json", "application/json-rpc", "application/jsonrequest"];

/// Serves one network by JSON-RPC.
#[derive(Debug)]
pub struct Rpc<B> {
    pub(super) backend: B,
    pub(super) settings: RpcSettings,
    pub(super) subscriptions: Subscriptions,
    pub(super) pending: PendingCalls,
    pub(super) answers: AnswerQueue,
    /// Pauses reading from WebSockets with too many pending calls.
    pub(super) throttle: Throttle,
    /// The slots of the pending replies of each connection, in no order.
    pub(super) replies: ConnMap<Vec<usize>>,
    /// Open WebSockets of clients.
    open: ConnMap<()>,
    pub(super) counts: Rc<Counts>,
    /// The results of `eth_chainId` and `net_version`, as JSON.
    pub(super) chain_id: String,
    pub(super) net_version: String,
    /// Unused buffers for replies.
    pub(super) spares: Vec<String>,
    has_timer: bool,
}

impl<B: Backend> Rpc<B> {
    /// A service whose calls `backend` answers.
    pub fn new(backend: B, settings: RpcSettings) -> Rpc<B> {
        let counts = Rc::<Counts>::default();
        let (each, all) = (settings.subscriptions_per_connection_max, settings.subscriptions_max);
        let chain_id = backend.network().chain_id;
        Rpc {
            subscriptions: Subscriptions::new(each, all, Rc::clone(&counts)),
            chain_id: format!(r#""{}""#, Quantity(chain_id)),
            net_version: format!(r#""{chain_id}""#),
            throttle: Throttle::new(settings.calls_per_connection_max, usize::MAX),
            backend,
            settings,
            pending: PendingCalls::default(),
            answers: AnswerQueue::default(),
            replies: ConnMap::new(),
            open: ConnMap::new(),
            counts,
            spares: Vec::new(),
            has_timer: false,
        }
    }

    /// The backend.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The counts, shared with the source of metrics.
    pub fn counts(&self) -> Rc<Counts> {
        Rc::clone(&self.counts)
    }

    /// An empty reply.
    fn new_reply(&mut self) -> Reply {
        let buffer = self.spares.pop().unwrap_or_else(|| String::with_capacity(REPLY_BYTES));
        Reply::new(buffer, self.settings.response_bytes_max)
    }

    /// Keeps an incomplete reply, and stops reading from a connection that has too many
    /// pending calls.
    fn keep_pending(&mut self, cx: &mut Context<'_>, origin: Origin, reply: Reply) {
        let conn = origin.conn;
        if self.throttle.start(cx, conn, reply.placeholders(), 0) {
            add(&self.counts.pauses, 1);
        }
        // No client waits for the reply if the connection has ended meanwhile.
        let Some(replies) = self.replies.get_or_insert_with(cx, conn, Vec::new) else {
            return;
        };
        let until = cx.now() + self.settings.call_timeout;
        replies.push(self.pending.keep(origin, reply, until));
        self.counts.calls_now.set(self.pending.len() as u64);
        self.set_timeout_timer(cx);
    }

    fn set_timeout_timer(&mut self, cx: &mut Context<'_>) {
        if !self.has_timer
            && let Some(delay) = self.pending.next_due(cx.now())
        {
            self.has_timer = cx.schedule(delay, TIMEOUT_TIMER).is_some();
        }
    }

    /// Passes an event of one of the backend's own connections to it.
    fn on_link(&mut self, cx: &mut Context<'_>, conn: ConnId, event: LinkEvent<'_>) {
        self.backend.on_link(cx, conn, event);
        self.announce_all(cx);
    }
}

/// The answer to a POST. A POST of notifications alone gets no body.
pub(super) fn response(mut reply: Reply) -> Response {
    if reply.is_shared() {
        return Response::new(200, "application/json", reply.take_pieces());
    }
    if reply.finish().is_empty() {
        return Response::text(204, "");
    }
    Response::new(200, "application/json", reply.into_text().into_bytes())
}

/// Whether the media type of a POST is JSON. A page of another origin can make a browser send other
/// media types without a preflight request (Fetch, CORS protocol), and a body without a media type.
/// So only a request without Origin, which no browser sends, may lack one.
fn is_json(request: &handshake::Request<'_>) -> bool {
    if !request.has_header("Content-Type") {
        return !request.has_header("Origin");
    }
    let mut types = request.headers("Content-Type");
    let (Some(value), None) = (types.next(), types.next()) else {
        return false;
    };
    let media_type = value.split(';').next().unwrap_or_default().trim_ascii();
    MEDIA_TYPES.iter().any(|json| json.eq_ignore_ascii_case(media_type))
}

impl<B: Backend + 'static> Service for Rpc<B> {
    fn methods(&self) -> &'static [&'static str] {
        &["POST"]
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.backend.start(cx);
    }

    fn on_request(
        &mut self,
        _: &mut Context<'_>,
        _: ConnId,
        request: &UpgradeRequest<'_>,
    ) -> Decision {
        if self.counts.connections_now.get() >= self.settings.connections_max as u64 {
            return Decision::Refuse(Refusal::RouteFull);
        }
        Decision::Accept(request.accept())
    }

    fn on_http(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &HttpRequest<'_>,
    ) -> Option<Response> {
        if !is_json(request.http) {
            return Some(Response::text(415, "Content-Type must be application/json"));
        }
        if !cx.admit_call(conn) {
            return None;
        }
        let text = simdutf8::basic::from_utf8(request.body).unwrap_or_default();
        let origin = Origin { conn, transport: Transport::Http };
        let mut reply = self.new_reply();
        self.dispatch(cx, origin, text, &mut reply);
        if reply.placeholders() == 0 {
            return Some(response(reply));
        }
        self.keep_pending(cx, origin, reply);
        None
    }

    fn is_busy(&self, conn: ConnId) -> bool {
        // Answers that clients wait for arrive on the backend's own connections.
        if self.backend.owns(conn) {
            return self.pending.len() > 0;
        }
        self.throttle.outstanding(conn).jobs > 0
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        if self.backend.owns(conn) {
            return self.on_link(cx, conn, LinkEvent::Opened);
        }
        self.open.insert(cx, conn, ());
        self.counts.connections_now.set(self.open.len() as u64);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let text = match message {
            Message::Text(text) => text,
            // Some clients send their calls as binary frames. Bytes that are not UTF-8 are not JSON
            // either.
            Message::Binary(bytes) => simdutf8::basic::from_utf8(bytes).unwrap_or_default(),
        };
        if self.backend.owns(conn) {
            return self.on_link(cx, conn, LinkEvent::Message(text));
        }
        let origin = Origin { conn, transport: Transport::WebSocket };
        let mut reply = self.new_reply();
        self.dispatch(cx, origin, text, &mut reply);
        if reply.placeholders() == 0 {
            self.send(cx, conn, reply);
        } else {
            self.keep_pending(cx, origin, reply);
        }
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        cx.resume(conn);
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: CloseReason) {
        if self.backend.owns(conn) {
            return self.on_link(cx, conn, LinkEvent::Closed(why));
        }
        self.throttle.forget(conn);
        self.pending.forget(&self.replies.remove(conn).unwrap_or_default());
        self.counts.calls_now.set(self.pending.len() as u64);
        self.subscriptions.forget(conn);
        self.report_feeds(cx);
        if self.open.remove(conn).is_some() {
            self.counts.connections_now.set(self.open.len() as u64);
        }
    }

    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        // One answer and one notice each time: neither kind waits for all of the other.
        let has_answered = self.answer_next(cx);
        let notice = self.backend.receive(cx);
        let has_more = has_answered || notice.is_some();
        if let Some(notice) = notice {
            self.announce(cx, notice);
        }
        if has_more { More::Yes } else { More::No }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, key: u64) {
        if key != TIMEOUT_TIMER {
            self.backend.on_timer(cx, key);
            return self.announce_all(cx);
        }
        self.has_timer = false;
        while let Some(ticket) = self.pending.overdue(cx.now()) {
            add(&self.counts.timeouts, 1);
            self.settle(cx, ticket, &CallAnswer::Own(Err(RpcError::timed_out())));
        }
        self.set_timeout_timer(cx);
    }
}
