//! Subscriptions through a gateway: every block once and in order, whatever happens to the upstreams.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir::services::rpc::{RpcError, RpcSettings};

use super::node::{Node, address, client, gateway, gateway_with, hash, topic};
use crate::rpc::scripted::{call, json};
use crate::support::{Client, DEADLINE, Server, eventually};

/// Subscribes and returns the id.
fn subscribe(client: &mut Client, params: &Value) -> String {
    let reply = call(client, "eth_subscribe", params);
    reply["result"].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned()
}

/// Subscribes to heads as soon as that succeeds.
fn subscribe_once(client: &mut Client, what: &str) {
    let is_subscribed =
        || call(client, "eth_subscribe", &json!(["newHeads"]))["result"].is_string();
    eventually(is_subscribed, what);
}

/// The next notification: its subscription and its result.
fn news(client: &mut Client) -> (String, Value) {
    let message = json(client);
    assert_eq!(message["method"], "eth_subscription", "{message}");
    let params = &message["params"];
    (params["subscription"].as_str().unwrap().to_owned(), params["result"].clone())
}

/// The next head must be this block.
fn expect_head(client: &mut Client, number: usize, fork: u8) {
    let (_, head) = news(client);
    assert_eq!(head["hash"], json!(hash(number, fork)), "{head}");
    assert!(head.get("transactions").is_none(), "{head}");
}

/// Runs a test with three upstreams: by WebSocket with and without pushed heads, and by HTTP. The tests
/// run at the same time, since they mostly wait for the next poll.
fn each_way(test: impl Fn(Node, String) + Sync) {
    let each = &|pushes, by_http| {
        let node = Node::new(pushes, 5);
        let url = if by_http { node.http() } else { node.ws() };
        test(node, url);
    };
    thread::scope(|scope| {
        for (pushes, by_http) in [(true, false), (false, false), (false, true)] {
            scope.spawn(move || each(pushes, by_http));
        }
    });
}

/// A subscriber to heads, from the next block of the node on.
fn follower(server: &Server) -> Client {
    let mut client = client(server);
    subscribe(&mut client, &json!(["newHeads"]));
    client
}

#[test]
fn heads_are_sent_once_and_in_order_and_gaps_are_filled() {
    each_way(|node, url| {
        let server = gateway(&[url], |_| {});
        let mut client = follower(&server);
        // One, several at once, one again.
        for heads in [6..7, 7..12, 12..13] {
            heads.clone().for_each(|_| node.mine(0));
            heads.for_each(|number| expect_head(&mut client, number, 0));
        }
    });
}

/// Every block after the reply is announced, so the reply waits until the gateway has the current head.
#[test]
fn the_reply_waits_for_the_first_poll_of_the_upstream() {
    each_way(|node, url| {
        node.hold_heads(true);
        let server = gateway(&[url], |_| {});
        let mut client = client(&server);
        let subscribe = |id: u64, kind: &str| json!({"jsonrpc": "2.0", "id": id, "method": "eth_subscribe", "params": [kind]});
        client.text(&subscribe(1, "newHeads").to_string());
        client.text(&format!("[{},{}]", subscribe(2, "logs"), subscribe(3, "syncing")));
        node.await_calls("eth_getBlockByNumber", 1);
        let asked = call(&mut client, "eth_gasPrice", &json!([]));
        assert_eq!(asked["result"], "0x5", "other calls are answered");
        let head = node.head();
        node.hold_heads(false);
        node.mine(0);
        node.release(head);
        let (first, both) = (json(&mut client), json(&mut client));
        assert_eq!(
            (&first["id"], &both[0]["id"], &both[1]["id"]),
            (&json!(1), &json!(2), &json!(3))
        );
        let (_, head) = news(&mut client);
        assert_eq!(head["hash"], json!(hash(6, 0)));
        let (of, log) = news(&mut client);
        assert_eq!((json!(of), &log["topics"][0]), (both[0]["result"].clone(), &json!(topic(6))));
    });
}

#[test]
fn a_subscription_without_an_answering_upstream_is_refused() {
    let node = Node::new(false, 5);
    node.hold_heads(true);
    let rpc = RpcSettings::default().call_timeout(Duration::from_millis(200)).subscriptions_max(1);
    let server = gateway_with(&[node.ws()], rpc, |_| {});
    let (mut one, mut other) = (client(&server), client(&server));
    let refused = call(&mut one, "eth_subscribe", &json!(["newHeads"]));
    assert_eq!(refused["error"]["code"], RpcError::TIMEOUT, "{refused}");
    // Neither it nor one whose client has left before the reply is counted.
    let ask = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["logs"]});
    one.text(&ask.to_string());
    assert_eq!(call(&mut one, "eth_gasPrice", &json!([]))["result"], "0x5");
    drop(one);
    node.hold_heads(false);
    node.release(node.head());
    subscribe_once(&mut other, "there is room");
    node.mine(0);
    expect_head(&mut other, 6, 0);
}

