//! A node of an embedded development chain: a leader that makes the blocks, or a follower that
//! copies them from its leader.
//!
//! [`Node`] is the part on the loop. It answers a call at once if it can. Queries of the store go
//! to threads, commands to the leader's thread, and calls that a follower cannot answer to its
//! leader. All queues are bounded; a call that finds one full gets -32005 `busy`.
//!
//! | module | owns |
//! |---|---|
//! | `record`, `store` | a block, and the blocks on disk |
//! | `mempool` | transactions that wait for a block |
//! | `store_query` | calls that the store answers |
//! | `jobs` | the threads that read the store and that call the leader |
//! | `leader`, `commands` | the thread that makes blocks, and its commands |
//! | `follower`, `leader_calls`, `leader_client` | the thread that copies blocks, and its calls |
//! | `leader_subscription`, `peers` | connections that announce new blocks |
//! | `status` | whether the node works, for `/healthz` and `/readyz` |

mod commands;
mod follower;
mod jobs;
mod leader;
mod leader_calls;
mod leader_client;
mod leader_subscription;
mod limits;
mod mail;
mod mempool;
mod peers;
mod record;
mod settings;
mod shared;
mod status;
mod store;
mod store_query;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use self::commands::Command;
use self::follower::Follower;
use self::jobs::{ForwardJob, Forwarders, QUEUE_MAX, Readers, StoreJob, answered, queued};
use self::leader::Leader;
use self::leader_calls::LeaderCalls;
use self::leader_client::LeaderClient;
use self::limits::{PAUSE_MAX, PAUSE_MIN};
use self::mail::NodeMail;
use self::peers::Announcer;
use self::record::{GAS_PRICE, Record};
use self::shared::Shared;
use self::status::{NodeState, Status};
use self::store::Store;
use self::store_query::StoreQuery;
use super::backend::{Backend, Network, Notice, Progress, Ticket};
use super::counts::Counts;
use super::wire::error::RpcError;
use super::wire::hex::Quantity;
use super::wire::request::Call;
use crate::reactor::{Context, MailReceiver, MailSender, RouteId, Task};
use crate::upstream::backoff::Backoff;
use crate::upstream::url::UpstreamUrl;

pub use self::leader_subscription::LeaderSubscription;
pub use self::peers::{
    BOOT_PEERS_MAX, BootPeers, CHAIN_NAME_MAX, INBOUND_PEERS_MAX, P2P_PATH, PeerAddress,
    PeerCounts, Peers, peer_route,
};
pub use self::settings::{NodeSettings, POLL_INTERVAL_DEFAULT, Role, RoleSettings};
pub use self::status::Health;
pub use self::store::StoreError;

/// Capacity of the mailbox of the leader's or the follower's thread. When it is full, the thread
/// waits for the loop.
const MAILBOX_MAX: usize = 1024;

/// The threads of a running node.
#[derive(Debug)]
struct Running {
    mail: MailReceiver<NodeMail>,
    readers: Readers,
    /// The queue of the leader's thread; `None` at a follower.
    commands: Option<SyncSender<Command>>,
    /// `None` at a leader.
    forwarders: Option<Forwarders>,
    /// Messages and answers taken so far.
    taken: usize,
    /// The thread that produces or fetches blocks has ended, and this was reported.
    thread_ended: bool,
}

impl Running {
    /// The next message or answer. Each source has its turn, so that none waits for all of another.
    fn next(&mut self) -> Option<NodeMail> {
        (0..3).find_map(|_| {
            self.taken += 1;
            match self.taken % 3 {
                0 => self.next_mail(),
                1 => self.readers.take().map(answered),
                _ => self.forwarders.as_mut()?.take().map(answered),
            }
        })
    }

    /// The next message of the thread that produces or fetches blocks. If that has ended, the node
    /// is no longer healthy: this is reported once.
    fn next_mail(&mut self) -> Option<NodeMail> {
        match self.mail.try_recv() {
            Ok(mail) => Some(mail),
            Err(TryRecvError::Disconnected) if !self.thread_ended => {
                self.thread_ended = true;
                let reason = "the thread of the chain has ended";
                log::error!("{reason}");
                Some(NodeMail::State(NodeState::Failing(reason.to_owned())))
            }
            Err(_) => None,
        }
    }
}

/// The part of a node that runs on the loop.
#[derive(Debug)]
pub struct Node {
    network: Network,
    role: RoleSettings,
    shared: Shared,
    head: Option<Record>,
    status: Rc<Status>,
    running: Option<Running>,
    /// Notices of the last mail that are not announced yet.
    notices: VecDeque<Notice>,
    /// Announces each new head to the node's peers.
    announcer: Rc<Announcer>,
    /// Wakes the follower thread. The thread takes the receiver when it starts.
    waker: (SyncSender<()>, Option<Receiver<()>>),
    /// The thread of a leader.
    leader: Option<JoinHandle<()>>,
}

