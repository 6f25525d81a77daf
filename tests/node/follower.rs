//! The follower: own answers, calls passed to the leader, and a chain without gaps.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::process::{Directory, Node, command, own_address};
use crate::rpc::call;
use crate::support::{Client, PROXY_VARIABLES, eventually, header};

const SENDER: &str = "0x0101010101010101010101010101010101010101";

/// Checks that all blocks up to `head` are equal.
fn compare(leader: &Node, follower: &Node, head: u64) {
    for number in 0..=head {
        let id = format!("{number:#x}");
        let of = |node: &Node| node.result("eth_getBlockByNumber", json!([id, true]));
        assert_eq!(of(leader), of(follower), "block {number}");
    }
}

#[test]
fn a_follower_answers_from_its_store_and_passes_other_calls_on() {
    let (leads, follows) = (Directory::new(), Directory::new());
    let leader = Node::leader(&leads);
    leader.result("weir_mine", json!([200]));
    let mut follower = Node::follower(&follows, leader.rpc);
    follower.reach(200);
    // Calls that need the leader are passed to it.
    let emitted = follower.result("weir_emit", json!([[{"address": SENDER}]]));
    assert_eq!(leader.result("eth_getTransactionByHash", json!([emitted]))["hash"], emitted);
    assert_eq!(follower.result("eth_getTransactionByHash", json!([emitted]))["hash"], emitted);
    assert_eq!(follower.result("weir_mine", json!([])), "0xc9");
    follower.reach(201);
    compare(&leader, &follower, 201);
    let unknown = follower.call("eth_nothing", json!([]));
    assert_eq!(unknown["error"]["code"], -32601);
    let mut client = follower.client();
    for (method, params) in
        [("eth_subscribe", json!(["newHeads"])), ("eth_unsubscribe", json!(["0x1"]))]
    {
        let error = json!({"code": -32000, "message": "leader-only"});
        assert_eq!(call(&mut client, method, &params)["error"], error);
    }
    let ready = follower.asked("/readyz");
    assert_eq!((ready.0, &ready.1["role"], &ready.1["lag"]), (200, &json!("follower"), &json!(0)));

    // Without its leader, it answers from its store, and with an error otherwise.
    leader.kill();
    let logs = follower.result("eth_getLogs", json!([{"fromBlock": "0x0", "address": SENDER}]));
    assert_eq!(logs[0]["transactionHash"], emitted);
    assert_eq!(follower.result("eth_blockNumber", json!([])), "0xc9");
    let error = follower.call("eth_gasLimit", json!([]))["error"].clone();
    assert_eq!(
        (&error["code"], &error["message"]),
        (&json!(-32000), &json!("the leader cannot be reached"))
    );
    eventually(|| follower.asked("/readyz").0 == 503, "it is not ready without a leader");
    assert_eq!(follower.asked("/healthz").0, 200);

    // The same after a restart of the follower.
    follower.signal(Signal::TERM);
    assert_eq!(follower.end().0, Some(0));
    let follower =
        Node::start(&follows, &["--role", "follower", "--follow-rpc", "http://127.0.0.1:9"]);
    assert_eq!(follower.result("eth_blockNumber", json!([])), "0xc9");
    let block = follower.result("eth_getBlockByNumber", json!(["latest", false]));
    assert_eq!(block["transactions"], json!([emitted]));
}

#[test]
fn a_follower_fills_the_gap_after_its_leader_was_away() {
    let (leads, follows) = (Directory::new(), Directory::new());
    let mut leader = Node::leader_at(&leads, &own_address());
    let address = leader.rpc.to_string();
    let follower = Node::follower(&follows, leader.rpc);
    for round in 1..=3 {
        leader.result("weir_mine", json!([5]));
        follower.reach(10 * round - 5);
        leader.kill();
        eventually(|| follower.asked("/readyz").0 == 503, "it notices");
        leader = Node::leader_at(&leads, &address);
        leader.result("weir_mine", json!([5]));
        follower.reach(10 * round);
    }
    compare(&leader, &follower, 30);
    eventually(|| follower.asked("/readyz").0 == 200, "it is ready again");
}

