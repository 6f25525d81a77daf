//! Notifications of new blocks between nodes, over WebSockets between their P2P addresses.
//!
//! A node listens at `ws://P2P-ADDRESS/p2p` and connects to its boot peers there. Each side first
//! sends `{"type":"hello","chainId":"0x849","chain":"NAME" or null,"node":"16 HEX DIGITS"}`, then,
//! at once and whenever its chain grows, `{"type":"head","number":"0x10","hash":"0x.."}`. Peers of
//! another chain are closed with 1008, messages of unknown type are ignored.
//!
//! A notification only wakes the follower thread, which fetches the blocks from the leader and
//! checks them: a lost notification costs time, a forged one costs the leader one call, and neither
//! can add, change or skip a block.

mod address;
mod message;

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use log::{debug, info, warn};
use rand::TryRng as _;
use rand::rngs::SysRng;

use self::message::{Head, Hello, PeerMessage};
use super::limits::{PAUSE_MAX, PAUSE_MIN};
use crate::protocol::handshake::{ClientRequest, Response};
use crate::protocol::{CloseCode, Message};
use crate::reactor::settings::RouteSettings;
use crate::reactor::{
    CloseReason, ConnId, ConnMap, Context, Decision, MailReceiver, MailSender, More,
    PublishOptions, RouteId, Service, Target, UpgradeRequest,
};
use crate::services::rpc::wire::hex::Word;
use crate::upstream::backoff::Backoff;
use crate::upstream::link::Link;
use crate::upstream::resolve::Addresses;
use crate::upstream::upstream_counts::{Count, add};

pub use self::address::{BOOT_PEERS_MAX, BootPeers, PeerAddress};
pub use self::message::CHAIN_NAME_MAX;

/// The path of the P2P address.
pub const P2P_PATH: &str = "/p2p";
/// Connections from other nodes; one more gets 503.
pub const INBOUND_PEERS_MAX: usize = 64;
/// The follower thread is woken at most once in this time, which bounds the calls to the leader.
const WAKE_PAUSE: Duration = Duration::from_millis(50);
/// Bytes of one message, and of the messages queued for one peer.
const MESSAGE_BYTES_MAX: usize = 1024;
const OUTBOX_BYTES_MAX: usize = 64 * 1024;
/// The topic of all peers.
const HEADS: &str = "heads";
/// The timer key of the end of a [`WAKE_PAUSE`]. The key of a boot peer is its index.
const WAKE: u64 = u64::MAX;

/// The limits of a connection between two nodes.
pub fn peer_route(listener_group: u16) -> RouteSettings {
    RouteSettings::default()
        .listener_group(listener_group)
        .message_bytes_max(MESSAGE_BYTES_MAX)
        .outbox_soft_bytes(OUTBOX_BYTES_MAX / 2)
        .outbox_low_bytes(OUTBOX_BYTES_MAX / 4)
        .outbox_hard_bytes(OUTBOX_BYTES_MAX)
}

/// The head of a node, which is sent to its peers.
#[derive(Debug, Default)]
pub(super) struct Announcer {
    head: Cell<Option<Head>>,
    /// Wakes the service of peers for a new head.
    sender: OnceCell<MailSender<()>>,
}

impl Announcer {
    pub(super) fn announce(&self, number: u64, hash: Word) {
        self.head.set(Some(Head { number, hash }));
        if let Some(sender) = self.sender.get() {
            // A full mailbox: the service has not read the previous head yet, and will read this
            // one.
            let _ = sender.try_send(());
        }
    }
}

/// The counts of a node's peers.
#[derive(Debug, Default)]
pub struct PeerCounts {
    /// Peers of the same chain, connected now.
    pub connected_now: Count,
    /// Heads received.
    pub heads_in: Count,
    /// Heads sent, counted per peer.
    pub heads_out: Count,
}

/// A connection to or from another node.
#[derive(Debug)]
struct PeerConnection {
    /// The index of the boot peer; `None` for a connection from another node.
    boot: Option<usize>,
    /// The peer's `hello` has arrived.
    is_greeted: bool,
}

/// A peer that this node connects to.
#[derive(Debug)]
struct BootPeer {
    address: PeerAddress,
    link: Link,
    /// The log has a line that it is not connected.
    is_reported: bool,
}

/// Whether the follower thread may be woken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WakeState {
    Ready,
    /// Woken less than a [`WAKE_PAUSE`] ago.
    Pausing,
    /// Woken less than a [`WAKE_PAUSE`] ago, and another head arrived since: wake it after the
    /// pause.
    Due,
}

