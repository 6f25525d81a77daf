//! Hears of new blocks by the leader's WebSocket, on the loop, and wakes the thread that follows.
//!
//! A connection that is lost is made again after a growing delay. What is said on it is not trusted with
//! anything but that there is news: which, the thread asks for itself, so that nothing can be missed
//! here.

use std::net::SocketAddr;
use std::sync::mpsc::SyncSender;

use log::{debug, info};

use super::follower::Backoff;
use crate::protocol::Message;
use crate::protocol::handshake::ClientRequest;
use crate::reactor::{CloseReason, ConnId, Context, RouteId, Service};

/// The timer key of the next attempt.
const CONNECT: u64 = 0;
const SUBSCRIBE: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}"#;

/// Listens to a leader.
#[derive(Debug)]
pub struct Ears {
    address: SocketAddr,
    request: ClientRequest,
    /// The limits of its connection; set once the loop knows it.
    route: RouteId,
    news: SyncSender<()>,
    backoff: Backoff,
}

impl Ears {
    pub(super) fn new(
        address: SocketAddr,
        request: ClientRequest,
        route: RouteId,
        news: SyncSender<()>,
    ) -> Ears {
        Ears { address, request, route, news, backoff: Backoff::default() }
    }

    fn connect(&mut self, cx: &mut Context<'_>) {
        if let Err(error) = cx.connect(self.route, self.address, &self.request) {
            debug!("no connection to {}: {error}", self.address);
            self.try_again(cx);
        }
    }

    fn try_again(&mut self, cx: &mut Context<'_>) {
        let delay = self.backoff.next();
        if cx.schedule(delay, CONNECT).is_none() {
            debug!("no timer for the next attempt: the leader is polled from here on");
        }
    }

    /// Wakes the thread; if it has been woken already, that is enough.
    fn wake(&self) {
        let _ = self.news.try_send(());
    }
}

impl Service for Ears {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.connect(cx);
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        info!("hearing of blocks from {}", self.address);
        let _ = cx.send(conn, SUBSCRIBE);
        self.wake();
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {
        self.backoff.reset();
        self.wake();
    }

    fn on_close(&mut self, cx: &mut Context<'_>, _: ConnId, why: CloseReason) {
        debug!("{} has fallen silent: {why}", self.address);
        self.try_again(cx);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _: u64) {
        self.connect(cx);
    }
}
