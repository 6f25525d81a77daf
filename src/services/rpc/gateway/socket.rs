//! An upstream behind a WebSocket: one connection on the loop, kept as long as the gateway is there.
//!
//! Carries requests, and the upstream's own subscriptions where news are wanted. The addresses of its name
//! are tried in turn. What a lost connection means for requests under way is not decided here.

use std::time::Duration;

use super::Mail;
use super::calls::Send;
use crate::protocol::CloseCode;
use crate::reactor::{
    CloseReason, ConnId, Context, MailSender, RouteId, SendOutcome, Time, TlsConnector,
};
use crate::services::rpc::wire::answer::{Malformed, Outcome};
use crate::upstream::backoff::Backoff;
use crate::upstream::resolve::{Addresses, look_up};
use crate::upstream::url::UpstreamUrl;

/// Ids of requests of the socket's own; those of calls begin behind them.
pub(super) const HEADS_ID: u64 = 1;
const UNSUBSCRIBE_ID: u64 = 2;
/// The pauses between attempts to connect.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Messages in a row that are no JSON-RPC answer until the connection is considered broken.
const DROPPED_MAX: u32 = 64;

/// Where the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is tried again then.
    Resting {
        until: Time,
    },
    Resolving,
    Connecting(ConnId),
    Open(ConnId),
}

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
    url: UpstreamUrl,
    tls: Option<TlsConnector>,
    mail: MailSender<Mail>,
    state: State,
    backoff: Backoff,
    /// Addresses that were not tried since the last lookup.
    untried: Addresses,
    pub(super) heads: Subscription,
    /// Messages in a row that were no JSON-RPC answer.
    dropped: u32,
}

impl Socket {
    pub(super) fn new(
        upstream: usize,
        url: &UpstreamUrl,
        tls: Option<TlsConnector>,
        mail: MailSender<Mail>,
    ) -> Socket {
        Socket {
            upstream,
            url: url.clone(),
            tls,
            mail,
            state: State::Resting { until: Time::ZERO },
            backoff: Backoff::new(PAUSE_MIN, PAUSE_MAX),
            untried: Addresses::default(),
            heads: Subscription::None,
            dropped: 0,
        }
    }

    /// Whether this is its connection.
    pub(super) fn owns(&self, conn: ConnId) -> bool {
        matches!(self.state, State::Connecting(own) | State::Open(own) if own == conn)
    }

    /// When the connection is tried next.
    pub(super) fn due(&self) -> Time {
        match self.state {
            State::Resting { until } => until,
            State::Resolving | State::Connecting(_) | State::Open(_) => Time::MAX,
        }
    }

    /// Begins to connect, if that is due.
    pub(super) fn wake(&mut self, now: Time) {
        if now < self.due() {
            return;
        }
        let (mail, upstream) = (self.mail.clone(), self.upstream);
        let deliver = move |addresses| {
            // The loop is gone when it does not take mail.
            let _ = mail.send(Mail::Resolved { upstream, addresses });
        };
        match look_up(self.url.place(), deliver) {
            Ok(()) => self.state = State::Resolving,
            Err(error) => {
                log::error!("no thread to resolve {}: {error}", self.url);
                self.rest(now);
            }
        }
    }

    /// The host has these addresses, or none; whether a connection is under way.
    pub(super) fn resolved(
        &mut self,
        cx: &mut Context<'_>,
        route: RouteId,
        addresses: Addresses,
    ) -> bool {
        self.untried = addresses;
        let is_connecting = self.connect(cx, route);
        if !is_connecting {
            log::warn!("upstream {} cannot be connected to", self.url);
        }
        is_connecting
    }

    /// Connects to the next address; after the last one, pauses until the next lookup.
    fn connect(&mut self, cx: &mut Context<'_>, route: RouteId) -> bool {
        let Some(request) = self.url.request() else {
            self.rest(cx.now());
            return false;
        };
        let tls = &self.tls;
        let conn = self.untried.connect(|address| match tls {
            None => cx.connect(route, address, &request),
            Some(tls) => cx.connect_secure(tls, None, route, address, &request),
        });
        match conn {
            Some(conn) => self.state = State::Connecting(conn),
            None => self.rest(cx.now()),
        }
        conn.is_some()
    }

