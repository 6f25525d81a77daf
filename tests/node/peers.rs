//! The P2P address: nodes notify each other of new blocks there, and trust no other message.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::process::{Directory, Node};
use crate::support::{BINARY, Client, PING, PONG, TEXT, eventually};

const P2P: &str = "127.0.0.1:0";
/// A poll interval so long that a follower gets a new block only after a notification.
const RARELY: &str = "1h";
/// As in the node: a follower is woken at most once in this time.
const WAKE_PAUSE: Duration = Duration::from_millis(50);
const INBOUND_PEERS_MAX: usize = 64;

fn leader(directory: &Directory, flags: &[&str]) -> (Node, SocketAddr) {
    let leader =
        Node::start(directory, &[&["-block-time", "off", "-p2p-addr", P2P], flags].concat());
    let p2p = leader.p2p();
    (leader, p2p)
}

fn follower(directory: &Directory, leader: &Node, flags: &[&str]) -> Node {
    let url = format!("http://{}", leader.rpc);
    let usual = ["-follow-rpc", &url, "-p2p-addr", P2P, "-poll-interval", RARELY];
    Node::start(directory, &[&usual, flags].concat())
}

fn hello(chain_id: &str, chain: Value) -> String {
    json!({"type": "hello", "chainId": chain_id, "chain": chain, "node": "0123456789abcdef"})
        .to_string()
}

fn head(number: u64) -> String {
    json!({"type": "head", "number": format!("{number:#x}"), "hash": format!("0x{number:064x}")})
        .to_string()
}

fn message(client: &mut Client) -> Value {
    let frame = client.frame();
    assert_eq!(frame.opcode, TEXT);
    serde_json::from_slice(&frame.payload).unwrap()
}

/// A peer that has introduced itself, and has received the node's introduction.
fn peer(p2p: SocketAddr) -> Client {
    let mut client = Client::open(p2p, "/p2p");
    client.text(&hello("0x849", Value::Null));
    assert_eq!(message(&mut client)["type"], "hello");
    client
}

fn peers(node: &Node) -> Option<u64> {
    sample(node, "weir_node_peers{")
}

fn sample(node: &Node, start: &str) -> Option<u64> {
    let (_, text) = node.answer("/metrics");
    let line = text.lines().find(|line| line.starts_with(start))?;
    line.rsplit(' ').next()?.parse::<f64>().ok().map(|value| value as u64)
}

#[test]
fn a_boot_peer_notifies_a_follower_of_each_block() {
    let (leads, follows) = (Directory::new(), Directory::new());
    let (leader, p2p) = leader(&leads, &[]);
    let follower = follower(&follows, &leader, &["-boot-peers", &p2p.to_string()]);
    eventually(|| peers(&follower) == Some(1), "it is connected");
    for number in 1..=5 {
        leader.result("weir_mine", json!([]));
        follower.reach(number);
    }
    // The follower does not subscribe in addition.
    assert_eq!(leader.asked("/healthz").1["subscriptions"], 0);
    assert_eq!(peers(&leader), Some(1));
    assert!(sample(&follower, "weir_node_peer_heads_received_total{") >= Some(5));
}

#[test]
fn a_follower_without_boot_peers_subscribes_at_its_leader() {
    let (leads, follows) = (Directory::new(), Directory::new());
    let (leader, _) = leader(&leads, &[]);
    let follower = follower(&follows, &leader, &[]);
    eventually(|| leader.asked("/healthz").1["subscriptions"] == 1, "it subscribes");
    leader.result("weir_mine", json!([]));
    follower.reach(1);
}

#[test]
fn followers_notify_each_other() {
    let directories = [Directory::new(), Directory::new(), Directory::new()];
    let (leader, p2p) = leader(&directories[0], &[]);
    let first = follower(&directories[1], &leader, &["-boot-peers", &p2p.to_string()]);
    let first_p2p = first.p2p().to_string();
    let second = follower(&directories[2], &leader, &["-boot-peers", &first_p2p]);
    eventually(|| peers(&first) == Some(2) && peers(&second) == Some(1), "all are connected");
    for number in 1..=5 {
        leader.result("weir_mine", json!([]));
        second.reach(number);
    }
}

#[test]
fn a_lost_boot_peer_is_connected_again() {
    let directories = [Directory::new(), Directory::new(), Directory::new()];
    let (leader, _) = leader(&directories[0], &[]);
    let listening = |address: &str| {
        let flags = ["-block-time", "off", "-p2p-addr", address];
        Node::start(&directories[1], &flags)
    };
    let relay = listening(&super::process::own_address());
    let p2p = relay.p2p().to_string();
    let follower = follower(&directories[2], &leader, &["-boot-peers", &p2p]);
    eventually(|| peers(&follower) == Some(1), "it is connected");
    relay.kill();
    eventually(|| peers(&follower) == Some(0), "it notices the loss");
    let _relay = listening(&p2p);
    eventually(|| peers(&follower) == Some(1), "it is connected again");
}

