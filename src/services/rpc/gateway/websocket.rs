//! The WebSocket client of one upstream: sends requests, and subscribes to new heads if they are
//! wanted.
//!
//! [`Link`] connects and reconnects. The gateway decides what a lost connection means for pending
//! requests.

use std::time::Duration;

use serde_json::value::RawValue;

use super::mail::Mail;
use super::requests::Attempt;
use crate::protocol::CloseCode;
use crate::reactor::{CloseReason, ConnId, Context, MailSender, RouteId, Time};
use crate::services::rpc::wire::answer::{Malformed, Outcome};
use crate::services::rpc::wire::upstream_request::request;
use crate::upstream::backoff::Backoff;
use crate::upstream::link::Link;
use crate::upstream::resolve::Addresses;
use crate::upstream::tls::UpstreamTls;
use crate::upstream::url::UpstreamUrl;

/// Ids of this client's own requests. The ids of attempts are higher.
pub(super) const HEADS_ID: u64 = 1;
const UNSUBSCRIBE_ID: u64 = 2;
/// Bounds of the pauses between attempts to connect.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// After this many messages in a row that are not JSON-RPC, the connection is closed.
const DROPPED_MAX: u32 = 64;

/// The subscription to new heads at an upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum HeadSubscription {
    #[default]
    None,
    /// The request is sent.
    Requested,
    /// Active under this id, as JSON.
    Active(String),
    /// The upstream does not offer it.
    Refused,
}

impl HeadSubscription {
    /// Whether this is the id of the active subscription.
    pub(super) fn is_active(&self, id: &RawValue) -> bool {
        matches!(self, HeadSubscription::Active(active) if active == id.get())
    }
}

/// The WebSocket client of one upstream.
#[derive(Debug)]
pub(super) struct WebSocketClient {
    upstream: usize,
    /// The redacted URL.
    name: String,
    mail: MailSender<Mail>,
    pub(super) link: Link,
    pub(super) heads: HeadSubscription,
    /// Messages in a row that were not JSON-RPC.
    dropped: u32,
}

impl WebSocketClient {
    pub(super) fn new(
        upstream: usize,
        url: &UpstreamUrl,
        tls: Option<UpstreamTls>,
        mail: MailSender<Mail>,
    ) -> WebSocketClient {
        let backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
        let link = Link::new(url.host_and_port(), url.request().clone(), tls, backoff);
        let (name, heads, dropped) = (url.to_string(), HeadSubscription::None, 0);
        WebSocketClient { upstream, name, mail, link, heads, dropped }
    }

    /// Looks the host up, if that is due.
    pub(super) fn look_up(&mut self, now: Time) {
        if now < self.link.due() {
            return;
        }
        let (mail, upstream) = (self.mail.clone(), self.upstream);
        let deliver = move |addresses| {
            // The mailbox is closed when the loop has ended.
            let _ = mail.send(Mail::Resolved { upstream, addresses });
        };
        if let Err(error) = self.link.look_up(now, deliver) {
            log::error!("cannot start a thread to resolve {}: {error}", self.name);
        }
    }

    /// Connects to one of these addresses. `false`: it cannot.
    pub(super) fn resolved(
        &mut self,
        cx: &mut Context<'_>,
        route: RouteId,
        addresses: Addresses,
    ) -> bool {
        let is_connecting = self.link.resolved(cx, route, addresses).is_some();
        if !is_connecting {
            log::warn!("upstream {} cannot be reached", self.name);
        }
        is_connecting
    }

    pub(super) fn opened(&mut self, conn: ConnId) {
        log::info!("upstream {} is connected", self.name);
        self.link.opened(conn);
        self.dropped = 0;
    }

    /// The upstream has answered a request: the connection works.
    pub(super) fn on_answer(&mut self) {
        self.link.succeeded();
        self.dropped = 0;
    }

    /// The upstream has answered the subscription to new heads.
    pub(super) fn on_subscribed(&mut self, outcome: Result<Outcome, Malformed>) {
        if self.heads == HeadSubscription::Requested {
            self.heads = match outcome {
                Ok(Ok(id)) => HeadSubscription::Active(id.get().to_owned()),
                Ok(Err(_)) | Err(_) => HeadSubscription::Refused,
            };
        }
    }

    /// Drops a text that is not JSON-RPC. After too many of them in a row it closes the connection.
    pub(super) fn drop_text(&mut self, cx: &mut Context<'_>) {
        let Some(conn) = self.link.conn() else {
            return;
        };
        if self.dropped == 0 && cx.may_log(log::Level::Warn, "upstream_text") {
            log::warn!("upstream {}: dropped a message that is not JSON-RPC", self.name);
        }
        self.dropped += 1;
        if self.dropped == DROPPED_MAX {
            let name = &self.name;
            log::warn!(
                "upstream {name}: closing after {DROPPED_MAX} messages that are not JSON-RPC"
            );
            cx.close(conn, CloseCode::PROTOCOL_ERROR, "not JSON-RPC");
        }
    }

    /// The connection has ended. `false`: it is not connecting to another address.
    pub(super) fn closed(
        &mut self,
        cx: &mut Context<'_>,
        route: RouteId,
        why: CloseReason,
    ) -> bool {
        if self.link.conn().is_some() {
            log::warn!("upstream {}: connection lost: {why}", self.name);
        } else if self.link.has_untried() {
            log::debug!("upstream {}: trying the next address after: {why}", self.name);
        } else {
            log::warn!("upstream {} cannot be reached: {why}", self.name);
        }
        self.heads = HeadSubscription::None;
        self.link.closed(cx, route).is_some()
    }

    /// Sends a request. `false`: the connection is not open, or has no room.
    pub(super) fn send(&self, cx: &mut Context<'_>, attempt: &Attempt) -> bool {
        self.link.send(cx, &attempt.to_json())
    }

    /// Subscribes to new heads, or unsubscribes, if necessary.
    pub(super) fn set_heads_wanted(&mut self, cx: &mut Context<'_>, is_wanted: bool) {
        match (&self.heads, is_wanted) {
            (HeadSubscription::None, true) => {
                let request = request(HEADS_ID, "eth_subscribe", r#"["newHeads"]"#);
                if self.link.send(cx, &request) {
                    self.heads = HeadSubscription::Requested;
                }
            }
            (HeadSubscription::Active(id), false) => {
                let request = request(UNSUBSCRIBE_ID, "eth_unsubscribe", &format!("[{id}]"));
                // If it cannot be sent, the connection is ending, and the subscription with it.
                self.link.send(cx, &request);
                self.heads = HeadSubscription::None;
            }
            _ => {}
        }
    }
}