#[test]
fn without_an_upstream_there_are_no_subscriptions() {
    let mut node = Node::new(false, 5);
    let url = node.http();
    node.stop();
    let server = gateway(&[url], |_| {});
    let mut client = client(&server);
    for kind in ["newHeads", "logs", "newPendingTransactions"] {
        let refused = call(&mut client, "eth_subscribe", &json!([kind]));
        assert_eq!(refused["error"]["code"], RpcError::INTERNAL, "{refused}");
    }
    node.start();
    subscribe_once(&mut client, "the upstream is back");
    node.mine(0);
    expect_head(&mut client, 6, 0);
}

/// The new chain is as long as the old one, and then shorter: no poll sees a new block number.
#[test]
fn replaced_blocks_are_announced_although_the_chain_does_not_grow() {
    for by_http in [false, true] {
        let node = Node::new(false, 5);
        let server = gateway(&[if by_http { node.http() } else { node.ws() }], |_| {});
        let mut heads = follower(&server);
        let mut logs = client(&server);
        subscribe(&mut logs, &json!(["logs"]));
        for number in 6..8 {
            node.mine(0);
            expect_head(&mut heads, number, 0);
            assert_eq!(news(&mut logs).1["removed"], json!(false));
        }
        let mut expect_logs = |expected: &[(usize, u8, bool)]| {
            for &(number, fork, removed) in expected {
                let (_, log) = news(&mut logs);
                let announced = (&log["blockHash"], &log["removed"]);
                assert_eq!(announced, (&json!(hash(number, fork)), &json!(removed)), "{log}");
            }
        };
        node.become_chain([vec![0; 7], vec![1]].concat());
        expect_head(&mut heads, 7, 1);
        expect_logs(&[(7, 0, true), (7, 1, false)]);
        node.become_chain([vec![0; 6], vec![2]].concat());
        expect_head(&mut heads, 6, 2);
        expect_logs(&[(7, 1, true), (6, 0, true), (6, 2, false)]);
    }
}

#[test]
fn a_reorganisation_is_announced_from_the_fork_on_and_logs_are_removed() {
    each_way(|node, url| {
        let server = gateway(&[url], |_| {});
        let mut heads = follower(&server);
        let mut logs = client(&server);
        let id = subscribe(&mut logs, &json!(["logs", {"topics": [[topic(6), topic(7)]]}]));
        for number in 6..9 {
            node.mine(0);
            expect_head(&mut heads, number, 0);
        }
        for number in [6, 7] {
            let (subscription, log) = news(&mut logs);
            assert_eq!(subscription, id);
            assert_eq!(
                (&log["topics"][0], &log["removed"]),
                (&json!(topic(number)), &json!(false))
            );
        }
        node.become_chain([vec![0; 7], vec![1; 2]].concat());
        node.mine(1);
        for number in 7..10 {
            expect_head(&mut heads, number, 1);
        }
        let (_, gone) = news(&mut logs);
        assert_eq!((&gone["address"], &gone["removed"]), (&json!(address(0)), &json!(true)));
        assert_eq!(gone["topics"][0], json!(topic(7)));
        let (_, new) = news(&mut logs);
        assert_eq!((&new["address"], &new["removed"]), (&json!(address(1)), &json!(false)));
    });
}

#[test]
fn a_restart_of_the_upstream_skips_and_repeats_nothing() {
    each_way(|mut node, url| {
        let server = gateway(&[url], |_| {});
        let mut client = follower(&server);
        node.mine(0);
        expect_head(&mut client, 6, 0);
        node.stop();
        node.mine(0);
        node.mine(0);
        node.start();
        for number in 7..9 {
            expect_head(&mut client, number, 0);
        }
        node.mine(0);
        expect_head(&mut client, 9, 0);
    });
}

#[test]
fn a_failover_skips_and_repeats_nothing() {
    let (mut first, second) = (Node::new(true, 5), Node::new(true, 5));
    let server = gateway(&[first.ws(), second.ws()], |_| {});
    // Until the first upstream is connected, the second is used.
    let mut asking = client(&server);
    eventually(
        || {
            call(&mut asking, "eth_gasPrice", &json!([]));
            first.calls("eth_gasPrice") > 0
        },
        "the first is asked",
    );
    let mut client = follower(&server);
    first.mine(0);
    expect_head(&mut client, 6, 0);
    first.stop();
    // The second upstream is one block behind, then catches up.
    second.await_calls("eth_getBlockByNumber", 1);
    for _ in 6..9 {
        second.mine(0);
    }
    expect_head(&mut client, 7, 0);
    expect_head(&mut client, 8, 0);
    second.await_subscribed(true);
    second.mine(0);
    expect_head(&mut client, 9, 0);
}

#[test]
fn a_new_chain_closes_the_subscribers_of_the_old_one() {
    each_way(|node, url| {
        let server = gateway(&[url], |_| {});
        let mut heads = follower(&server);
        let mut idle = client(&server);
        node.mine(0);
        expect_head(&mut heads, 6, 0);
        node.become_chain(vec![9; 7]);
        node.mine(9);
        assert_eq!(heads.expect_close(), (1012, "blocks were missed".to_owned()));
        assert_eq!(call(&mut idle, "eth_blockNumber", &json!([]))["result"], "0x7");
        // A new subscriber gets the blocks of the new chain.
        let mut again = follower(&server);
        node.mine(9);
        expect_head(&mut again, 8, 9);
    });
}

