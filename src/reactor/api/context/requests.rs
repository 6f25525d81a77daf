//! Decisions on requests that a service has deferred, and responses in parts.

use super::Context;
use crate::protocol::handshake::{Accept, Refusal, Response};
use crate::reactor::api::id::ConnId;
use crate::reactor::api::outcome::{Decision, SendOutcome};

impl Context<'_> {
    /// Accepts an upgrade request that was deferred: one for which
    /// [`on_request`](crate::reactor::Service::on_request) returned [`Decision::Defer`]. The handshake
    /// is completed in the mail phase, which calls [`on_open`](crate::reactor::Service::on_open).
    ///
    /// The first decision on a request counts; later ones change nothing, and neither does one on a
    /// request whose client has gone. A deferred HTTP request has no upgrade to accept: its client gets
    /// 500.
    pub fn accept(&mut self, conn: ConnId, accept: Accept) {
        self.decide(conn, Decision::Accept(accept));
    }

    /// Responds to a request that was deferred: an HTTP request for which
    /// [`on_http`](crate::reactor::Service::on_http) returned `None`, or an upgrade request, whose
    /// connection is then closed. The first decision counts, as for [`accept`](Context::accept).
    pub fn respond(&mut self, conn: ConnId, response: Response) {
        self.decide(conn, Decision::Respond(response));
    }

    /// Refuses a request that was deferred, of either kind: the refusal is sent, counted and logged by
    /// its reason, and the connection is closed. The first decision counts, as for
    /// [`accept`](Context::accept).
    pub fn refuse(&mut self, conn: ConnId, refusal: Refusal) {
        self.decide(conn, Decision::Refuse(refusal));
    }

    /// Starts a response whose body is sent in parts, to an HTTP request for which
    /// [`on_http`](crate::reactor::Service::on_http) has returned `None`. The body of `response` itself
    /// is not sent. [`send_part`](Context::send_part) follows for each part, then
    /// [`end_response`](Context::end_response), after which the connection is closed. To break the
    /// response off, [abort](Context::abort) the connection: without the last chunk (RFC 9112, 7.1) its
    /// client knows that the body is not complete.
    ///
    /// False: no part is wanted. The client has gone or was answered already, or its response has no
    /// parts: the request was a HEAD, or in HTTP/1.0, whose clients get 505.
    ///
    /// A service that has made the whole body at once uses [`respond`](Context::respond).
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use weir::protocol::Message;
    /// use weir::protocol::handshake::Response;
    /// use weir::reactor::{ConnId, Context, HttpRequest, More, SendOutcome, Service};
    ///
    /// /// Counts to a million, as fast as the client reads.
    /// #[derive(Default)]
    /// struct Numbers {
    ///     started: Vec<ConnId>,
    ///     next: HashMap<ConnId, u32>,
    /// }
    ///
    /// impl Numbers {
    ///     fn send(&mut self, cx: &mut Context<'_>, conn: ConnId) {
    ///         while let Some(next) = self.next.get_mut(&conn) {
    ///             if *next == 1_000_000 {
    ///                 self.next.remove(&conn);
    ///                 return cx.end_response(conn);
    ///             }
    ///             *next += 1;
    ///             if cx.send_part(conn, format!("{next}\n").as_bytes()) != SendOutcome::Queued {
    ///                 return;
    ///             }
    ///         }
    ///     }
    /// }
    ///
    /// impl Service for Numbers {
    ///     fn on_http(
    ///         &mut self,
    ///         cx: &mut Context<'_>,
    ///         conn: ConnId,
    ///         _: &HttpRequest<'_>,
    ///     ) -> Option<Response> {
    ///         self.started.push(conn);
    ///         cx.wake();
    ///         None
    ///     }
    ///     fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
    ///         let Some(conn) = self.started.pop() else {
    ///             return More::No;
    ///         };
    ///         if cx.begin_response(conn, Response::text(200, "")) {
    ///             self.next.insert(conn, 0);
    ///             self.send(cx, conn);
    ///         }
    ///         More::Yes
    ///     }
    ///     fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
    ///         self.send(cx, conn);
    ///     }
    ///     fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
    /// }
    /// ```
    pub fn begin_response(&mut self, conn: ConnId, response: Response) -> bool {
        self.owns(conn) && self.core.begin_parts(conn, response)
    }

    /// Queues a part of the body of a response that [`begin_response`](Context::begin_response) has
    /// started. After [`SendOutcome::Congested`] and [`SendOutcome::Full`]
    /// [`on_drain`](crate::reactor::Service::on_drain) follows when the client has read. A client that
    /// reads nothing for [`write_timeout`](field@crate::reactor::settings::RouteSettings::write_timeout)
    /// is dropped, and so is a connection for which no part comes for
    /// [`HTTP_ANSWER_TIMEOUT`](crate::reactor::budget::HTTP_ANSWER_TIMEOUT); `outbox_grace` does not
    /// apply.
    pub fn send_part(&mut self, conn: ConnId, part: &[u8]) -> SendOutcome {
        if !self.owns(conn) {
            return SendOutcome::Gone;
        }
        self.core.send_part(conn, part)
    }

    /// Ends a response that [`begin_response`](Context::begin_response) has started.
    /// [`on_close`](crate::reactor::Service::on_close) does not follow.
    pub fn end_response(&mut self, conn: ConnId) {
        if self.owns(conn) {
            self.core.end_response(conn);
        }
    }

    fn decide(&mut self, conn: ConnId, decision: Decision) {
        if self.owns(conn) {
            self.core.answer(conn, decision);
        }
    }
}