#[test]
fn a_node_that_shuts_down_does_not_connect_to_its_peers_again() {
    let directories = [Directory::new(), Directory::new()];
    let (leader, p2p) = leader(&directories[0], &[]);
    let mut follower = follower(&directories[1], &leader, &["-boot-peers", &p2p.to_string()]);
    eventually(|| peers(&follower) == Some(1), "it is connected");
    follower.signal(Signal::TERM);
    let (code, log) = follower.end();
    assert!(code == Some(0) && !log.contains("trying again"), "{log}");
}

#[test]
fn forged_heads_change_nothing_and_cost_the_leader_little() {
    let (leads, follows) = (Directory::new(), Directory::new());
    let (leader, p2p) = leader(&leads, &[]);
    let follower = follower(&follows, &leader, &["-boot-peers", &p2p.to_string()]);
    leader.result("weir_mine", json!([]));
    follower.reach(1);
    let questions = || sample(&leader, "weir_rpc_requests_total{").unwrap();
    let class = leader.answer("/metrics").1.contains("class=\"info\"");
    assert!(class, "the metrics have the class of cheap calls");

    let mut forger = peer(follower.p2p());
    let started = Instant::now();
    let before = questions();
    for number in 0..5000 {
        forger.text(&head(1_000_000 + number));
    }
    forger.send(PING, b"after all of them");
    while forger.frame().opcode != PONG {}
    let asked = questions() - before;
    let pauses = started.elapsed().as_millis() / WAKE_PAUSE.as_millis();
    assert!(u128::from(asked) <= pauses + 2, "{asked} questions in {pauses} pauses");

    let (status, health) = follower.asked("/readyz");
    assert_eq!((status, &health["head"]), (200, &json!(1)));
    let logs = json!([{"fromBlock": "0x0", "toBlock": "latest"}]);
    assert_eq!(follower.result("eth_getLogs", logs), json!([]));
}

#[test]
fn peers_of_another_chain_are_closed() {
    let directory = Directory::new();
    let (_leader, p2p) = leader(&directory, &["-chain-id", "local-1"]);
    for other in [hello("0x7", Value::Null), hello("0x849", json!("local-2"))] {
        let mut client = Client::open(p2p, "/p2p");
        let ours = message(&mut client);
        assert_eq!((&ours["chainId"], &ours["chain"]), (&json!("0x849"), &json!("local-1")));
        client.text(&other);
        assert_eq!(client.expect_close(), (1008, "another chain".to_owned()));
    }
}

#[test]
fn malformed_messages_close_the_connection() {
    let directory = Directory::new();
    let (_leader, p2p) = leader(&directory, &[]);
    for (text, reason) in [
        (head(1), "hello is expected first"),
        ("[]".to_owned(), "malformed message"),
        (r#"{"type":"hello","chainId":"x"}"#.to_owned(), "malformed message"),
    ] {
        let mut client = Client::open(p2p, "/p2p");
        client.text(&text);
        assert_eq!(client.expect_close(), (1008, reason.to_owned()), "{text}");
    }
    let mut client = peer(p2p);
    client.text(r#"{"type":"of a later version"}"#);
    client.send(BINARY, b"{}");
    assert_eq!(client.expect_close(), (1003, "text is expected".to_owned()));
    let mut client = peer(p2p);
    client.text(&"x".repeat(2000));
    assert_eq!(client.expect_close().0, 1009);
}

#[test]
fn a_peer_above_the_limit_is_refused() {
    let directory = Directory::new();
    let (leader, p2p) = leader(&directory, &[]);
    let held: Vec<Client> = (0..INBOUND_PEERS_MAX).map(|_| peer(p2p)).collect();
    let mut one_more = Client::tcp(p2p);
    let head = one_more.request(&crate::support::upgrade("/p2p", ""));
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    drop(held);
    eventually(|| peers(&leader) == Some(0), "they are gone");
    peer(p2p);
}

#[test]
fn a_node_does_not_stay_connected_to_itself() {
    let directory = Directory::new();
    let address = super::process::own_address();
    let first = Node::start(&directory, &["-block-time", "off", "-p2p-addr", &address]);
    let p2p = first.p2p().to_string();
    first.kill();
    let flags = ["-block-time", "off", "-p2p-addr", &p2p, "-boot-peers", &p2p, "-log", "info"];
    let mut node = Node::start(&directory, &flags);
    node.logged("is this node");
    eventually(|| peers(&node) == Some(0), "no peer");
}

#[test]
fn the_rpc_address_has_no_path_for_peers() {
    let directory = Directory::new();
    let (leader, p2p) = leader(&directory, &[]);
    let upgrade = |path| crate::support::upgrade(path, "");
    assert!(Client::tcp(leader.rpc).request(&upgrade("/p2p")).starts_with("HTTP/1.1 404 "));
    assert!(Client::tcp(p2p).request(&upgrade("/")).starts_with("HTTP/1.1 404 "));
}
