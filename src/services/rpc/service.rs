//! What the loop tells the service: requests, connections, messages, mail and time.

use super::backend::{Backend, LinkEvent};
use super::calls::Via;
use super::wire::error::RpcError;
use super::wire::filling::Answer;
use super::wire::reply::Reply;
use super::{OVERDUE, Origin, Rpc};
use crate::protocol::Message;
use crate::protocol::handshake::{self, Refusal, Response};
use crate::reactor::{
    CloseReason, ConnId, Context, Decision, More, PlainRequest, Request, Service,
};
use crate::upstream::counts::add;

/// The answer to a POST; to one of notifications alone it has no body.
pub(super) fn response(mut reply: Reply) -> Response {
    if reply.is_shared() {
        return Response::new(200, "application/json", reply.take_pieces());
    }
    if reply.finish().is_empty() {
        return Response::text(204, "");
    }
    Response::new(200, "application/json", reply.into_text().into_bytes())
}

/// Media types of a POST: what JSON-RPC over HTTP registers, and what its clients send.
const MEDIA_TYPES: [&str; 3] =
    ["application/json", "application/json-rpc", "application/jsonrequest"];

/// Whether the media type of a POST is JSON. A page of another origin can make a browser send other
/// media types without a preflight request (Fetch, CORS protocol), and a body without any. So only a
/// request without Origin, which no browser sends, may have none.
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

impl<B: Backend> Service for Rpc<B> {
    fn methods(&self) -> &'static [&'static str] {
        &["POST"]
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.answers.start(cx);
        self.backend.start(cx);
    }

    fn on_request(&mut self, _: &mut Context<'_>, _: ConnId, request: &Request<'_>) -> Decision {
        if self.counts.connections_now.get() >= self.settings.connections_max as u64 {
            return Decision::Refuse(Refusal::RouteFull);
        }
        Decision::Accept { protocol: request.protocol }
    }

    fn on_plain(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &PlainRequest<'_>,
    ) -> Option<Response> {
        if !is_json(request.http) {
            return Some(Response::text(415, "Content-Type must be application/json"));
        }
        let text = simdutf8::basic::from_utf8(request.body).unwrap_or_default();
        let origin = Origin { conn, via: Via::Http };
        let mut reply = self.blank();
        self.take(cx, origin, text, &mut reply);
        if reply.holes() == 0 {
            return Some(response(reply));
        }
        self.wait(cx, origin, reply);
        None
    }

    fn is_busy(&self, conn: ConnId) -> bool {
        // What clients wait for comes by way of the backend's own connections.
        if self.backend.owns(conn) {
            return self.calls.len() > 0;
        }
        self.flows.get(conn).is_some_and(|flow| flow.calls > 0)
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
        let mut reply = self.blank();
        self.take(cx, origin, text, &mut reply);
        if reply.holes() == 0 {
            self.send(cx, conn, reply);
        } else {
            self.wait(cx, origin, reply);
        }
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        if let Some(flow) = self.flows.get_mut(conn) {
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
        let flow = self.flows.leave(conn);
        self.calls.forget(&flow.exchanges);
        self.counts.calls_now.set(self.calls.len() as u64);
        self.subscriptions.forget(conn);
        self.tell_feeds(cx);
        if self.open.remove(&conn) {
            self.counts.connections_now.set(self.open.len() as u64);
        }
    }

    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        // One of each, so that neither waits for all of the other.
        let has_answered = self.answer_next(cx);
        let notice = self.backend.next(cx);
        let has_more = has_answered || notice.is_some();
        if let Some(notice) = notice {
            self.announce(cx, notice);
        }
        if has_more { More::Yes } else { More::No }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, key: u64) {
        if key != OVERDUE {
            self.backend.on_timer(cx, key);
            return self.hear(cx);
        }
        self.has_timer = false;
        while let Some(ticket) = self.calls.overdue(cx.now()) {
            add(&self.counts.timeouts, 1);
            self.settle(cx, ticket, &Answer::Own(Err(RpcError::timed_out())));
        }
        self.watch_overdue(cx);
    }
}