#[test]
fn polling_ends_with_the_last_subscriber() {
    let node = Node::new(true, 5);
    let server = gateway(&[node.ws()], |_| {});
    let mut first = follower(&server);
    node.await_subscribed(true);
    let mut second = client(&server);
    let id = subscribe(&mut second, &json!(["logs", {}]));
    assert_eq!(call(&mut second, "eth_unsubscribe", &json!([id]))["result"], true);
    node.mine(0);
    expect_head(&mut first, 6, 0);
    assert_eq!(node.calls("eth_getLogs"), 0, "no logs are requested without subscribers");
    drop(first);
    node.await_subscribed(false);
    // It starts again with the next subscriber.
    let mut third = follower(&server);
    node.await_subscribed(true);
    node.mine(0);
    expect_head(&mut third, 7, 0);
}

#[test]
fn a_thousand_subscribers_cost_the_upstream_as_much_as_one() {
    let node = Node::new(true, 5);
    let server = gateway(&[node.ws()], |_| {});
    let mut clients = vec![follower(&server)];
    clients.extend((0..99).map(|_| client(&server)));
    for client in &mut clients[1..] {
        subscribe(client, &json!(["newHeads"]));
    }
    node.await_subscribed(true);
    let before = node.calls("eth_getBlockByNumber");
    node.mine(0);
    clients.iter_mut().for_each(|client| expect_head(client, 6, 0));
    assert_eq!(node.calls("eth_getBlockByNumber"), before, "the head was pushed");
}

#[test]
fn pending_transactions_are_sent_as_hashes_or_whole() {
    let node = Node::new(false, 5);
    let server = gateway(&[node.http()], |_| {});
    let (mut hashes, mut whole) = (client(&server), client(&server));
    subscribe(&mut hashes, &json!(["newPendingTransactions"]));
    subscribe(&mut whole, &json!(["newPendingTransactions", true]));
    node.add_pending(topic(1));
    assert_eq!(news(&mut hashes).1, json!(topic(1)));
    assert_eq!(news(&mut whole).1["nonce"], "0x7");
}

/// As in geth: the progress at the start, and `false` at the end.
#[test]
fn syncing_is_announced_at_its_start_and_end() {
    each_way(|node, url| {
        let server = gateway(&[url], |_| {});
        let mut client = client(&server);
        let id = subscribe(&mut client, &json!(["syncing"]));
        node.await_calls("eth_syncing", 1);
        let status = json!({"startingBlock": "0x0", "currentBlock": "0x5", "highestBlock": "0x9"});
        node.sync(Some(status.clone()));
        let started = json!({"syncing": true, "status": status});
        assert_eq!(news(&mut client), (id.clone(), started));
        node.sync(None);
        assert_eq!(news(&mut client), (id, json!(false)));
    });
}

/// A gateway with a call timeout longer than any test, so that a lost answer does not time out.
fn patient(upstreams: &[String]) -> Server {
    let rpc = RpcSettings::default().call_timeout(10 * DEADLINE);
    gateway_with(upstreams, rpc, |settings| settings.timeout = 10 * DEADLINE)
}

#[test]
fn pushed_heads_are_announced_though_an_answer_is_lost() {
    for method in ["eth_getBlockByNumber", "eth_getLogs"] {
        let node = Node::new(true, 5);
        let server = patient(&[node.ws()]);
        let mut heads = follower(&server);
        let mut logs = client(&server);
        subscribe(&mut logs, &json!(["logs"]));
        node.await_subscribed(true);
        node.lose(method);
        if method == "eth_getBlockByNumber" {
            // The poll for heads that are pushed.
            node.await_lost();
        }
        for number in 6..16 {
            node.mine(0);
            expect_head(&mut heads, number, 0);
        }
    }
}

#[test]
fn requests_for_missing_blocks_and_logs_are_repeated_if_their_answer_is_lost() {
    let node = Node::new(true, 5);
    let server = patient(&[node.ws()]);
    let mut heads = follower(&server);
    let mut logs = client(&server);
    subscribe(&mut logs, &json!(["logs"]));
    node.await_subscribed(true);
    for (method, missed) in [("eth_getLogs", 0), ("eth_getBlockByNumber", 3)] {
        let (first, before) = (node.height() + 1, node.calls(method));
        node.lose(method);
        node.become_chain(vec![0; first + missed]);
        // Heads are pushed continuously.
        let started = Instant::now();
        while node.calls(method) < before + 2 {
            assert!(started.elapsed() < DEADLINE, "{method} is not called again");
            node.mine(0);
            thread::sleep(Duration::from_millis(50));
        }
        for number in first..=node.height() {
            expect_head(&mut heads, number, 0);
            assert_eq!(news(&mut logs).1["topics"][0], json!(topic(number as u8)));
        }
    }
}
