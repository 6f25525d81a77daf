//! Management calls (NIP-86) on the loop: it passes requests on, sends responses, and applies what
//! concerns connections and the information document. They are checked and made in [`manage`](super::manage).

use super::info::Documents;
use super::jobs::VerifyJob;
use super::manage::{Answer, Change, MEDIA_TYPE, ManageJob};
use super::managed::{Entry, InfoText};
use super::rates::{Client, ConnRates};
use super::refusal::Prefix;
use super::relay::Relay;
use super::service::allow_every_origin;
use crate::protocol::CloseCode;
use crate::protocol::handshake::Response;
use crate::reactor::{ConnId, Context, HttpRequest};

/// Size of a request: a call has one entry with a short reason.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Calls of all clients that are not answered.
const CALLS_MAX: usize = 16;

impl Relay {
    /// Takes a POST request. `None`: the response follows.
    pub(super) fn take_call(
        &mut self,
        cx: &Context<'_>,
        conn: ConnId,
        request: &HttpRequest<'_>,
    ) -> Option<Response> {
        let media_type =
            request.http.header("Content-Type").and_then(|value| value.split(';').next());
        if !media_type.is_some_and(|value| value.trim().eq_ignore_ascii_case(MEDIA_TYPE)) {
            let text = "POST is for the management API: application/nostr+json+rpc\n";
            return Some(Response::text(404, text));
        }
        match self.put_call(cx, conn, request) {
            Ok(()) => None,
            Err(answer) => Some(answer.into_response()),
        }
    }

    fn put_call(
        &mut self,
        cx: &Context<'_>,
        conn: ConnId,
        request: &HttpRequest<'_>,
    ) -> Result<(), Answer> {
        let HttpRequest { http, body, peer, .. } = *request;
        // Each request costs a signature: as much as an event.
        let client = Client { address: peer.ip(), keys: &[] };
        if let Err(refusal) =
            self.rates.event(&mut ConnRates::default(), client, body.len(), cx.now())
        {
            return Err(Answer::refused(&refusal));
        }
        let Some(authorization) = http.header("Authorization") else {
            let refusal = Prefix::AuthRequired.text("the header Authorization is missing");
            return Err(Answer::refused(&refusal));
        };
        if body.len() > BODY_BYTES_MAX {
            return Err(Answer::error(413, "a request has at most 16 KiB"));
        }
        let job = ManageJob {
            conn,
            authorization: authorization.into(),
            target: http.target().into(),
            body: body.into(),
        };
        if self.calls.len() >= CALLS_MAX || !self.put_job(VerifyJob::Manage(Box::new(job))) {
            return Err(Answer::error(503, "too many calls at the same time"));
        }
        self.calls.push(conn);
        Ok(())
    }

    /// Answers a call.
    pub(super) fn finish_call(&mut self, cx: &mut Context<'_>, conn: ConnId, answer: Answer) {
        self.calls.retain(|waiting| *waiting != conn);
        let mut response = answer.into_response();
        if self.is_open_to_pages {
            allow_every_origin(&mut response, true);
        }
        cx.respond(conn, response);
    }

    /// Answers a call that has changed the lists, and applies what concerns the loop.
    pub(super) fn finish_change(&mut self, cx: &mut Context<'_>, change: &Change, answer: Answer) {
        let is_done = answer.status == 200;
        self.finish_call(cx, change.conn, answer);
        for setting in change.call.settings.iter().filter(|_| is_done) {
            match setting.entry {
                Entry::BlockedAddress(_) if setting.reason.is_some() => self.close_blocked(cx),
                Entry::Text(_) => self.render_documents(),
                _ => {}
            }
        }
    }

    /// Closes the connections of blocked addresses.
    fn close_blocked(&self, cx: &mut Context<'_>) {
        let policy = self.lists.load();
        for (conn, client) in self.clients.iter() {
            if policy.managed().blocks(client.address) {
                cx.close(conn, CloseCode::POLICY, "the address is blocked");
            }
        }
    }

    /// Renders what a GET returns, with the texts that administrators have changed.
    pub(super) fn render_documents(&mut self) {
        let mut info = self.settings.info.clone();
        for (member, text) in &self.lists.load().managed().texts {
            let text = Some(text.to_string());
            match member {
                InfoText::Name => info.name = text,
                InfoText::Description => info.description = text,
                InfoText::Icon => info.icon = text,
            }
        }
        let settings = self.settings.as_ref().clone().info(info);
        self.documents = Documents::render(&settings, self.documents.message_bytes_max);
    }
}