#[test]
fn a_follower_goes_back_to_the_fork() {
    let (leads, follows) = (Directory::new(), Directory::new());
    let leader = Node::leader_at(&leads, &own_address());
    let address = leader.rpc.to_string();
    leader.result("weir_mine", json!([3]));
    let follower = Node::follower(&follows, leader.rpc);
    follower.reach(3);
    leader.kill();
    let (before, longer) = (leads.copy(), leads.copy());

    // Two forks from block 3, the second one shorter at first.
    let leader = Node::leader_at(&leads, &address);
    let lost = leader.result("weir_emit", json!([[{"address": SENDER}]]));
    leader.result("weir_mine", json!([3]));
    follower.reach(6);
    leader.kill();
    let leader = Node::leader_at(&before, &address);
    let kept = leader.result("weir_emit", json!([[{"address": SENDER}]]));
    leader.result("weir_mine", json!([2]));
    let head = leader.result("eth_getBlockByNumber", json!(["latest", false]));
    eventually(
        || follower.result("eth_getBlockByNumber", json!(["latest", false])) == head,
        "it follows the other way",
    );
    compare(&leader, &follower, 5);
    assert_eq!(follower.result("eth_getTransactionByHash", json!([lost])), Value::Null);
    assert_eq!(follower.result("eth_getTransactionByHash", json!([kept]))["hash"], kept);

    // A third fork, which is already longer when the follower first sees it.
    follower.kill();
    leader.kill();
    let leader = Node::leader_at(&longer, &address);
    leader.result("weir_emit", json!([[{"address": SENDER}]]));
    leader.result("weir_mine", json!([6]));
    let follower = Node::follower(&follows, leader.rpc);
    follower.reach(9);
    compare(&leader, &follower, 9);
    assert_eq!(follower.result("eth_getTransactionByHash", json!([kept])), Value::Null);
}

/// A follower with an empty store requests everything.
#[test]
fn a_follower_may_start_before_its_leader() {
    let (leads, follows) = (Directory::new(), Directory::new());
    let leader = Node::leader_at(&leads, &own_address());
    let address = leader.rpc.to_string();
    leader.kill();
    let follower = Node::start(
        &follows,
        &["--role", "follower", "--follow-rpc", &format!("http://{address}/")],
    );
    assert_eq!(follower.result("eth_chainId", json!([])), "0x849");
    assert_eq!(follower.call("eth_blockNumber", json!([]))["error"]["code"], -32000);
    assert_eq!(follower.asked("/readyz").0, 503);
    let leader = Node::leader_at(&leads, &address);
    leader.result("weir_mine", json!([]));
    follower.reach(1);
    compare(&leader, &follower, 1);
}

/// Killed repeatedly while it catches up: the head that it has returned is stored, and it continues from
/// there.
#[test]
fn kill_9_of_a_follower_loses_no_returned_head() {
    let (leads, follows) = (Directory::new(), Directory::new());
    let leader = Node::leader(&leads);
    leader.result("weir_mine", json!([300]));
    let head = |node: &Node| node.asked("/healthz").1["head"].as_u64().unwrap_or(0);
    let mut reported = 0;
    for round in 1..=4 {
        let follower = Node::follower(&follows, leader.rpc);
        assert!(head(&follower) >= reported, "round {round}");
        follower.reach(70 * round);
        reported = head(&follower);
        follower.kill();
    }
    let follower = Node::follower(&follows, leader.rpc);
    follower.reach(300);
    compare(&leader, &follower, 300);
}

/// The leader is a follower itself, which offers no subscriptions to followers.
#[test]
fn a_follower_polls_a_leader_without_subscriptions() {
    let directories = [Directory::new(), Directory::new(), Directory::new()];
    let leader = Node::leader(&directories[0]);
    let first = Node::follower(&directories[1], leader.rpc);
    eventually(|| leader.asked("/healthz").1["subscriptions"] == 1, "it hears of heads");
    let second = Node::follower(&directories[2], first.rpc);
    for head in 1..=3 {
        leader.result("weir_mine", json!([]));
        second.reach(head);
    }
    compare(&leader, &second, 3);
    // Calls are passed on to the first leader.
    assert_eq!(second.result("weir_mine", json!([])), "0x4");
}

#[test]
fn http_proxy_is_ignored() {
    let (leads, follows) = (Directory::new(), Directory::new());
    let leader = Node::leader(&leads);
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", leader.rpc);
    let mut command = command(&follows, &["--role", "follower", "--follow-rpc", &url]);
    for variable in PROXY_VARIABLES {
        command.env(variable, format!("http://{}", proxy.local_addr().unwrap()));
    }
    let follower = Node::spawn(&mut command);
    leader.result("weir_mine", json!([3]));
    follower.reach(3);
    proxy.set_nonblocking(true).unwrap();
    assert_eq!(proxy.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// A server that answers every connection with a redirect to another one.
fn redirect(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut peer = Client::over(stream.unwrap());
            let head = peer.head();
            let length =
                header(&head, "Content-Length").map_or(0, |length| length.parse().unwrap());
            peer.bytes(length);
            let answer = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{to}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            peer.raw(answer.as_bytes());
        }
    });
    address
}

#[test]
fn redirects_are_not_followed() {
    let (leads, follows) = (Directory::new(), Directory::new());
    let leader = Node::leader(&leads);
    leader.result("weir_mine", json!([3]));
    let mut follower = Node::follower(&follows, redirect(leader.rpc));
    follower.logged("HTTP status is 307");
    let error = follower.call("eth_blockNumber", json!([]))["error"].clone();
    assert_eq!(error["message"], "the leader's answer has HTTP status 307");
}

