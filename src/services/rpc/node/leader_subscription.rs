//! The leader subscription: a WebSocket on the loop that wakes the follower thread for each new
//! block.
//!
//! Notifications only wake the thread. It fetches the blocks itself, so a lost or forged
//! notification cannot cause a gap. [`Link`] connects and reconnects.

use std::sync::mpsc::SyncSender;

use log::{debug, info};

use super::limits::{PAUSE_MAX, PAUSE_MIN};
use crate::protocol::Message;
use crate::reactor::{
    CloseReason, ConnId, Context, MailReceiver, MailSender, More, RouteId, Service,
};
use crate::services::rpc::wire::upstream_request::request;
use crate::upstream::backoff::Backoff;
use crate::upstream::link::Link;
use crate::upstream::resolve::Addresses;
use crate::upstream::url::UpstreamUrl;

/// The timer key of the next lookup.
const LOOK_UP: u64 = 0;
/// The id of the only request.
const SUBSCRIBE_ID: u64 = 1;

/// The service of the leader subscription.
#[derive(Debug)]
pub struct LeaderSubscription {
    url: UpstreamUrl,
    link: Link,
    /// The route with the limits of its connection.
    route: RouteId,
    /// Wakes the follower thread.
    waker: SyncSender<()>,
    /// The mailbox for the addresses that a lookup has found: one lookup at a time.
    found: Option<(MailSender<Addresses>, MailReceiver<Addresses>)>,
}

impl LeaderSubscription {
    /// A subscription at a leader without TLS. A leader with TLS is only polled.
    pub(super) fn new(
        url: &UpstreamUrl,
        route: RouteId,
        waker: SyncSender<()>,
    ) -> Option<LeaderSubscription> {
        if url.is_secure() {
            return None;
        }
        let backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
        let link = Link::new(url.host_and_port(), url.request().clone(), None, backoff);
        Some(LeaderSubscription { url: url.clone(), link, route, waker, found: None })
    }

    fn look_up(&mut self, cx: &mut Context<'_>) {
        let Some((sender, _)) = &self.found else {
            return;
        };
        let sender = sender.clone();
        let deliver = move |found| {
            // The mailbox is closed when the loop has ended.
            let _ = sender.try_send(found);
        };
        if let Err(error) = self.link.look_up(cx.now(), deliver) {
            debug!("cannot start a thread to look up {}: {error}", self.url);
            self.set_timer(cx);
        }
    }

    /// Sets the timer for the next lookup.
    fn set_timer(&mut self, cx: &mut Context<'_>) {
        let delay = self.link.due().since(cx.now());
        if cx.schedule(delay, LOOK_UP).is_none() {
            debug!("no timer for the next lookup: from now on the leader is only polled");
        }
    }

    fn wake_follower(&self) {
        // A full channel: the thread is awake already.
        let _ = self.waker.try_send(());
    }
}

impl Service for LeaderSubscription {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.found = Some(cx.mailbox(1));
        self.look_up(cx);
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        info!("subscribed to blocks of {}", self.url);
        self.link.opened(conn);
        let _ = cx.send(conn, &*request(SUBSCRIBE_ID, "eth_subscribe", r#"["newHeads"]"#));
        self.wake_follower();
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {
        self.link.succeeded();
        self.wake_follower();
    }

    fn on_close(&mut self, cx: &mut Context<'_>, _: ConnId, why: CloseReason) {
        debug!("no subscription to blocks of {}: {why}", self.url);
        if self.link.closed(cx, self.route).is_none() {
            self.set_timer(cx);
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
            self.set_timer(cx);
        }
        More::No
    }
}
