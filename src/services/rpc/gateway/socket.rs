//! An upstream behind a WebSocket: one connection on the loop, kept as long as the gateway is there.
//!
//! Carries requests, and the upstream's own subscriptions where news are wanted. A name is resolved on
//! a thread. What a lost connection means for requests under way is not decided here.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::thread;
use std::time::Duration;

use super::super::Outcome;
use super::Mail;
use super::backoff::Backoff;
use super::calls::Send;
use super::failure::Failure;
use super::url::UpstreamUrl;
use crate::protocol::CloseCode;
use crate::reactor::{
    CloseReason, ConnId, Context, MailSender, RouteId, SendOutcome, Time, TlsConnector,
};

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
        let (mail, upstream, place) = (self.mail.clone(), self.upstream, self.url.place());
        let resolve = move || {
            let found = place.to_socket_addrs().ok().and_then(|mut all| all.next());
            // The loop is gone when it does not take mail.
            let _ = mail.send(Mail::Resolved { upstream, address: found });
        };
        match thread::Builder::new().name("resolver".to_owned()).spawn(resolve) {
            Ok(_) => self.state = State::Resolving,
            Err(error) => {
                log::error!("no thread to resolve {}: {error}", self.url);
                self.rest(now);
            }
        }
    }

    /// The name is resolved, or could not be; whether a connection was begun.
    pub(super) fn connect(
        &mut self,
        cx: &mut Context<'_>,
        route: RouteId,
        address: Option<SocketAddr>,
    ) -> bool {
        let begun = address.zip(self.url.request()).and_then(|(address, request)| {
            let begun = match &self.tls {
                None => cx.connect(route, address, &request),
                Some(tls) => cx.connect_secure(tls, None, route, address, &request),
            };
            begun.inspect_err(|error| log::debug!("{}: {error}", self.url)).ok()
        });
        match begun {
            Some(conn) => self.state = State::Connecting(conn),
            None => {
                log::warn!("upstream {} cannot be connected to", self.url);
                self.rest(cx.now());
            }
        }
        begun.is_some()
    }

    pub(super) fn opened(&mut self, conn: ConnId) {
        log::info!("upstream {} is connected", self.url);
        self.state = State::Open(conn);
        self.dropped = 0;
    }

    /// An answer to a call has come: the connection works.
    pub(super) fn heard(&mut self) {
        self.backoff.succeed();
        self.dropped = 0;
    }

    /// The answer to the request for heads has come.
    pub(super) fn subscribed(&mut self, outcome: Result<Outcome, Failure>) {
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
        if self.dropped == 0 {
            log::warn!("upstream {}: a message that is no JSON-RPC answer is dropped", self.url);
        }
        self.dropped += 1;
        if self.dropped == DROPPED_MAX {
            log::warn!("upstream {}: no JSON-RPC answer in {DROPPED_MAX} messages", self.url);
            cx.close(conn, CloseCode::PROTOCOL_ERROR, "not JSON-RPC");
        }
    }

    pub(super) fn closed(&mut self, why: CloseReason, now: Time) {
        match self.state {
            State::Open(_) => log::warn!("upstream {} is lost: {why}", self.url),
            _ => log::warn!("upstream {} cannot be connected to: {why}", self.url),
        }
        self.rest(now);
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