    pub(super) fn opened(&mut self, conn: ConnId) {
        log::info!("upstream {} is connected", self.url);
        self.state = State::Open(conn);
        self.untried = Addresses::default();
        self.dropped = 0;
    }

    /// An answer to a call has come: the connection works.
    pub(super) fn heard(&mut self) {
        self.backoff.succeed();
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
        let State::Open(conn) = self.state else {
            return;
        };
        if self.dropped == 0 && cx.may_log(log::Level::Warn, "upstream_text") {
            log::warn!("upstream {}: a message that is no JSON-RPC answer is dropped", self.url);
        }
        self.dropped += 1;
        if self.dropped == DROPPED_MAX {
            log::warn!("upstream {}: no JSON-RPC answer in {DROPPED_MAX} messages", self.url);
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
        match self.state {
            State::Open(_) => log::warn!("upstream {} is lost: {why}", self.url),
            _ if self.untried.is_empty() => {
                log::warn!("upstream {} cannot be connected to: {why}", self.url);
            }
            _ => log::debug!("upstream {}: the next address is tried after: {why}", self.url),
        }
        self.connect(cx, route)
    }

    fn rest(&mut self, now: Time) {
        self.state = State::Resting { until: now + self.backoff.fail() };
        self.heads = Subscription::None;
    }

    /// Sends a request; whether it is on its way.
    pub(super) fn send(&self, cx: &mut Context<'_>, send: &Send) -> bool {
        self.say(cx, &send.to_json())
    }

    /// Asks for heads to be pushed, or for that to end, unless that is so already.
    pub(super) fn want_heads(&mut self, cx: &mut Context<'_>, wanted: bool) {
        match (&self.heads, wanted) {
            (Subscription::None, true) => {
                let request = format!(
                    r#"{{"jsonrpc":"2.0","id":{HEADS_ID},"method":"eth_subscribe","params":["newHeads"]}}"#
                );
                if self.say(cx, &request) {
                    self.heads = Subscription::Asked;
                }
            }
            (Subscription::Held(id), false) => {
                let request = format!(
                    r#"{{"jsonrpc":"2.0","id":{UNSUBSCRIBE_ID},"method":"eth_unsubscribe","params":[{id}]}}"#
                );
                // If it cannot be said, the connection is ending, and the subscription with it.
                self.say(cx, &request);
                self.heads = Subscription::None;
            }
            _ => {}
        }
    }

    fn say(&self, cx: &mut Context<'_>, text: &str) -> bool {
        match self.state {
            State::Open(conn) => {
                matches!(cx.send(conn, text), SendOutcome::Queued | SendOutcome::Congested)
            }
            State::Resting { .. } | State::Resolving | State::Connecting(_) => false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::protocol::Message;
    use crate::reactor::Service;
    use crate::upstream::resolve::fixture::await_open;

    /// A socket as a service of its own.
    struct Alone {
        socket: Option<Socket>,
        addresses: Option<Addresses>,
        route: Rc<Cell<RouteId>>,
    }

    impl Service for Alone {
        fn on_start(&mut self, cx: &mut Context<'_>) {
            let url = "ws://host.invalid/".parse().unwrap();
            let (sender, _) = cx.mailbox(1);
            let socket = self.socket.insert(Socket::new(0, &url, None, sender));
            let addresses = self.addresses.take().unwrap();
            assert!(socket.resolved(cx, self.route.get(), addresses));
        }

        fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

        fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: CloseReason) {
            let socket = self.socket.as_mut().unwrap();
            assert!(socket.owns(conn) && socket.closed(cx, self.route.get(), why));
        }
    }

    #[test]
    fn the_next_address_is_tried_when_one_refuses() {
        await_open(|addresses, route| Alone { socket: None, addresses: Some(addresses), route });
    }
}