/// The service of a node's P2P address.
#[derive(Debug)]
pub struct Peers {
    hello: Hello,
    boot: Vec<BootPeer>,
    connections: ConnMap<PeerConnection>,
    announcer: Rc<Announcer>,
    counts: Rc<PeerCounts>,
    /// Wakes the follower thread; `None` at a leader.
    waker: Option<SyncSender<()>>,
    wake: WakeState,
    /// The route with the limits of connections to boot peers.
    outbound: RouteId,
    /// The mailbox of the announcer.
    changed: Option<MailReceiver<()>>,
    /// The mailbox for the addresses that lookups have found.
    found: Option<(MailSender<Found>, MailReceiver<Found>)>,
}

/// The addresses of a boot peer's host.
#[derive(Debug)]
struct Found {
    index: usize,
    addresses: Addresses,
}

impl Peers {
    pub(super) fn new(
        chain_id: u64,
        chain: Option<String>,
        boot: BootPeers,
        announcer: Rc<Announcer>,
        waker: Option<SyncSender<()>>,
        outbound: RouteId,
    ) -> Peers {
        // Without entropy, two processes of one machine still differ.
        let node = SysRng.try_next_u64().unwrap_or(u64::from(std::process::id()));
        let boot = boot.0.into_iter().filter_map(|address| {
            // A valid address is a valid Host header.
            let request = ClientRequest::new(&address.to_string(), P2P_PATH).ok()?;
            let backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
            let link = Link::new(address.host_and_port(), request, None, backoff);
            Some(BootPeer { address, link, is_reported: false })
        });
        Peers {
            hello: Hello { chain_id, chain, node },
            boot: boot.collect(),
            connections: ConnMap::new(),
            announcer,
            counts: Rc::default(),
            waker,
            wake: WakeState::Ready,
            outbound,
            changed: None,
            found: None,
        }
    }

    /// The counts, shared with the source of metrics.
    pub fn counts(&self) -> Rc<PeerCounts> {
        Rc::clone(&self.counts)
    }

    /// Keeps the connection that is being made to a boot peer; without one, schedules the next
    /// lookup.
    fn on_attempt(&mut self, cx: &mut Context<'_>, index: usize, conn: Option<ConnId>) {
        match conn {
            Some(conn) => {
                self.connections.insert(
                    cx,
                    conn,
                    PeerConnection { boot: Some(index), is_greeted: false },
                );
            }
            None => self.try_again(cx, index),
        }
    }

    fn look_up(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some((sender, _)) = &self.found else {
            return;
        };
        let (sender, boot) = (sender.clone(), &mut self.boot[index]);
        let deliver = move |addresses| {
            // The mailbox is closed when the loop has ended.
            let _ = sender.try_send(Found { index, addresses });
        };
        if let Err(error) = boot.link.look_up(cx.now(), deliver) {
            debug!("cannot start a thread to look up peer {}: {error}", boot.address);
            self.try_again(cx, index);
        }
    }

    /// Schedules the next lookup.
    fn try_again(&mut self, cx: &mut Context<'_>, index: usize) {
        if cx.occupancy().is_draining {
            return;
        }
        let boot = &mut self.boot[index];
        if !std::mem::replace(&mut boot.is_reported, true) {
            warn!("peer {} is not connected; trying again", boot.address);
        }
        if cx.schedule(boot.link.due().since(cx.now()), index as u64).is_none() {
            warn!("no timer to connect to peer {} again", boot.address);
        }
    }

    /// The number of connections from other nodes.
    fn inbound(&self) -> usize {
        self.connections.iter().filter(|(_, connection)| connection.boot.is_none()).count()
    }

    fn on_hello(&mut self, cx: &mut Context<'_>, conn: ConnId, hello: &Hello) {
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        let boot = connection.boot.and_then(|index| self.boot.get_mut(index));
        if hello.node == self.hello.node {
            if let Some(boot) = boot {
                info!("peer {} is this node", boot.address);
                connection.boot = None;
            }
            return cx.close(conn, CloseCode::POLICY, "connected to itself");
        }
        if !self.hello.is_same_chain(hello) {
            if let Some(boot) = boot {
                let chain = hello.chain.as_deref().unwrap_or_default();
                warn!("peer {} is of chain {:#x} {chain:?}", boot.address, hello.chain_id);
            }
            return cx.close(conn, CloseCode::POLICY, "another chain");
        }
        if std::mem::replace(&mut connection.is_greeted, true) {
            return;
        }
        if let Some(boot) = boot {
            boot.link.opened(conn);
            boot.link.succeeded();
            boot.is_reported = false;
            info!("connected to peer {}", boot.address);
        }
        add(&self.counts.connected_now, 1);
        if cx.subscribe(conn, HEADS).is_err() {
            return cx.close(conn, CloseCode::TRY_AGAIN_LATER, "no room for another peer");
        }
        if let Some(head) = self.announcer.head.get() {
            add(&self.counts.heads_out, 1);
            let _ = cx.send(conn, head.to_text().as_str());
        }
    }

