//! An upstream behind a WebSocket: one connection on the loop, kept as long as the gateway is there.
//!
//! Carries requests, and the upstream's own subscriptions where news are wanted. The addresses of its name
//! are tried in turn. What a lost connection means for requests under way is not decided here.

use std::time::Duration;

use super::Mail;
use super::calls::Send;
use crate::protocol::CloseCode;
use crate::reactor::{CloseReason, ConnId, Context, MailSender, RouteId, Time};
use crate::services::rpc::wire::answer::{Malformed, Outcome};
use crate::services::rpc::wire::upstream_request::request;
use crate::upstream::backoff::Backoff;
use crate::upstream::link::Link;
use crate::upstream::resolve::Addresses;
use crate::upstream::tls::UpstreamTls;
use crate::upstream::url::UpstreamUrl;

/// Ids of requests of the socket's own; those of calls begin behind them.
pub(super) const HEADS_ID: u64 = 1;
const UNSUBSCRIBE_ID: u64 = 2;
/// The pauses between attempts to connect.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Messages in a row that are no JSON-RPC answer until the connection is considered broken.
const DROPPED_MAX: u32 = 64;

/// What the upstream was asked to push.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Subscription {
    #[default]
    None,
    Asked,
    /// Under this id, as JSON.
    Held(String),
    /// The upstream does not do that.
    Refused,
}

/// One upstream's connection.
#[derive(Debug)]
pub(super) struct Socket {
    upstream: usize,
    /// The redacted URL.
    name: String,
    mail: MailSender<Mail>,
    pub(super) link: Link,
    pub(super) heads: Subscription,
    /// Messages in a row that were no JSON-RPC answer.
    dropped: u32,
}

impl Socket {
    pub(super) fn new(
        upstream: usize,
        url: &UpstreamUrl,
        tls: Option<UpstreamTls>,
        mail: MailSender<Mail>,
    ) -> Socket {
        let backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
        let link = Link::new(url.host_and_port(), url.request().clone(), tls, backoff);
        let (name, heads, dropped) = (url.to_string(), Subscription::None, 0);
        Socket { upstream, name, mail, link, heads, dropped }
    }

    /// Begins to connect, if that is due.
    pub(super) fn wake(&mut self, now: Time) {
        let (mail, upstream) = (self.mail.clone(), self.upstream);
        let deliver = move |addresses| {
            // The loop is gone when it does not take mail.
            let _ = mail.send(Mail::Resolved { upstream, addresses });
        };
        if let Err(error) = self.link.look_up(now, deliver) {
            log::error!("no thread to resolve {}: {error}", self.name);
        }
    }

    /// The host has these addresses, or none; whether a connection is under way.
    pub(super) fn resolved(
        &mut self,
        cx: &mut Context<'_>,
        route: RouteId,
        addresses: Addresses,
    ) -> bool {
        let is_connecting = self.link.resolved(cx, route, addresses).is_some();
        if !is_connecting {
            log::warn!("upstream {} cannot be connected to", self.name);
        }
        is_connecting
    }

    pub(super) fn opened(&mut self, conn: ConnId) {
        log::info!("upstream {} is connected", self.name);
        self.link.opened(conn);
        self.dropped = 0;
    }

    /// An answer to a call has come: the connection works.
    pub(super) fn heard(&mut self) {
        self.link.succeeded();
        self.dropped = 0;
    }

    /// The answer to the request for heads has come.
    pub(super) fn subscribed(&mut self, outcome: Result<Outcome, Malformed>) {
        if self.heads == Subscription::Asked {
            self.heads = match outcome {
                Ok(Ok(id)) => Subscription::Held(id.get().to_owned()),
                Ok(Err(_)) | Err(_) => Subscription::Refused,
            };
        }
    }

    /// Drops a text that is no JSON-RPC answer. After too many of them in a row the connection is closed.
    pub(super) fn drop_text(&mut self, cx: &mut Context<'_>) {
        let Some(conn) = self.link.conn() else {
            return;
        };
        if self.dropped == 0 && cx.may_log(log::Level::Warn, "upstream_text") {
            log::warn!("upstream {}: a message that is no JSON-RPC answer is dropped", self.name);
        }
        self.dropped += 1;
        if self.dropped == DROPPED_MAX {
            log::warn!("upstream {}: no JSON-RPC answer in {DROPPED_MAX} messages", self.name);
            cx.close(conn, CloseCode::PROTOCOL_ERROR, "not JSON-RPC");
        }
    }

    /// The connection has ended; whether the next address is tried.
    pub(super) fn closed(
        &mut self,
        cx: &mut Context<'_>,
        route: RouteId,
        why: CloseReason,
    ) -> bool {
        if self.link.conn().is_some() {
            log::warn!("upstream {} is lost: {why}", self.name);
        } else if self.link.has_untried() {
            log::debug!("upstream {}: the next address is tried after: {why}", self.name);
        } else {
            log::warn!("upstream {} cannot be connected to: {why}", self.name);
        }
        self.heads = Subscription::None;
        self.link.closed(cx, route).is_some()
    }

    /// Sends a request; whether it is on its way.
    pub(super) fn send(&self, cx: &mut Context<'_>, send: &Send) -> bool {
        self.link.send(cx, &send.to_json())
    }

    /// Asks for heads to be pushed, or for that to end, unless that is so already.
    pub(super) fn want_heads(&mut self, cx: &mut Context<'_>, wanted: bool) {
        match (&self.heads, wanted) {
            (Subscription::None, true) => {
                let request = request(HEADS_ID, "eth_subscribe", r#"["newHeads"]"#);
                if self.link.send(cx, &request) {
                    self.heads = Subscription::Asked;
                }
            }
            (Subscription::Held(id), false) => {
                let request = request(UNSUBSCRIBE_ID, "eth_unsubscribe", &format!("[{id}]"));
                // If it cannot be said, the connection is ending, and the subscription with it.
                self.link.send(cx, &request);
                self.heads = Subscription::None;
            }
            _ => {}
        }
    }
}
