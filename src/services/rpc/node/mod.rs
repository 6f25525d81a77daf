//! A node of an embedded development chain: a leader that makes its blocks, or a follower that keeps
//! up with one.
//!
//! [`Node`] is the loop's side of it: what is known by heart is answered at once, questions for the
//! store go to threads beside it, transactions to the leader's thread, and what a follower cannot
//! answer to its leader. All of that is by bounded queues; what finds one full is `busy`.

mod asker;
mod ears;
mod follower;
mod leader;
mod limits;
mod order;
mod peers;
mod pool;
mod queries;
mod record;
mod settings;
mod status;
mod store;
mod upstream;
mod work;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use self::asker::Asker;
use self::follower::Follower;
use self::leader::Leader;
use self::order::Order;
use self::peers::Announcer;
use self::queries::{Query, Shared};
use self::record::{GAS_PRICE, Record};
use self::status::{Standing, Status};
use self::store::Store;
use self::upstream::Upstream;
use self::work::{Forward, Forwarders, Job, Post, QUEUE_MAX, Readers, answered, queued};
use super::backend::{Backend, Network, Notice, Progress, Ticket};
use super::counts::Counts;
use super::wire::error::RpcError;
use super::wire::hex::Quantity;
use super::wire::request::Call;
use crate::reactor::{Context, MailReceiver, MailSender, RouteId, Task};
use crate::upstream::backoff::Backoff;
use crate::upstream::url::UpstreamUrl;

pub use self::ears::Ears;
pub use self::peers::{
    BOOT_PEERS_MAX, BootPeers, CHAIN_NAME_MAX, INBOUND_PEERS_MAX, P2P_PATH, PeerAddress,
    PeerCounts, Peers, peer_route,
};
pub use self::settings::{NodeSettings, POLL_INTERVAL_DEFAULT, Part, Role};
pub use self::status::Health;
pub use self::store::StoreError;

/// Mails that wait for the loop; threads wait when they are so many.
const MAILS_MAX: usize = 1024;
/// The pauses of a follower whose leader does not answer, and of a node that cannot write its store.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What takes the questions of a running node.
#[derive(Debug)]
struct Running {
    mail: MailReceiver<Post>,
    readers: Readers,
    /// A leader's.
    orders: Option<SyncSender<Order>>,
    /// A follower's.
    forwarders: Option<Forwarders>,
    /// Counts what was taken from the threads.
    taken: usize,
    /// The thread that produces or fetches blocks has ended, and this was reported.
    is_lost: bool,
}

impl Running {
    /// What the threads have found: from each source in turn, so that none waits for all of another.
    fn next(&mut self) -> Option<Post> {
        (0..3).find_map(|_| {
            self.taken += 1;
            match self.taken % 3 {
                0 => self.next_mail(),
                1 => self.readers.take().map(answered),
                _ => self.forwarders.as_mut()?.take().map(answered),
            }
        })
    }

    /// The next mail of the thread that produces or fetches blocks. If that has ended, the node is not
    /// healthy any more: this is reported once.
    fn next_mail(&mut self) -> Option<Post> {
        match self.mail.try_recv() {
            Ok(post) => Some(post),
            Err(TryRecvError::Disconnected) if !self.is_lost => {
                self.is_lost = true;
                let reason = "the thread of the chain has ended";
                log::error!("{reason}");
                Some(Post::Standing(Standing::Failing(reason.to_owned())))
            }
            Err(_) => None,
        }
    }
}

/// The loop's side of a node.
#[derive(Debug)]
pub struct Node {
    network: Network,
    part: Part,
    shared: Shared,
    head: Option<Record>,
    status: Rc<Status>,
    running: Option<Running>,
    /// Of the mail read last: what is still to be announced.
    notices: VecDeque<Notice>,
    /// Announces each new head to the node's peers.
    announcer: Rc<Announcer>,
    news: (SyncSender<()>, Option<Receiver<()>>),
    /// A leader's thread.
    leader: Option<JoinHandle<()>>,
}

impl Node {
    /// Opens the data directory, or begins it.
    ///
    /// # Errors
    /// Another process has it, it is another chain's, or it cannot be read or written.
    pub fn open(settings: NodeSettings) -> Result<Node, StoreError> {
        let NodeSettings { chain_id, data_dir, part } = settings;
        let store = Arc::new(Store::open(&data_dir, chain_id)?);
        let shared = Shared { store, pool: Arc::default() };
        let (role, head) = match &part {
            Part::Leader { .. } => (Role::Leader, Some(leader::begin(&shared, chain_id)?)),
            Part::Follower { .. } => (Role::Follower, shared.store.read()?.last()?),
        };
        let number = head.as_ref().map(|head| head.number);
        let standing = match role {
            Role::Leader => Standing::Working,
            Role::Follower => Standing::Failing("the leader has not answered yet".to_owned()),
        };
        let status = Status {
            role,
            chain_id,
            head: number.into(),
            leader: number.filter(|_| role == Role::Leader).into(),
            standing: standing.into(),
        };
        let announcer = Rc::<Announcer>::default();
        if let Some(head) = &head {
            announcer.announce(head.number, head.hash);
        }
        let (news, hears) = sync_channel(1);
        Ok(Node {
            network: Network { project: role.name().to_owned(), architecture: "evm", chain_id },
            part,
            shared,
            head,
            status: Rc::new(status),
            running: None,
            notices: VecDeque::new(),
            announcer,
            news: (news, Some(hears)),
            leader: None,
        })
    }