    fn on_peer_head(&mut self, cx: &mut Context<'_>, head: Head) {
        add(&self.counts.heads_in, 1);
        let is_new = self.announcer.head.get().is_none_or(|ours| head.number > ours.number);
        if !is_new || self.waker.is_none() {
            return;
        }
        match self.wake {
            WakeState::Ready => self.wake_follower(cx),
            WakeState::Pausing | WakeState::Due => self.wake = WakeState::Due,
        }
    }

    fn wake_follower(&mut self, cx: &mut Context<'_>) {
        if let Some(waker) = &self.waker {
            // A full channel: the thread is awake already.
            let _ = waker.try_send(());
        }
        let is_timed = cx.schedule(WAKE_PAUSE, WAKE).is_some();
        self.wake = if is_timed { WakeState::Pausing } else { WakeState::Ready };
    }
}

impl Service for Peers {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        let (sender, changed) = cx.mailbox(1);
        self.changed = Some(changed);
        let _ = self.announcer.sender.set(sender);
        // One lookup per boot peer at a time.
        self.found = Some(cx.mailbox(BOOT_PEERS_MAX));
        for index in 0..self.boot.len() {
            self.look_up(cx, index);
        }
    }

    fn on_request(
        &mut self,
        _: &mut Context<'_>,
        _: ConnId,
        request: &UpgradeRequest<'_>,
    ) -> Decision {
        if self.inbound() >= INBOUND_PEERS_MAX {
            return Decision::Respond(Response::text(503, "too many peers"));
        }
        Decision::Accept(request.accept())
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let inbound = || PeerConnection { boot: None, is_greeted: false };
        self.connections.get_or_insert_with(cx, conn, inbound);
        let _ = cx.send(conn, self.hello.to_text().as_str());
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let Message::Text(text) = message else {
            return cx.close(conn, CloseCode::UNSUPPORTED, "text is expected");
        };
        let is_greeted = self.connections.get(conn).is_some_and(|connection| connection.is_greeted);
        match PeerMessage::parse(text) {
            Some(PeerMessage::Hello(hello)) => self.on_hello(cx, conn, &hello),
            Some(PeerMessage::Head(head)) if is_greeted => self.on_peer_head(cx, head),
            Some(PeerMessage::Unknown) if is_greeted => {}
            Some(_) => cx.close(conn, CloseCode::POLICY, "hello is expected first"),
            None => cx.close(conn, CloseCode::POLICY, "malformed message"),
        }
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: CloseReason) {
        let Some(connection) = self.connections.remove(conn) else {
            return;
        };
        if connection.is_greeted {
            self.counts.connected_now.set(self.counts.connected_now.get().saturating_sub(1));
        }
        if let Some(index) = connection.boot {
            debug!("peer {} disconnected: {why}", self.boot[index].address);
            let conn = self.boot[index].link.closed(cx, self.outbound);
            self.on_attempt(cx, index, conn);
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, key: u64) {
        if key != WAKE {
            return self.look_up(cx, key as usize);
        }
        match self.wake {
            WakeState::Due => self.wake_follower(cx),
            WakeState::Ready | WakeState::Pausing => self.wake = WakeState::Ready,
        }
    }

    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        if let Some((_, found)) = &self.found
            && let Ok(found) = found.try_recv()
        {
            let Found { index, addresses } = found;
            let conn = self.boot[index].link.resolved(cx, self.outbound, addresses);
            self.on_attempt(cx, index, conn);
            return More::Yes;
        }
        if self.changed.as_ref().is_some_and(|changed| changed.try_recv().is_ok())
            && let Some(head) = self.announcer.head.get()
        {
            let text = head.to_text();
            let sent = cx.publish(Target::Topic(HEADS), text.as_str(), PublishOptions::default());
            add(&self.counts.heads_out, sent.sent);
        }
        More::No
    }
}