/// The leader's directory was deleted, so that it makes another chain. The follower does not replace its
/// own chain, even by a longer one, until an operator decides.
#[test]
fn a_follower_of_a_replaced_chain_is_not_ready_and_keeps_its_own() {
    let (leads, others, follows) = (Directory::new(), Directory::new(), Directory::new());
    let leader = Node::leader_at(&leads, &own_address());
    let address = leader.rpc.to_string();
    leader.result("weir_mine", json!([3]));
    let mut follower = Node::follower(&follows, leader.rpc);
    follower.reach(3);
    eventually(|| follower.asked("/readyz").0 == 200, "it is ready");
    let own = follower.result("eth_getBlockByNumber", json!(["latest", false]));
    leader.kill();
    let leader = Node::leader_at(&others, &address);
    let reason = |follower: &Node| {
        follower.asked("/readyz").1["reason"].as_str().unwrap_or_default().to_owned()
    };
    eventually(|| reason(&follower).contains("has a different chain"), "the reason is shown");
    // As long as the follower's chain, and longer: the lag shows that the follower has seen it.
    for (count, lag) in [(3, 0), (1, 1), (5, 6)] {
        leader.result("weir_mine", json!([count]));
        eventually(|| follower.asked("/readyz").1["lag"] == lag, "it looks");
        let (status, ready) = follower.asked("/readyz");
        assert_eq!((status, &ready["head"]), (503, &json!(3)), "{ready}");
    }
    let foreign = leader.result("eth_getBlockByNumber", json!(["0x5", false]));
    for (method, params) in [
        ("eth_getBlockByNumber", json!(["0x5", false])),
        ("eth_getBlockByHash", json!([foreign["hash"], false])),
        ("eth_getLogs", json!([{"fromBlock": "0x0", "toBlock": "0x5"}])),
        ("eth_sendRawTransaction", json!(["0x01"])),
    ] {
        let error = follower.call(method, params)["error"].clone();
        assert_eq!(error["code"], -32000, "{method}: {error}");
    }
    assert_eq!(follower.result("eth_getBlockByNumber", json!(["latest", false])), own);

    // A restart changes nothing; a new directory does.
    follower.signal(Signal::TERM);
    assert_eq!(follower.end().0, Some(0));
    let follower = Node::follower(&follows, leader.rpc);
    eventually(|| reason(&follower).contains("has a different chain"), "the reason is shown again");
    assert_eq!(follower.result("eth_getBlockByNumber", json!(["latest", false])), own);
    follower.kill();
    let fresh = Directory::new();
    let follower = Node::follower(&fresh, leader.rpc);
    follower.reach(9);
    eventually(|| follower.asked("/readyz").0 == 200, "it is ready");
}

/// A proxy to a leader that loses one answer on request: further bytes of the leader on that connection
/// are dropped, and the connection stays open.
struct Lossy {
    address: SocketAddr,
    loses: Arc<AtomicBool>,
    /// Receives a message when a request was passed on whose answer is lost.
    lost: Receiver<()>,
}

impl Lossy {
    fn new(leader: SocketAddr) -> Lossy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let loses = Arc::<AtomicBool>::default();
        let (held, lost) = channel();
        let flag = Arc::clone(&loses);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(leader).unwrap());
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (flag, held) = (Arc::clone(&flag), held.clone());
                let is_lost = Arc::<AtomicBool>::default();
                let loses = Arc::clone(&is_lost);
                thread::spawn(move || {
                    copy(from, to, |bytes| {
                        if bytes.starts_with(b"POST ") && flag.swap(false, Ordering::SeqCst) {
                            loses.store(true, Ordering::SeqCst);
                            held.send(()).unwrap();
                        }
                        true
                    });
                });
                thread::spawn(move || copy(server, client, |_| !is_lost.load(Ordering::SeqCst)));
            }
        });
        Lossy { address, loses, lost }
    }
}

/// Copies the bytes that `passes` accepts, until the end of the stream.
fn copy(mut from: TcpStream, mut to: TcpStream, mut passes: impl FnMut(&[u8]) -> bool) {
    let mut bytes = [0; 64 * 1024];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        if passes(&bytes[..len]) && to.write_all(&bytes[..len]).is_err() {
            return;
        }
    }
}

#[test]
fn a_lost_answer_does_not_stop_a_follower() {
    let (leads, follows) = (Directory::new(), Directory::new());
    let leader = Node::leader(&leads);
    let way = Lossy::new(leader.rpc);
    let url = format!("http://{}", way.address);
    let flags = ["--role", "follower", "--follow-rpc", &url, "--poll-interval", "1h"];
    let mut follower = Node::start(&follows, &[&flags[..], &["--log", "debug"]].concat());
    leader.result("weir_mine", json!([3]));
    follower.reach(3);
    way.loses.store(true, Ordering::SeqCst);
    for _ in 0..20 {
        leader.result("weir_mine", json!([1]));
        thread::sleep(Duration::from_millis(100));
    }
    way.lost.try_recv().expect("a request whose answer is lost");
    follower.logged("calling again");
    follower.reach(23);
}
