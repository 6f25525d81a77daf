//! The leader subscription: a WebSocket on the loop that wakes the follower thread for each new block.
//!
//! A connection that is lost is made again after a growing delay, at each address of the leader's name in
//! turn. Notifications only wake the thread; it asks for the blocks itself, so a lost or forged one cannot
//! cause a gap.

use std::sync::mpsc::SyncSender;

use log::{debug, info};

use super::{PAUSE_MAX, PAUSE_MIN};
use crate::protocol::Message;
use crate::protocol::handshake::ClientRequest;
use crate::reactor::{
    CloseReason, ConnId, Context, MailReceiver, MailSender, More, RouteId, Service,
};
use crate::upstream::backoff::Backoff;
use crate::upstream::resolve::{Addresses, look_up};
use crate::upstream::url::UpstreamUrl;

/// The timer key of the next attempt.
const CONNECT: u64 = 0;
const SUBSCRIBE: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}"#;

/// The service of the leader subscription.
#[derive(Debug)]
pub struct Ears {
    url: UpstreamUrl,
    request: ClientRequest,
    /// The limits of its connection; set once the loop knows it.
    route: RouteId,
    news: SyncSender<()>,
    backoff: Backoff,
    /// Addresses of the leader that were not tried since the last lookup.
    untried: Addresses,
    /// The addresses found by a thread: one lookup at a time.
    found: Option<(MailSender<Addresses>, MailReceiver<Addresses>)>,
}

impl Ears {
    /// For a leader without TLS; any other one is polled.
    pub(super) fn new(url: &UpstreamUrl, route: RouteId, news: SyncSender<()>) -> Option<Ears> {
        if url.is_secure() {
            return None;
        }
        Some(Ears {
            url: url.clone(),
            request: url.request()?,
            route,
            news,
            backoff: Backoff::new(PAUSE_MIN, PAUSE_MAX),
            untried: Addresses::default(),
            found: None,
        })
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
        if let Err(error) = look_up(self.url.place(), deliver) {
            debug!("no thread to look up {}: {error}", self.url);
            self.try_again(cx);
        }
    }

    /// Connects to the next address; after the last one, pauses until the next lookup.
    fn connect(&mut self, cx: &mut Context<'_>) {
        let Ears { route, request, untried, .. } = self;
        let conn = untried.connect(|address| cx.connect(*route, address, request));
        if conn.is_none() {
            self.try_again(cx);
        }
    }

    fn try_again(&mut self, cx: &mut Context<'_>) {
        let delay = self.backoff.fail();
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
        self.untried = Addresses::default();
        let _ = cx.send(conn, SUBSCRIBE);
        self.wake();
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {
        self.backoff.succeed();
        self.wake();
    }

    fn on_close(&mut self, cx: &mut Context<'_>, _: ConnId, why: CloseReason) {
        debug!("no subscription to blocks of {}: {why}", self.url);
        self.connect(cx);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _: u64) {
        self.look_up(cx);
    }

    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        if let Some((_, receiver)) = &self.found
            && let Ok(found) = receiver.try_recv()
        {
            self.untried = found;
            self.connect(cx);
        }
        More::No
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::upstream::resolve::fixture::await_open;

    /// A subscription that is given the leader's addresses.
    struct Given {
        ears: Option<Ears>,
        addresses: Option<Addresses>,
        route: Rc<Cell<RouteId>>,
    }

    impl Service for Given {
        fn on_start(&mut self, cx: &mut Context<'_>) {
            let url = "http://host.invalid/".parse().unwrap();
            let ears = Ears::new(&url, self.route.get(), sync_channel(1).0).unwrap();
            let ears = self.ears.insert(ears);
            let (sender, receiver) = cx.mailbox(1);
            sender.try_send(self.addresses.take().unwrap()).unwrap();
            ears.found = Some((sender, receiver));
        }

        fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

        fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
            self.ears.as_mut().unwrap().on_mail(cx)
        }

        fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: CloseReason) {
            self.ears.as_mut().unwrap().on_close(cx, conn, why);
        }
    }

    #[test]
    fn the_next_address_is_tried_when_one_refuses() {
        await_open(|addresses, route| Given { ears: None, addresses: Some(addresses), route });
    }
}
