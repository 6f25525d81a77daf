//! Clients of a node that send fast, do not read, or leave at any time.

use std::io::Write as _;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::process::{Directory, Node};
use crate::rpc::{call, json as next};
use crate::support::{Client, TEXT, crowd, eventually, frame};

const SENDER: &str = "0x0101010101010101010101010101010101010101";

fn request(id: usize, method: &str, params: &Value) -> Vec<u8> {
    let call = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    frame(true, TEXT, call.to_string().as_bytes())
}

/// Numbers of connections, subscriptions and pending calls.
fn counts(node: &Node) -> [u64; 3] {
    let (_, health) = node.asked("/healthz");
    ["connections", "subscriptions", "calls"].map(|name| health[name].as_u64().unwrap())
}

/// Half of the requests are answered by other threads, so that reading pauses repeatedly.
#[test]
fn a_blast_of_20000_requests_is_answered_and_ends_with_1000() {
    let directory = Directory::new();
    let node = Node::leader(&directory);
    let mut client = node.client();
    let mut writer = client.writer();
    let sending = thread::spawn(move || {
        for burst in 0..100 {
            let ids = 200 * burst..200 * (burst + 1);
            let requests = ids.flat_map(|id| match id % 2 {
                0 => request(id, "eth_chainId", &json!([])),
                _ => request(id, "eth_getBlockByNumber", &json!(["0x0", false])),
            });
            writer.write_all(&requests.collect::<Vec<u8>>()).unwrap();
        }
    });
    let mut answered = vec![false; 20_000];
    for _ in 0..20_000 {
        let answer = next(&mut client);
        let id = answer["id"].as_u64().unwrap() as usize;
        assert!(!std::mem::replace(&mut answered[id], true), "{id} is answered once");
        match id % 2 {
            0 => assert_eq!(answer["result"], "0x849"),
            _ => assert_eq!(answer["result"]["number"], "0x0"),
        }
    }
    sending.join().unwrap();
    client.close(1000, "");
    assert_eq!(client.expect_close(), (1000, String::new()));
    eventually(|| counts(&node) == [0, 0, 0], "nothing is left");
}

/// A client with subscriptions, pending calls, and answers that it never reads.
fn busy(node: &Node) -> Client {
    let mut client = node.client();
    // Heads are sent at once, so the client subscribes to them last.
    for kind in ["logs", "newPendingTransactions", "newHeads"] {
        assert!(call(&mut client, "eth_subscribe", &json!([kind]))["result"].is_string());
    }
    for id in 0..300 {
        client.raw(&request(id, "eth_getBlockByNumber", &json!(["latest", true])));
    }
    client
}

#[test]
fn nothing_is_left_of_clients_however_they_leave() {
    let directory = Directory::new();
    let node = Node::start(&directory, &["--block-time", "5ms"]);
    type Leave = fn(&mut Client);
    let manners: [(&str, Leave); 4] = [
        ("a Close", |client| client.close(1000, "")),
        ("the end of the stream", |_| {}),
        ("half of it", |client| client.stream.shutdown(Shutdown::Write).unwrap()),
        ("a reset", |client| {
            socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
        }),
    ];
    for (manner, leave) in manners {
        let mut clients: Vec<Client> = (0..5).map(|_| busy(&node)).collect();
        assert_eq!(counts(&node)[..2], [5, 15], "{manner}");
        clients.iter_mut().for_each(leave);
        // A client that only starts to close stays connected until the end.
        let staying = matches!(manner, "a Close" | "half of it").then_some(clients);
        eventually(|| counts(&node) == [0, 0, 0], manner);
        drop(staying);
    }
    let mut client = node.client();
    assert!(call(&mut client, "eth_subscribe", &json!(["newHeads"]))["result"].is_string());
    assert_eq!(next(&mut client)["method"], "eth_subscription");
}

/// A transaction with one log of 800,000 bytes.
fn emit_and_mine(node: &Node) {
    let data = format!("0x{}", "00".repeat(400_000));
    node.result("weir_emit", json!([[{"address": SENDER, "data": data}]]));
    node.result("weir_mine", json!([]));
}

/// The block number of a log notification.
fn number(notification: &Value) -> u64 {
    let number = notification["params"]["result"]["blockNumber"].as_str().unwrap();
    u64::from_str_radix(&number[2..], 16).unwrap()
}

/// A subscriber to logs that does not read, and one that does.
fn subscribers(node: &Node) -> (Client, Client) {
    let (mut slow, mut quick) = (Client::narrow(node.rpc, "/"), node.client());
    for client in [&mut slow, &mut quick] {
        assert!(call(client, "eth_subscribe", &json!(["logs"]))["result"].is_string());
    }
    (slow, quick)
}