impl Node {
    /// Opens the data directory, and creates the store if it is empty.
    ///
    /// # Errors
    /// Another process uses the directory, it holds another chain, or it cannot be read or written.
    pub fn open(settings: NodeSettings) -> Result<Node, StoreError> {
        let NodeSettings { chain_id, data_dir, role: role_settings } = settings;
        let store = Arc::new(Store::open(&data_dir, chain_id)?);
        let shared = Shared { store, mempool: Arc::default() };
        let (role, head) = match &role_settings {
            RoleSettings::Leader { .. } => {
                (Role::Leader, Some(leader::first_head(&shared, chain_id)?))
            }
            RoleSettings::Follower { .. } => (Role::Follower, shared.store.read()?.last()?),
        };
        let number = head.as_ref().map(|head| head.number);
        let state = match role {
            Role::Leader => NodeState::Working,
            Role::Follower => NodeState::Failing("the leader has not answered yet".to_owned()),
        };
        let status = Status {
            role,
            chain_id,
            head: number.into(),
            leader_head: number.filter(|_| role == Role::Leader).into(),
            state: state.into(),
        };
        let announcer = Rc::<Announcer>::default();
        if let Some(head) = &head {
            announcer.announce(head.number, head.hash);
        }
        let (waker, woken) = sync_channel(1);
        Ok(Node {
            network: Network { project: role.name().to_owned(), architecture: "evm", chain_id },
            role: role_settings,
            shared,
            head,
            status: Rc::new(status),
            running: None,
            notices: VecDeque::new(),
            announcer,
            waker: (waker, Some(woken)),
            leader: None,
        })
    }

    /// The service of the health address. `counts` are those of the node's [`Rpc`](super::Rpc).
    pub fn health(&self, counts: Rc<Counts>) -> Health {
        Health::new(Rc::clone(&self.status), counts)
    }

    /// The service that subscribes to the leader's blocks; `None` at a leader, and at a follower
    /// whose leader has TLS. `route` has the limits of its connection.
    pub fn leader_subscription(&self, route: RouteId) -> Option<LeaderSubscription> {
        match &self.role {
            RoleSettings::Leader { .. } => None,
            RoleSettings::Follower { url, .. } => {
                LeaderSubscription::new(url, route, self.waker.0.clone())
            }
        }
    }

    /// The service of the P2P address: it notifies other nodes of new blocks, and connects to the
    /// `boot` peers for their notifications, by the route `outbound`. `chain` is the name of the
    /// chain: nodes of chains with different names do not exchange notifications.
    pub fn peers(&self, chain: Option<String>, boot: BootPeers, outbound: RouteId) -> Peers {
        let waker = match &self.role {
            RoleSettings::Leader { .. } => None,
            RoleSettings::Follower { .. } => Some(self.waker.0.clone()),
        };
        let announcer = Rc::clone(&self.announcer);
        Peers::new(self.network.chain_id, chain, boot, announcer, waker, outbound)
    }

