//! An upstream whose chain the test makes, and gateways for such upstreams.

use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use weir::reactor::settings::{
    CertificateFiles, ListenSettings, RouteSettings, Settings, TlsSettings,
};
use weir::reactor::{Context, MailReceiver, MailSender};
use weir::services::rpc::gateway::{Gateway, GatewaySettings};
use weir::services::rpc::{
    Address, Backend, Bytes, Call, Feeds, Network, Notice, Outcome, Progress, Quantity, Rpc,
    RpcError, RpcSettings, Ticket, Word,
};

use weir_authority::Files;

use crate::rpc::scripted::raw;
use crate::support::{Client, DEADLINE, Server, eventually};

const CHAIN_ID: u64 = 0x849;
/// Another chain id than the gateway's, which shows whose is returned.
const NODE_CHAIN_ID: u64 = 7;
pub const PATH: &str = "/main/evm/2121";

/// The state of an upstream, and the calls that it received.
#[derive(Default)]
pub struct State {
    /// The fork that each block is on, by number.
    forks: Vec<u8>,
    /// Methods called, in their order.
    calls: Vec<String>,
    held: Vec<Ticket>,
    /// Additional bytes of each block.
    padding: usize,
    /// The method whose next call is never answered.
    loses: Option<&'static str>,
    /// Whether calls for the head wait for [`Node::release`].
    holds_heads: bool,
    /// Pending transactions, and those that the filter has not returned yet.
    pending: Vec<Value>,
    /// The progress while it syncs.
    syncing: Option<Value>,
    is_subscribed: bool,
    mail: Option<MailSender<Notice>>,
}

impl State {
    fn block(&self, number: usize) -> Value {
        let fork = self.forks[number];
        json!({
            "number": Quantity(number as u64),
            "hash": hash(number, fork),
            "parentHash": number.checked_sub(1).map_or(hash(0, 255), |at| hash(at, self.forks[at])),
            "transactions": ["0x1"],
            "extraData": "x".repeat(self.padding),
        })
    }

    fn blocks(&self) -> impl Iterator<Item = Value> {
        (0..self.forks.len()).map(|number| self.block(number))
    }

    /// Each block has one log: the address is that of the fork, the topic the block number.
    fn logs(&self, block: &Value) -> Value {
        let found = (0..self.forks.len()).find(|&at| self.block(at)["hash"] == *block);
        found.map_or(Value::Null, |number| {
            json!([{
                "address": address(self.forks[number]),
                "topics": [topic(number as u8)],
                "blockHash": block,
                "removed": false,
            }])
        })
    }
}

pub fn hash(number: usize, fork: u8) -> Word {
    Word::parse(&format!("0x{fork:02x}{number:062x}")).unwrap()
}

pub fn address(byte: u8) -> Address {
    Bytes([byte; 20])
}

pub fn topic(byte: u8) -> Word {
    Bytes([byte; 32])
}

struct Chain {
    network: Network,
    state: Arc<Mutex<State>>,
    /// Whether it accepts subscriptions.
    pushes: bool,
    mail: Option<MailReceiver<Notice>>,
}

impl Backend for Chain {
    fn network(&self) -> &Network {
        &self.network
    }

    fn start(&mut self, cx: &mut Context<'_>) {
        let (sender, receiver) = cx.mailbox(1024);
        self.mail = Some(receiver);
        self.state.lock().unwrap().mail = Some(sender);
    }

