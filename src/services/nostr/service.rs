//! The relay as a service of the loop: upgrades, messages, timers and mail.
//!
//! Each message is passed to the part that handles its verb.

use std::time::Duration;

use super::client::{Client, Pause};
use super::info::{Documents, MEDIA_TYPE};
use super::jobs::{Request, VerifyJob};
use super::message::{BadMessage, ClientMessage, unparsed};
use super::metrics::{Reply, add};
use super::reconcile::SESSIONS_TIMER;
use super::refusal::Prefix;
use super::relay::Relay;
use super::reply::write_auth;
use super::settings::AuthPolicy;
use super::verb::{Verb, verb_of};
use crate::protocol::handshake::Response;
use crate::protocol::{CloseCode, Message};
use crate::reactor::{
    CloseReason, ConnId, Context, Decision, HttpRequest, More, Service, UpgradeRequest,
};

/// Longer requests are parsed on a thread.
const PARSED_INLINE_BYTES_MAX: usize = 16 * 1024;
/// The timer that looks for connections without use.
const IDLE_TIMER: u64 = 1;
/// How often it looks.
const IDLE_CHECK_MIN: Duration = Duration::from_secs(1);
const IDLE_CHECK_MAX: Duration = Duration::from_secs(60);

impl Relay {
    fn handle_text(&mut self, cx: &mut Context<'_>, conn: ConnId, text: &str) {
        let verb = verb_of(text);
        let counted = verb.map_or(Verb::ALL.len(), |verb| verb as usize);
        add(&self.counts.received[counted], 1);
        match verb {
            Some(Verb::Event) => self.take_event(cx, conn, text),
            Some(Verb::Auth) => self.take_auth(cx, conn, text),
            _ if text.len() > PARSED_INLINE_BYTES_MAX => self.parse_later(cx, conn, text),
            _ => match ClientMessage::parse(text, &self.limits) {
                // The verb has an escape: rare, and the text is parsed once more.
                Ok(ClientMessage::Event(_)) => self.take_event(cx, conn, text),
                Ok(ClientMessage::Auth(_)) => self.take_auth(cx, conn, text),
                Ok(message) => self.handle(cx, conn, message),
                Err(bad) => self.answer_bad(cx, conn, &bad),
            },
        }
    }

    /// Pauses reading until a thread has parsed the request.
    fn parse_later(&mut self, cx: &mut Context<'_>, conn: ConnId, text: &str) {
        let is_put = self.put_job(VerifyJob::Parse { conn, text: text.into() });
        match (is_put, self.clients.get_mut(conn)) {
            (true, Some(client)) => client.pause(cx, conn, Pause::Parse),
            (true, None) => {}
            (false, _) => {
                let refusal = Prefix::RateLimited.text("the relay is busy");
                self.refuse(cx, conn, &unparsed(text, &self.limits, refusal));
            }
        }
    }

    fn handle(&mut self, cx: &mut Context<'_>, conn: ConnId, message: ClientMessage<'_>) {
        self.count_good(conn);
        if let Some(request) = Request::of(message) {
            self.handle_request(cx, conn, request);
        }
    }

    pub(super) fn handle_request(&mut self, cx: &mut Context<'_>, conn: ConnId, request: Request) {
        match request {
            Request::Req { sub, filters } => self.subscribe(cx, conn, sub, filters),
            Request::Count { sub, filters } => self.count(cx, conn, sub, filters),
            Request::Close { sub } => self.close_subscription(cx, conn, &sub),
            Request::NegMsg { sub, message } => self.continue_session(cx, conn, sub, message),
            Request::NegClose { sub } => self.close_session(cx, conn, &sub),
            Request::NegOpen { sub, filter, message } => {
                self.open_session(cx, conn, sub, filter, message);
            }
        }
    }

    /// Closes connections without a subscription that have sent no event for long.
    fn close_unused(&mut self, cx: &mut Context<'_>) {
        let Some(timeout) = self.settings.idle_timeout else {
            return;
        };
        let now = cx.now();
        let is_unused = |(conn, client): &(ConnId, &Client)| {
            self.subscriptions.count(*conn) == 0
                && self.sessions.count(*conn) == 0
                && now.since(client.used) >= timeout
        };
        let unused: Vec<ConnId> =
            self.clients.iter().filter(is_unused).map(|(conn, _)| conn).collect();
        for conn in unused {
            cx.close(conn, CloseCode::GOING_AWAY, "idle");
        }
    }