    fn start_leader(
        &mut self,
        mail: MailSender<NodeMail>,
        block_time: Option<Duration>,
    ) -> Option<SyncSender<Command>> {
        let (sender, commands) = sync_channel(QUEUE_MAX);
        let leader = Leader {
            chain_id: self.network.chain_id,
            block_time,
            shared: self.shared.clone(),
            head: self.head.take()?,
            commands,
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
        mail: MailSender<NodeMail>,
        url: &UpstreamUrl,
        poll_interval: Duration,
    ) -> Forwarders {
        // One call of each forwarder, and one of the follower thread.
        let client = LeaderClient::new(url, jobs::FORWARDERS + 1);
        if let Some(woken) = self.waker.1.take() {
            let follower = Follower {
                chain_id: self.network.chain_id,
                leader: LeaderCalls::new(client.clone(), woken),
                shared: self.shared.clone(),
                head: self.head.take(),
                poll_interval,
                mail,
                state: None,
                has_failed: false,
            };
            thread::spawn(|| follower.run());
        }
        jobs::forwarders(cx, client)
    }

    /// Queries the store, and then the leader if the store does not have the answer.
    fn query(
        &self,
        ticket: Ticket,
        query: StoreQuery,
        call: &Call<'_>,
    ) -> Result<Progress, RpcError> {
        let running = self.running()?;
        let forward = running.forwarders.as_ref().map(|_| ForwardJob::new(ticket, call));
        queued(running.readers.try_put(Task::new(ticket, StoreJob { ticket, query, forward })))
    }

    fn forward(&self, ticket: Ticket, call: &Call<'_>) -> Result<Progress, RpcError> {
        if let NodeState::Diverged(_) = &*self.status.state.borrow() {
            return Err(RpcError::server("the leader has a different chain"));
        }
        match &self.running()?.forwarders {
            Some(forwarders) => {
                queued(forwarders.try_put(Task::new(ticket, ForwardJob::new(ticket, call))))
            }
            None => Err(RpcError::unknown_method(&call.method)),
        }
    }

    /// Gives a command to the leader's thread; a follower forwards the call to its leader.
    fn command(&self, ticket: Ticket, call: &Call<'_>) -> Result<Progress, RpcError> {
        let Some(commands) = &self.running()?.commands else {
            return self.forward(ticket, call);
        };
        queued(commands.try_send(Command::parse(ticket, call)?))
    }

    fn running(&self) -> Result<&Running, RpcError> {
        self.running.as_ref().ok_or_else(RpcError::internal)
    }

    fn on_mail(&mut self, mail: NodeMail) {
        match mail {
            NodeMail::Answer(ticket, outcome) => {
                self.notices.push_back(Notice::Answer { tickets: vec![ticket], outcome });
            }
            NodeMail::Block(block) => {
                self.status.head.set(Some(block.number));
                self.announcer.announce(block.number, block.hash);
                self.notices.push_back(Notice::Head(block.header));
                let logs = block.logs.into_iter().map(|log| Notice::Log(log.into()));
                self.notices.extend(logs);
            }
            NodeMail::Pending { hash, full } => {
                self.notices.push_back(Notice::Pending { hash, full: Some(full) });
            }
            NodeMail::LeaderHead(number) => self.status.leader_head.set(Some(number)),
            NodeMail::State(state) => {
                self.status.state.replace(state);
            }
        }
    }
}

impl Backend for Node {
    fn network(&self) -> &Network {
        &self.network
    }

    fn start(&mut self, cx: &mut Context<'_>) {
        let (sender, mail) = cx.mailbox(MAILBOX_MAX);
        let (commands, forwarders) = match self.role.clone() {
            RoleSettings::Leader { block_time } => (self.start_leader(sender, block_time), None),
            RoleSettings::Follower { url, poll_interval } => {
                (None, Some(self.start_follower(cx, sender, &url, poll_interval)))
            }
        };
        let forwards = forwarders.as_ref().map(Forwarders::queue);
        let readers = jobs::readers(cx, self.shared.clone(), forwards);
        self.running =
            Some(Running { mail, readers, commands, forwarders, taken: 0, thread_ended: false });
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
                return match StoreQuery::parse(call, head)? {
                    Some(query) => self.query(ticket, query, call),
                    None => self.command(ticket, call),
                };
            }
            // A follower without any block.
            (_, None) => return self.forward(ticket, call),
        }
        Ok(Progress::Done)
    }

    fn receive(&mut self, _: &mut Context<'_>) -> Option<Notice> {
        if self.notices.is_empty() {
            let mail = self.running.as_mut()?.next()?;
            self.on_mail(mail);
        }
        Some(self.notices.pop_front().unwrap_or(Notice::Nothing))
    }

    fn check_can_subscribe(&self) -> Result<(), RpcError> {
        match self.role {
            RoleSettings::Leader { .. } => Ok(()),
            RoleSettings::Follower { .. } => Err(RpcError::server("leader-only")),
        }
    }
}

impl Drop for Node {
    /// Waits for the threads that have the store open. The leader's thread ends with its queue.
    /// Forwarders end with their current calls, which is not waited for.
    fn drop(&mut self) {
        if let Some(Running { readers, .. }) = self.running.take() {
            readers.join();
        }
        if self.leader.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the leader's thread has panicked");
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
        let shared = Shared { store, mempool: Arc::default() };
        let mut reactor = Reactor::new(Settings::default()).unwrap();
        let id = reactor.next_service_id();
        let mut cx = reactor.context(id);
        let (sender, mail) = cx.mailbox(1);
        let readers = jobs::readers(&mut cx, shared, None);
        let (commands, forwarders) = (None, None);
        let mut running =
            Running { mail, readers, commands, forwarders, taken: 0, thread_ended: false };
        sender.try_send(NodeMail::LeaderHead(1)).unwrap();
        assert!(matches!(running.next(), Some(NodeMail::LeaderHead(1))));
        assert!(running.next().is_none());
        drop(sender);
        assert!(matches!(running.next(), Some(NodeMail::State(NodeState::Failing(_)))));
        assert!(running.next().is_none());
        drop(running);
        fs::remove_dir_all(directory).unwrap();
    }
}
