//! What operators ask a running proxy by HTTP: `GET /status`, `POST /drain` and `POST /undrain`.
//!
//! [`ProxyOperator`] is a service of its own, for an address that only operators reach. It checks a
//! request and passes it to the proxy by mail, since only the proxy has its pools.

use std::borrow::Cow;

use super::mail::{OperatorRequest, ProxyMail, Question, Reply};
use crate::protocol::Message;
use crate::protocol::handshake::{Request, Response};
use crate::protocol::http::check_sender;
use crate::reactor::{
    ConnId, Context, Decision, HttpRequest, MailReceiver, MailSender, More, Service, UpgradeRequest,
};

/// The path of the state of all pools and upstreams: a page, or JSON with `?format=json`.
pub const STATUS: &str = "/status";
/// `POST /drain?upstream=NAME`: the upstream gets no new requests.
pub const DRAIN: &str = "/drain";
/// `POST /undrain?upstream=NAME` ends that.
pub const UNDRAIN: &str = "/undrain";

/// The service of [`STATUS`], [`DRAIN`] and [`UNDRAIN`]. Its routes belong in the
/// [listener group](field@crate::reactor::settings::RouteSettings::listener_group) of an address
/// that only operators reach.
#[derive(Debug)]
pub struct ProxyOperator {
    proxy: MailSender<ProxyMail>,
    /// The mailbox of this service: `None` before the start.
    replies: Option<(MailSender<Reply>, MailReceiver<Reply>)>,
}

/// Replies that wait for this service; further requests get 503.
const REPLIES_MAX: usize = 64;

impl ProxyOperator {
    /// A service for the proxy that has this mailbox.
    pub fn new(proxy: MailSender<ProxyMail>) -> ProxyOperator {
        ProxyOperator { proxy, replies: None }
    }

    fn pass_on(&self, conn: ConnId, question: Question) -> Option<Response> {
        let sent = self.replies.as_ref().is_some_and(|(replies, _)| {
            let request = OperatorRequest { conn, question, replies: replies.clone() };
            self.proxy.try_send(request.into()).is_ok()
        });
        (!sent).then(|| Response::text(503, "the proxy is busy\n"))
    }
}

impl Service for ProxyOperator {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.replies = Some(cx.mailbox(REPLIES_MAX));
    }

    fn methods(&self) -> &'static [&'static str] {
        &["GET", "HEAD", "POST"]
    }

    fn on_http(
        &mut self,
        _: &mut Context<'_>,
        conn: ConnId,
        request: &HttpRequest<'_>,
    ) -> Option<Response> {
        match question(request.http) {
            Ok(question) => self.pass_on(conn, question),
            Err(response) => Some(response),
        }
    }

    fn on_request(&mut self, _: &mut Context<'_>, _: ConnId, _: &UpgradeRequest<'_>) -> Decision {
        Decision::Respond(Response::text(404, "this path does not serve WebSocket\n"))
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        match self.replies.as_ref().map(|(_, replies)| replies.try_recv()) {
            Some(Ok((conn, response))) => {
                cx.respond(conn, response);
                More::Yes
            }
            _ => More::No,
        }
    }
}

/// What a request asks, or the response that refuses it.
fn question(request: &Request<'_>) -> Result<Question, Response> {
    let (is_post, path) = (request.method() == "POST", request.path());
    if path == STATUS && !is_post {
        let is_json = match request.query_value("format").as_deref() {
            None | Some("html") => false,
            Some("json") => true,
            Some(_) => return Err(Response::text(400, "format must be json or html\n")),
        };
        return Ok(Question::Status { is_json });
    }
    if path == STATUS || !is_post {
        return Err(other_method(if path == STATUS { "GET, HEAD" } else { "POST" }));
    }
    check_sender(request).map_err(|why| Response::text(403, why))?;
    let upstream = request.query_value("upstream").map(Cow::into_owned).unwrap_or_default();
    if upstream.is_empty() {
        let usage = "?upstream=NAME is missing: a host:port, or a name as in /status\n";
        return Err(Response::text(400, usage));
    }
    Ok(Question::Drain { upstream, is_drained: path == DRAIN })
}

fn other_method(allowed: &str) -> Response {
    let mut response = Response::text(405, "method not allowed\n");
    response.add("Allow", allowed);
    response
}
