//! Answers what an operator asks: the state of all upstreams, or a drain.
//!
//! [`operator`](super::operator) checks the requests and passes them on.

use log::info;

use super::mail::{OperatorRequest, Question};
use super::service::Proxy;
use super::status::Report;
use crate::protocol::handshake::Response;
use crate::reactor::Context;

impl Proxy {
    pub(super) fn answer_operator(&mut self, cx: &mut Context<'_>, request: OperatorRequest) {
        let OperatorRequest { conn, question, replies } = request;
        let response = match question {
            Question::Status { is_json } => self.status(cx, is_json),
            Question::Drain { upstream, is_drained } => self.drain(cx, &upstream, is_drained),
        };
        // If its mailbox is full, the operator's request times out.
        let _ = replies.try_send((conn, response));
    }

    fn status(&self, cx: &mut Context<'_>, is_json: bool) -> Response {
        let report = Report::new(self, cx);
        let (media_type, text) = match is_json {
            true => ("application/json", report.json()),
            false => ("text/html; charset=utf-8", report.page()),
        };
        let mut response = Response::new(200, media_type, text.into_bytes());
        response.add("Cache-Control", "no-store");
        response.add("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
        response
    }

    fn drain(&mut self, cx: &mut Context<'_>, upstream: &str, is_drained: bool) -> Response {
        let count = self.set_drained(cx, upstream, is_drained);
        if count == 0 {
            return Response::text(404, "no upstream has this name\n");
        }
        let what = if is_drained { "drained" } else { "no longer drained" };
        info!(upstream = upstream, count = count; "{what} by an operator");
        let unit = if count == 1 { "upstream" } else { "upstreams" };
        Response::text(200, format!("{count} {unit} {what}\n"))
    }
}