    fn document(&self, request: &HttpRequest<'_>) -> Response {
        let accepts = |kind: &str| {
            request.http.headers("Accept").any(|accept| accept.to_ascii_lowercase().contains(kind))
        };
        let Documents { json, page, page_policy, .. } = &self.documents;
        let mut response = if accepts(MEDIA_TYPE) {
            Response::new(200, MEDIA_TYPE, json.to_vec())
        } else if accepts("text/html") {
            let mut response = Response::new(200, "text/html; charset=utf-8", page.to_vec());
            response.add("Content-Security-Policy", page_policy);
            response
        } else {
            return Response::text(404, "this path serves a Nostr relay by WebSocket\n");
        };
        response.add("Cache-Control", "max-age=60");
        response.add("Vary", "Accept");
        response
    }
}

/// Lets pages of every origin read the response (NIP-11).
pub(super) fn allow_every_origin(response: &mut Response, is_managed: bool) {
    response.add("Access-Control-Allow-Origin", "*");
    if is_managed {
        // `*` does not cover Authorization (Fetch, 3.2.1).
        response.add("Access-Control-Allow-Headers", "Authorization, *");
        response.add("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS, POST");
    } else {
        response.add("Access-Control-Allow-Headers", "*");
        response.add("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS");
    }
}

impl Service for Relay {
    fn methods(&self) -> &'static [&'static str] {
        match self.is_managed {
            true => &["GET", "HEAD", "OPTIONS", "POST"],
            false => &["GET", "HEAD", "OPTIONS"],
        }
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.start(cx);
        if let Some(timeout) = self.settings.idle_timeout {
            let period = (timeout / 4).clamp(IDLE_CHECK_MIN, IDLE_CHECK_MAX);
            cx.schedule_every(period, IDLE_TIMER);
        }
    }

    fn on_http(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &HttpRequest<'_>,
    ) -> Option<Response> {
        let mut response = match request.http.method() {
            "OPTIONS" => Response::text(204, ""),
            "POST" => self.take_call(cx, conn, request)?,
            _ => self.document(request),
        };
        if self.is_open_to_pages {
            allow_every_origin(&mut response, self.is_managed);
        }
        Some(response)
    }

    fn on_request(
        &mut self,
        _: &mut Context<'_>,
        _: ConnId,
        request: &UpgradeRequest<'_>,
    ) -> Decision {
        if self.lists.load().managed().blocks(request.peer.ip()) {
            return Decision::Respond(Response::text(403, "this address is blocked\n"));
        }
        Decision::Accept(request.accept())
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let Some(peer) = cx.peer(conn) else {
            return;
        };
        let mut challenge = [0; 16];
        for part in challenge.chunks_exact_mut(4) {
            part.copy_from_slice(&cx.masking_key());
        }
        let client = Client::new(peer.ip(), challenge, cx.now());
        let text = client.challenge_text();
        if self.clients.insert(cx, conn, client) && self.settings.auth != AuthPolicy::Off {
            let _ = self.send(cx, conn, Reply::Auth, |out| write_auth(out, &text));
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        match message {
            Message::Text("") => {}
            Message::Text(text) => self.handle_text(cx, conn, text),
            Message::Binary([]) => {}
            Message::Binary(_) => {
                let refusal = Prefix::Invalid.text("binary messages are not accepted");
                self.answer_bad(cx, conn, &BadMessage::Notice(refusal));
            }
        }
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        if let Some(client) = self.clients.get_mut(conn) {
            client.set_congested(false);
            client.end_slowness();
        }
        self.start_scans(cx, conn);
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, _: CloseReason) {
        self.subscriptions.forget(conn);
        if self.subscriptions.ended() > 0 {
            cx.wake();
        }
        self.sessions.forget(conn);
        self.show_sessions();
        self.events.throttle.forget(conn);
        if let Some(client) = self.clients.remove(conn) {
            self.release_scans(client.waiting());
            if !client.keys().is_empty() {
                self.counts.authenticated_now.set(self.counts.authenticated_now.get() - 1);
            }
        }
        self.show_subscriptions();
    }

    fn is_busy(&self, conn: ConnId) -> bool {
        self.events.throttle.outstanding(conn).jobs > 0 || self.calls.contains(&conn)
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, key: u64) {
        match key {
            SESSIONS_TIMER => self.expire_sessions(cx),
            _ => self.close_unused(cx),
        }
    }

    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        self.submit_events(cx);
        self.release_subscriptions(cx);
        self.handle_mail(cx)
    }
}
