//! What the loop tells the service: requests, connections, messages, mail and time.

use super::backend::{Backend, LinkEvent};
use super::calls::Via;
use super::counts::add;
use super::reply::Reply;
use super::{OVERDUE, Origin, Rpc, RpcError};
use crate::protocol::Message;
use crate::protocol::handshake::{self, Response};
use crate::reactor::{
    CloseReason, ConnId, Context, Decision, More, PlainRequest, Request, Service,
};

/// The answer to a POST; to one of notifications alone it has no body.
pub(super) fn response(mut reply: Reply) -> Response {
    if reply.finish().is_empty() {
        return Response::text(204, "");
    }
    Response::new(200, "application/json", reply.into_text().into_bytes())
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