    /// The service that answers those who watch the node; `counts` are those of its [`Rpc`](super::Rpc).
    pub fn health(&self, counts: Rc<Counts>) -> Health {
        Health::new(Rc::clone(&self.status), counts)
    }

    /// The service that hears of the leader's blocks by its WebSocket, for a follower whose leader can
    /// have one: `route` has the limits of that connection.
    pub fn ears(&self, route: RouteId) -> Option<Ears> {
        match &self.part {
            Part::Leader { .. } => None,
            Part::Follower { url, .. } => Ears::new(url, route, self.news.0.clone()),
        }
    }

    /// The service of the node's P2P address: it notifies other nodes of new blocks, and connects to
    /// `boot` peers, with the limits of the route `outbound`, to be notified by them. `chain` is the
    /// chain's name: nodes of chains with different names do not talk to each other.
    pub fn peers(&self, chain: Option<String>, boot: BootPeers, outbound: RouteId) -> Peers {
        let news = match &self.part {
            Part::Leader { .. } => None,
            Part::Follower { .. } => Some(self.news.0.clone()),
        };
        let announcer = Rc::clone(&self.announcer);
        Peers::new(self.network.chain_id, chain, boot, announcer, news, outbound)
    }

    fn start_leader(
        &mut self,
        mail: MailSender<Post>,
        block_time: Option<Duration>,
    ) -> Option<SyncSender<Order>> {
        let (sender, orders) = sync_channel(QUEUE_MAX);
        let leader = Leader {
            chain_id: self.network.chain_id,
            block_time,
            shared: self.shared.clone(),
            head: self.head.take()?,
            orders,
            mail,
            backoff: Backoff::new(PAUSE_MIN, PAUSE_MAX),
            outage: None,
        };
        self.leader = Some(thread::spawn(|| leader.run()));
        Some(sender)
    }

    fn start_follower(
        &mut self,
        cx: &mut Context<'_>,
        mail: MailSender<Post>,
        url: &UpstreamUrl,
        poll_interval: Duration,
    ) -> Forwarders {
        // One call of each forwarder, and one of the follower thread.
        let upstream = Upstream::new(url, work::FORWARDERS + 1);
        let (_, news) = &mut self.news;
        if let Some(news) = news.take() {
            let follower = Follower {
                chain_id: self.network.chain_id,
                asker: Asker::new(upstream.clone(), news),
                shared: self.shared.clone(),
                head: self.head.take(),
                poll_interval,
                mail,
                standing: None,
                has_failed: false,
            };
            thread::spawn(|| follower.run());
        }
        work::forwarders(cx, upstream)
    }

    /// Asks the store, and the leader if it does not know.
    fn ask(&self, ticket: Ticket, query: Query, call: &Call<'_>) -> Result<Progress, RpcError> {
        let running = self.running()?;
        let forward = running.forwarders.as_ref().map(|_| Forward::of(ticket, call));
        queued(running.readers.try_put(Task::new(ticket, Job { ticket, query, forward })))
    }

    fn forward(&self, ticket: Ticket, call: &Call<'_>) -> Result<Progress, RpcError> {
        if let Standing::Diverged(_) = &*self.status.standing.borrow() {
            return Err(RpcError::server("the leader's chain is another one"));
        }
        match &self.running()?.forwarders {
            Some(forwarders) => {
                queued(forwarders.try_put(Task::new(ticket, Forward::of(ticket, call))))
            }
            None => Err(RpcError::unknown_method(&call.method)),
        }
    }

    /// Does what is a leader's to do; a follower leaves it to its leader.
    fn order(&self, ticket: Ticket, call: &Call<'_>) -> Result<Progress, RpcError> {
        let Some(orders) = &self.running()?.orders else {
            return self.forward(ticket, call);
        };
        queued(orders.try_send(Order::parse(ticket, call)?))
    }

    fn running(&self) -> Result<&Running, RpcError> {
        self.running.as_ref().ok_or_else(RpcError::internal)
    }