#[test]
fn a_subscriber_that_does_not_read_is_closed_with_1013() {
    let directory = Directory::new();
    let node = Node::leader(&directory);
    let (mut slow, mut quick) = subscribers(&node);
    let mut last = 0;
    // The other subscriber reads each log before the next block: it is not delayed.
    eventually(
        || {
            last += 1;
            emit_and_mine(&node);
            assert_eq!(number(&next(&mut quick)), last);
            // After its Close, the slow one is sent nothing more.
            node.asked("/healthz").1["notifications"]["sent"].as_u64().unwrap() < 2 * last
        },
        "it is closed",
    );
    assert_eq!(slow.expect_close(), (1013, "slow consumer".to_owned()));
    slow.close(1013, "");
    eventually(|| counts(&node) == [1, 1, 0], "one subscriber is left");
}

#[test]
fn with_slow_drop_a_subscriber_loses_notifications() {
    let directory = Directory::new();
    let node = Node::start(&directory, &["--block-time", "off", "--slow", "drop"]);
    let (mut slow, mut quick) = subscribers(&node);
    let notifications = |which: &str| node.asked("/healthz").1["notifications"][which].as_u64();
    let mut last: u64 = 0;
    let mut make = || {
        last += 1;
        emit_and_mine(&node);
        assert_eq!(number(&next(&mut quick)), last);
        last
    };
    eventually(|| make() > 0 && notifications("dropped") > Some(0), "a notification is dropped");
    let last = make();
    // The queued notifications are in order, and new ones follow once the subscriber has caught up.
    let kept = notifications("sent").unwrap() - last;
    let received: Vec<u64> = (0..kept).map(|_| number(&next(&mut slow))).collect();
    assert!(kept < last && received.is_sorted_by(|one, next| one < next), "{received:?}");
    assert_eq!(make(), number(&next(&mut slow)));
    assert_eq!(counts(&node), [2, 2, 0]);
}

/// An address that no other subscription filters by.
fn own_address(number: usize) -> String {
    format!("0x{number:040x}")
}

/// The default limit. Each subscription has a filter of its own, so that no two share a feed.
#[test]
fn all_clients_may_have_a_hundred_thousand_subscriptions() {
    const CLIENTS: usize = 1000;
    const EACH: usize = 100;
    let _alone = crowd();
    let directory = Directory::new();
    let node = Node::leader(&directory);
    let subscribe = |number: usize| {
        let params = json!(["logs", {"address": own_address(number)}]);
        json!({"jsonrpc": "2.0", "id": number, "method": "eth_subscribe", "params": params})
    };
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| node.client()).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        let batch: Vec<Value> = (0..EACH).map(|each| subscribe(EACH * at + each)).collect();
        client.text(&json!(batch).to_string());
    }
    let mut last = Value::Null;
    for client in &mut clients {
        let replies = next(client);
        let replies = replies.as_array().unwrap();
        assert!(replies.len() == EACH && replies.iter().all(|one| one["result"].is_string()));
        last = replies[EACH - 1]["result"].clone();
    }
    assert_eq!(counts(&node), [CLIENTS as u64, (CLIENTS * EACH) as u64, 0]);
    let mut other = node.client();
    let refused = json!({"code": -32005, "message": "too many subscriptions"});
    assert_eq!(call(&mut other, "eth_subscribe", &json!(["newHeads"]))["error"], refused);
    // An unsubscribe makes room for one more, and the other subscriptions work.
    let given_up = call(&mut clients[CLIENTS - 1], "eth_unsubscribe", &json!([last]));
    assert_eq!(given_up["result"], true);
    assert!(call(&mut other, "eth_subscribe", &json!(["newHeads"]))["result"].is_string());
    assert_eq!(call(&mut other, "eth_subscribe", &json!(["newHeads"]))["error"], refused);
    node.result("weir_emit", json!([[{"address": own_address(7 * EACH)}]]));
    node.result("weir_mine", json!([]));
    let notification = next(&mut clients[7]);
    assert_eq!(notification["params"]["result"]["address"], own_address(7 * EACH));
    assert_eq!(
        node.asked("/healthz").1["notifications"]["sent"],
        2,
        "no other subscription is notified"
    );
    drop((clients, other));
    eventually(|| counts(&node) == [0, 0, 0], "no client and no subscription is left");
    let mut client = node.client();
    assert!(call(&mut client, "eth_subscribe", &json!(["newHeads"]))["result"].is_string());
}
