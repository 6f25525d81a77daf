//! Hears of new blocks by the leader's WebSocket, on the loop, and wakes the thread that follows.
//!
//! A connection that is lost is made again after a growing delay. What is said on it is not trusted with
//! anything but that there is news: which, the thread asks for itself, so that nothing can be missed
//! here.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::mpsc::SyncSender;

use log::{debug, info, warn};

use super::super::UpstreamUrl;
use super::super::backoff::Backoff;
use super::{PAUSE_MAX, PAUSE_MIN};
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
    /// For a leader that is spoken to in the clear, and whose name is known; any other is polled. Looks
    /// the name up, and so may block.
    pub(super) fn new(url: &UpstreamUrl, route: RouteId, news: SyncSender<()>) -> Option<Ears> {
        if url.is_secure() {
            return None;
        }
        let address = url.place().to_socket_addrs().map(|mut found| found.next());
        let Ok(Some(address)) = address else {
            warn!("{url} has no address yet: it is polled");
            return None;
        };
        let request = url.request()?;
        let backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
        Some(Ears { address, request, route, news, backoff })
    }

    fn connect(&mut self, cx: &mut Context<'_>) {
        if let Err(error) = cx.connect(self.route, self.address, &self.request) {
            debug!("no connection to {}: {error}", self.address);
            self.try_again(cx);
        }
    }

    fn try_again(&mut self, cx: &mut Context<'_>) {
        let delay = self.backoff.fail();
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
        self.backoff.succeed();
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