    fn call(
        &mut self,
        _: &mut Context<'_>,
        ticket: Ticket,
        call: &Call<'_>,
        result: &mut String,
    ) -> Result<Progress, RpcError> {
        let mut state = self.state.lock().unwrap();
        state.calls.push(call.method.to_string());
        if state.loses.take_if(|method| call.method == *method).is_some() {
            return Ok(Progress::Later);
        }
        let (first,): (Option<Value>,) = call.positional(1).or_else(|_| {
            let (first, _): (Option<Value>, Option<Value>) = call.positional(2)?;
            Ok::<_, RpcError>((first,))
        })?;
        let first = first.unwrap_or_default();
        let value = match &*call.method {
            "eth_blockNumber" => json!(Quantity(state.forks.len() as u64 - 1)),
            "eth_getBlockByNumber" if first == "latest" && state.holds_heads => {
                state.held.push(ticket);
                return Ok(Progress::Later);
            }
            "eth_getBlockByNumber" if first == "latest" => state.blocks().last().into(),
            "eth_getBlockByNumber" => state.blocks().find(|block| block["number"] == first).into(),
            "eth_getBlockByHash" => state.blocks().find(|block| block["hash"] == first).into(),
            "eth_getLogs" => match state.logs(&first["blockHash"]) {
                Value::Null => return Err(RpcError::server("unknown block")),
                logs => logs,
            },
            "eth_newPendingTransactionFilter" => json!("0xf"),
            "eth_getFilterChanges" => std::mem::take(&mut state.pending).into(),
            "eth_getTransactionByHash" => json!({ "hash": first, "nonce": "0x7" }),
            "eth_call" | "eth_sendRawTransaction" => {
                state.held.push(ticket);
                return Ok(Progress::Later);
            }
            "eth_syncing" => state.syncing.clone().unwrap_or(json!(false)),
            "eth_gasPrice" => json!("0x5"),
            other => return Err(RpcError::unknown_method(other)),
        };
        *result += &value.to_string();
        Ok(Progress::Done)
    }

    fn receive(&mut self, _: &mut Context<'_>) -> Option<Notice> {
        self.mail.as_ref()?.try_recv().ok()
    }

    fn check_can_subscribe(&self) -> Result<(), RpcError> {
        if self.pushes { Ok(()) } else { Err(RpcError::unknown_method("eth_subscribe")) }
    }

    fn on_feeds(&mut self, _: &mut Context<'_>, feeds: &Feeds) {
        self.state.lock().unwrap().is_subscribed = feeds.heads();
    }
}

/// An upstream on an address of its own, so that it can be started there again.
pub struct Node {
    state: Arc<Mutex<State>>,
    pub address: SocketAddr,
    pushes: bool,
    tls: Option<TlsSettings>,
    server: Option<Server>,
}

/// The host of every [`Node`]: no other socket uses its ports while a node is down.
pub const HOST: &str = "127.0.9.1";

impl Node {
    /// A node with blocks up to number `height`.
    pub fn new(pushes: bool, height: usize) -> Node {
        Node::with(pushes, height, None)
    }

    /// A node at this address.
    pub fn at(ip: IpAddr, pushes: bool, height: usize) -> Node {
        Node::listening(SocketAddr::new(ip, 0), pushes, height, None)
    }

    /// A node with TLS.
    pub fn secure(pushes: bool, height: usize, files: &Files) -> Node {
        let certificate = CertificateFiles::new(&files.chain, &files.key);
        Node::with(pushes, height, Some(TlsSettings::new(certificate)))
    }

    fn with(pushes: bool, height: usize, tls: Option<TlsSettings>) -> Node {
        let address = format!("{HOST}:0").parse().unwrap();
        Node::listening(address, pushes, height, tls)
    }

