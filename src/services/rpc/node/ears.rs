//! The leader subscription: a WebSocket on the loop that wakes the follower thread for each new block.
//!
//! A connection that is lost is made again after a growing delay, at each address of the leader's name in
//! turn. Notifications only wake the thread; it asks for the blocks itself, so a lost or forged one cannot
//! cause a gap.

use std::sync::mpsc::SyncSender;

use log::{debug, info};

use super::{PAUSE_MAX, PAUSE_MIN};
use crate::protocol::Message;
use crate::reactor::{
    CloseReason, ConnId, Context, MailReceiver, MailSender, More, RouteId, Service,
};
use crate::upstream::backoff::Backoff;
use crate::upstream::link::Link;
use crate::upstream::resolve::Addresses;
use crate::upstream::url::UpstreamUrl;

/// The timer key of the next attempt.
const CONNECT: u64 = 0;
const SUBSCRIBE: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}"#;

/// The service of the leader subscription.
#[derive(Debug)]
pub struct Ears {
    url: UpstreamUrl,
    link: Link,
    /// The limits of its connection; set once the loop knows it.
    route: RouteId,
    news: SyncSender<()>,
    /// The addresses found by a thread: one lookup at a time.
    found: Option<(MailSender<Addresses>, MailReceiver<Addresses>)>,
}

impl Ears {
    /// For a leader without TLS; any other one is polled.
    pub(super) fn new(url: &UpstreamUrl, route: RouteId, news: SyncSender<()>) -> Option<Ears> {
        if url.is_secure() {
            return None;
        }
        let backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
        let link = Link::new(url.host_and_port(), url.request().clone(), None, backoff);
        Some(Ears { url: url.clone(), link, route, news, found: None })
    }

    fn look_up(&mut self, cx: &mut Context<'_>) {
        let Some((sender, _)) = &self.found else {
            return;
        };
        let sender = sender.clone();
        let deliver = move |found| {
            // The loop has ended if it takes no mail.
            let _ = sender.try_send(found);
        };
        if let Err(error) = self.link.look_up(cx.now(), deliver) {
            debug!("no thread to look up {}: {error}", self.url);
            self.try_again(cx);
        }
    }

    /// Sets the timer for the next lookup.
    fn try_again(&mut self, cx: &mut Context<'_>) {
        let delay = self.link.due().since(cx.now());
        if cx.schedule(delay, CONNECT).is_none() {
            debug!("no timer for the next attempt: the leader is polled from here on");
        }
    }

    /// Wakes the thread; if it was woken already, that is enough.
    fn wake(&self) {
        let _ = self.news.try_send(());
    }
}

impl Service for Ears {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.found = Some(cx.mailbox(1));
        self.look_up(cx);
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        info!("subscribed to blocks of {}", self.url);
        self.link.opened(conn);
        let _ = cx.send(conn, SUBSCRIBE);
        self.wake();
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {
        self.link.succeeded();
        self.wake();
    }

    fn on_close(&mut self, cx: &mut Context<'_>, _: ConnId, why: CloseReason) {
        debug!("no subscription to blocks of {}: {why}", self.url);
        if self.link.closed(cx, self.route).is_none() {
            self.try_again(cx);
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _: u64) {
        self.look_up(cx);
    }

    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        if let Some((_, receiver)) = &self.found
            && let Ok(found) = receiver.try_recv()
            && self.link.resolved(cx, self.route, found).is_none()
        {
            self.try_again(cx);
        }
        More::No
    }
}