    fn read(&mut self, post: Post) {
        match post {
            Post::Answer(ticket, outcome) => {
                self.notices.push_back(Notice::Answer { tickets: vec![ticket], outcome });
            }
            Post::Block(block) => {
                self.status.head.set(Some(block.number));
                self.announcer.announce(block.number, block.hash);
                self.notices.push_back(Notice::Head(block.header));
                let logs = block.logs.into_iter().map(|log| Notice::Log(log.into()));
                self.notices.extend(logs);
            }
            Post::Pending { hash, full } => {
                self.notices.push_back(Notice::Pending { hash, full: Some(full) });
            }
            Post::Leader(number) => self.status.leader.set(Some(number)),
            Post::Standing(standing) => {
                self.status.standing.replace(standing);
            }
        }
    }
}

impl Backend for Node {
    fn network(&self) -> &Network {
        &self.network
    }

    fn start(&mut self, cx: &mut Context<'_>) {
        let (sender, mail) = cx.mailbox(MAILS_MAX);
        let (orders, forwarders) = match self.part.clone() {
            Part::Leader { block_time } => (self.start_leader(sender, block_time), None),
            Part::Follower { url, poll_interval } => {
                (None, Some(self.start_follower(cx, sender, &url, poll_interval)))
            }
        };
        let onward = forwarders.as_ref().map(Forwarders::queue);
        let readers = work::readers(cx, self.shared.clone(), onward);
        self.running =
            Some(Running { mail, readers, orders, forwarders, taken: 0, is_lost: false });
    }

    fn call(
        &mut self,
        _: &mut Context<'_>,
        ticket: Ticket,
        call: &Call<'_>,
        result: &mut String,
    ) -> Result<Progress, RpcError> {
        let head = self.status.head.get();
        match (&*call.method, head) {
            ("eth_blockNumber", Some(head)) => *result += &format!(r#""{}""#, Quantity(head)),
            ("eth_syncing", _) => *result += "false",
            ("eth_accounts", _) => *result += "[]",
            ("eth_gasPrice", _) => *result += &format!(r#""{}""#, Quantity(GAS_PRICE)),
            ("net_listening", _) => *result += "true",
            ("web3_clientVersion", _) => {
                *result += concat!(r#""weir/v"#, env!("CARGO_PKG_VERSION"), r#"""#);
            }
            ("rpc_modules", _) => {
                *result += r#"{"eth":"1.0","net":"1.0","rpc":"1.0","web3":"1.0","weir":"1.0"}"#;
            }
            (_, Some(head)) => {
                return match Query::parse(call, head)? {
                    Some(query) => self.ask(ticket, query, call),
                    None => self.order(ticket, call),
                };
            }
            // A follower that knows nothing yet.
            (_, None) => return self.forward(ticket, call),
        }
        Ok(Progress::Done)
    }

    fn receive(&mut self, _: &mut Context<'_>) -> Option<Notice> {
        if self.notices.is_empty() {
            let post = self.running.as_mut()?.next()?;
            self.read(post);
        }
        Some(self.notices.pop_front().unwrap_or(Notice::Nothing))
    }

    fn subscribes(&self) -> Result<(), RpcError> {
        match self.part {
            Part::Leader { .. } => Ok(()),
            Part::Follower { .. } => Err(RpcError::server("leader-only")),
        }
    }
}

impl Drop for Node {
    /// Waits for the threads that have the store open. The leader's ends with its queue. Forwarders end
    /// after the call that each makes, and nobody waits for them.
    fn drop(&mut self) {
        if let Some(Running { readers, .. }) = self.running.take() {
            readers.join();
        }
        if self.leader.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("a thread of the node has panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, process};

    use super::*;
    use crate::reactor::Reactor;
    use crate::reactor::settings::Settings;

    #[test]
    fn a_node_whose_thread_has_ended_reports_it_once() {
        let directory = env::temp_dir().join(format!("weir-node-{}", process::id()));
        let store = Arc::new(Store::open(&directory, 1).unwrap());
        let shared = Shared { store, pool: Arc::default() };
        let mut reactor = Reactor::new(Settings::default()).unwrap();
        let id = reactor.next_service_id();
        let mut cx = reactor.context(id);
        let (sender, mail) = cx.mailbox(1);
        let readers = work::readers(&mut cx, shared, None);
        let (orders, forwarders) = (None, None);
        let mut running = Running { mail, readers, orders, forwarders, taken: 0, is_lost: false };
        sender.try_send(Post::Leader(1)).unwrap();
        assert!(matches!(running.next(), Some(Post::Leader(1))));
        assert!(running.next().is_none());
        drop(sender);
        assert!(matches!(running.next(), Some(Post::Standing(Standing::Failing(_)))));
        assert!(running.next().is_none());
        drop(running);
        fs::remove_dir_all(directory).unwrap();
    }
}