    fn listening(
        address: SocketAddr,
        pushes: bool,
        height: usize,
        tls: Option<TlsSettings>,
    ) -> Node {
        let state = State { forks: vec![0; height + 1], ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let mut node = Node { state, address, pushes, tls, server: None };
        node.start();
        node
    }

    pub fn start(&mut self) {
        let (state, pushes, address) = (Arc::clone(&self.state), self.pushes, self.address);
        let tls = self.tls.clone();
        let (sender, receiver) = channel();
        // A shutdown does not wait for calls that the test holds back.
        let settings = Settings::default().drain_timeout(Duration::from_millis(100));
        self.server = Some(Server::start(settings, move |reactor| {
            let network =
                Network { project: "node".into(), architecture: "evm", chain_id: NODE_CHAIN_ID };
            let chain = Chain { network, state, pushes, mail: None };
            // It sends larger answers than a gateway accepts.
            let rpc = RpcSettings::default().response_bytes_max(100_000_000);
            let route = rpc.fit(RouteSettings::default());
            let service = reactor.add_service(Rpc::new(chain, rpc)).unwrap();
            reactor.add_route("/", service, route).unwrap();
            let listen = match tls {
                None => ListenSettings::new(address),
                Some(tls) => {
                    reactor.set_tls(tls).unwrap();
                    ListenSettings::new(address).secure(true)
                }
            };
            sender.send(reactor.listen(&listen).unwrap()).unwrap();
        }));
        self.address = receiver.recv_timeout(DEADLINE).unwrap();
    }

    /// Ends all connections; the node is down until it is [started](Node::start) again.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            self.state().mail = None;
            self.state().is_subscribed = false;
            server.stop();
        }
    }

    pub fn ws(&self) -> String {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}/", self.address)
    }

    pub fn http(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Adds a block on `fork`, and pushes it to subscribers.
    pub fn mine(&self, fork: u8) {
        let mut state = self.state();
        state.forks.push(fork);
        let block = state.block(state.forks.len() - 1);
        if let Some(mail) = state.mail.as_ref().filter(|_| self.pushes) {
            mail.try_send(Notice::Head(raw(&block))).unwrap();
        }
    }

    /// Enlarges its blocks by this many bytes from now on.
    pub fn pad(&self, bytes: usize) {
        self.state().padding = bytes;
    }

    /// Whether calls for its head wait until they are [released](Node::release).
    pub fn hold_heads(&self, holds: bool) {
        self.state().holds_heads = holds;
    }

    /// Never answers the next call of this method.
    pub fn lose(&self, method: &'static str) {
        self.state().loses = Some(method);
    }

    /// Waits for the call whose answer is [lost](Node::lose).
    pub fn await_lost(&self) {
        eventually(|| self.state().loses.is_none(), "the call that is lost");
    }

    /// The number of its last block.
    pub fn height(&self) -> usize {
        self.state().forks.len() - 1
    }

    /// Its head, as the outcome of a call.
    pub fn head(&self) -> Outcome {
        Ok(raw(&self.state().blocks().last().unwrap()))
    }

    /// Replaces its chain by blocks on these forks.
    pub fn become_chain(&self, forks: Vec<u8>) {
        self.state().forks = forks;
    }

    pub fn add_pending(&self, hash: Word) {
        self.state().pending.push(json!(hash));
    }

    /// Sets the progress of syncing; `None`: it does not sync.
    pub fn sync(&self, status: Option<Value>) {
        self.state().syncing = status;
    }

    /// Number of calls of a method.
    pub fn calls(&self, method: &str) -> usize {
        self.state().calls.iter().filter(|called| *called == method).count()
    }

    pub fn await_calls(&self, method: &str, count: usize) {
        eventually(|| self.calls(method) >= count, method);
    }

    pub fn await_subscribed(&self, subscribed: bool) {
        eventually(|| self.state().is_subscribed == subscribed, "subscribed");
    }

    /// Answers the oldest held call.
    pub fn release(&self, outcome: Outcome) {
        let mut state = self.state();
        let tickets = vec![state.held.remove(0)];
        let mail = state.mail.as_ref().unwrap();
        mail.try_send(Notice::Answer { tickets, outcome }).unwrap();
    }
}

/// A gateway for these upstreams, with default limits for clients.
pub fn gateway(upstreams: &[String], edit: impl FnOnce(&mut GatewaySettings)) -> Server {
    gateway_with(upstreams, RpcSettings::default(), edit)
}

/// A gateway with other limits for clients.
pub fn gateway_with(
    upstreams: &[String],
    rpc: RpcSettings,
    edit: impl FnOnce(&mut GatewaySettings),
) -> Server {
    gateway_at(Settings::default(), upstreams, rpc, edit)
}

/// A gateway on a loop with these settings.
pub fn gateway_at(
    on: Settings,
    upstreams: &[String],
    rpc: RpcSettings,
    edit: impl FnOnce(&mut GatewaySettings),
) -> Server {
    let mut settings = settings(upstreams);
    edit(&mut settings);
    Server::start(on, move |reactor| {
        let id = reactor.next_service_id();
        let outbound = reactor.add_outbound(id, settings.outbound()).unwrap();
        let gateway = Gateway::new(settings, outbound).unwrap();
        let service = reactor.add_service(Rpc::new(gateway, rpc.clone())).unwrap();
        let route = rpc.fit(RouteSettings::default());
        reactor.add_route(PATH, service, route).unwrap();
    })
}

/// The settings of a gateway for these upstreams.
pub fn settings(upstreams: &[String]) -> GatewaySettings {
    GatewaySettings::new(
        Network { project: "main".into(), architecture: "evm", chain_id: CHAIN_ID },
        upstreams.iter().map(|url| url.parse().unwrap()).collect(),
    )
    .concurrency(8)
    .queue_max(64)
    .timeout(Duration::from_secs(15))
    .answer_bytes_max(1_000_000)
}

pub fn client(gateway: &Server) -> Client {
    Client::open(gateway.address, PATH)
}
