//! The leader: methods, subscriptions, block production and shutdown.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::process::{Directory, Node, command, end_of, own_address};
use crate::rpc::{call, json as next};
use crate::support::eventually;

const SENDER: &str = "0x0101010101010101010101010101010101010101";
const TOPIC: &str = "0x0202020202020202020202020202020202020202020202020202020202020202";

/// The result of the next notification of this subscription.
fn notification(client: &mut crate::support::Client, subscription: &Value) -> Value {
    let message = next(client);
    assert_eq!(message["method"], "eth_subscription", "{message}");
    assert_eq!(&message["params"]["subscription"], subscription, "{message}");
    message["params"]["result"].clone()
}

#[test]
fn every_method_answers_over_http_and_websocket() {
    let directory = Directory::new();
    let node = Node::leader(&directory);
    let mut client = node.client();
    let log = json!({"address": SENDER, "topics": [TOPIC], "data": "0x2a"});
    let emitted = node.result("weir_emit", json!([[log]]));
    let sent = node.result("eth_sendRawTransaction", json!(["0x02c0ffee"]));
    assert_eq!(sent.as_str().map(str::len), Some(66));
    let pending = node.result("eth_getTransactionByHash", json!([sent]));
    assert_eq!((&pending["blockHash"], &pending["input"]), (&Value::Null, &json!("0x02c0ffee")));
    let again = node.call("eth_sendRawTransaction", json!(["0x02c0ffee"]));
    assert_eq!(again["error"]["message"], "already known");
    assert_eq!(node.result("weir_mine", json!([2])), "0x2");
    let again = node.call("eth_sendRawTransaction", json!(["0x02c0ffee"]));
    assert_eq!(again["error"]["message"], "already known");

    let latest = node.result("eth_getBlockByNumber", json!(["latest", false]));
    let first = node.result("eth_getBlockByNumber", json!(["0x1", true]));
    let hash = &first["hash"];
    assert_eq!(&latest["parentHash"], hash);
    assert_eq!(first["transactions"].as_array().map(Vec::len), Some(2));
    let stored = node.result("eth_getTransactionByHash", json!([sent]));
    assert_eq!((&stored["blockHash"], &stored["transactionIndex"]), (hash, &json!("0x1")));
    let all = json!([{"fromBlock": "earliest", "toBlock": "latest", "topics": [TOPIC]}]);
    let logs = node.result("eth_getLogs", all);
    assert_eq!(logs[0]["transactionHash"], emitted);
    assert_eq!((&logs[0]["data"], &logs[0]["removed"]), (&json!("0x2a"), &json!(false)));

    let nowhere = format!("0x{:064x}", 1);
    let cases = [
        ("eth_chainId", json!([]), json!("0x849")),
        ("net_version", json!([]), json!("2121")),
        ("eth_blockNumber", json!([]), json!("0x2")),
        ("eth_syncing", json!([]), json!(false)),
        ("eth_accounts", json!([]), json!([])),
        ("eth_gasPrice", json!([]), json!("0x3b9aca00")),
        ("net_listening", json!([]), json!(true)),
        ("web3_clientVersion", json!([]), json!(format!("weir/v{}", env!("CARGO_PKG_VERSION")))),
        ("eth_getBlockByHash", json!([hash, true]), first.clone()),
        ("eth_getBlockByNumber", json!(["0x1", true]), first.clone()),
        ("eth_getBlockByNumber", json!(["0x3"]), Value::Null),
        ("eth_getBlockByHash", json!([nowhere, false]), Value::Null),
        ("eth_getTransactionByHash", json!([nowhere]), Value::Null),
        ("eth_getTransactionByHash", json!([sent]), stored),
        ("eth_getLogs", json!([{"blockHash": hash}]), logs.clone()),
        ("eth_getLogs", json!([{"fromBlock": "0x1", "address": [SENDER]}]), logs),
        ("eth_getLogs", json!([{}]), json!([])),
        ("eth_getLogs", json!([{"fromBlock": "0x9"}]), json!([])),
        ("eth_getLogs", json!([{"fromBlock": "0x9", "toBlock": "latest"}]), json!([])),
        ("eth_getLogs", json!([{"fromBlock": "0x9", "toBlock": "0xa"}]), json!([])),
    ];
    for (method, params, expected) in cases {
        assert_eq!(node.result(method, params.clone()), expected, "{method} over HTTP");
        assert_eq!(call(&mut client, method, &params)["result"], expected, "{method}");
    }
    assert_eq!(node.result("rpc_modules", json!([]))["eth"], "1.0");
    for (method, params) in [
        ("eth_getBlockByNumber", json!([])),
        ("eth_getBlockByNumber", json!(["newest", true])),
        ("eth_getBlockByHash", json!(["0x1", true])),
        ("eth_getLogs", json!([{"fromBlock": "x"}])),
        ("eth_getLogs", json!([{"blockHash": hash, "fromBlock": "0x0"}])),
        ("eth_getLogs", json!([{"fromBlock": "0x2", "toBlock": "0x1"}])),
        ("eth_getLogs", json!([{"fromBlock": "0x9", "toBlock": "0x8"}])),
        ("eth_getLogs", json!([{"fromBlock": "latest", "toBlock": "earliest"}])),
        ("eth_getLogs", json!([[]])),
        ("eth_getLogs", json!([["0x0", "0x1"]])),
        ("eth_subscribe", json!(["logs", []])),
        ("weir_emit", json!([[[SENDER]]])),
        ("weir_emit", json!([[[SENDER, [], "0x"]]])),
        ("eth_sendRawTransaction", json!(["0x1"])),
        ("eth_sendRawTransaction", json!([])),
        ("weir_emit", json!([[{"address": SENDER, "data": "0x1"}]])),
        ("weir_emit", json!([vec![json!({"address": SENDER}); 10_001]])),
        ("weir_mine", json!([0])),
        ("weir_mine", json!([1001])),
    ] {
        assert_eq!(node.call(method, params.clone())["error"]["code"], -32602, "{method} {params}");
    }
    assert_eq!(node.call("eth_call", json!([]))["error"]["code"], -32601);
    let backwards = node.call("eth_getLogs", json!([{"fromBlock": "0x2", "toBlock": "0x1"}]));
    assert_eq!(backwards["error"]["message"], "invalid block range params");
    let unknown = node.call("eth_getLogs", json!([{"blockHash": nowhere}]));
    assert_eq!(unknown["error"], json!({"code": -32000, "message": "unknown block"}));
}

/// The members of blocks, transactions and logs that are quantities.
const QUANTITIES: [&str; 22] = [
    "baseFeePerGas",
    "blobGasUsed",
    "blockNumber",
    "chainId",
    "difficulty",
    "excessBlobGas",
    "gas",
    "gasLimit",
    "gasPrice",
    "gasUsed",
    "logIndex",
    "number",
    "r",
    "s",
    "size",
    "timestamp",
    "totalDifficulty",
    "transactionIndex",
    "type",
    "v",
    "value",
    "yParity",
];

#[test]
fn quantities_have_no_leading_zeros() {
    let directory = Directory::new();
    let node = Node::leader(&directory);
    let sent = node.result("eth_sendRawTransaction", json!(["0x00"]));
    let pending = node.result("eth_getTransactionByHash", json!([sent]));
    node.result("weir_emit", json!([[{"address": SENDER}, {"address": SENDER}]]));
    node.result("weir_mine", json!([]));
    let block = node.result("eth_getBlockByNumber", json!(["latest", true]));
    let logs = node.result("eth_getLogs", json!([{}]));
    let lists = [&block["transactions"], &logs].map(|list| list.as_array().unwrap().clone());
    let mut all: Vec<Value> = lists.concat();
    assert_eq!(all.len(), 4);
    all.extend([block, pending]);
    for object in all {
        let members = object.as_object().unwrap().iter();
        for (name, value) in members.filter(|(name, _)| QUANTITIES.contains(&name.as_str())) {
            let Some(digits) = value.as_str().map(|text| text.strip_prefix("0x").unwrap()) else {
                assert!(value.is_null() && name.starts_with(['b', 't']), "{name}: {value}");
                continue;
            };
            assert!(
                digits == "0" || !digits.is_empty() && !digits.starts_with('0'),
                "{name}: {value}"
            );
        }
    }
}

/// Fifty blocks within a second put the chain's clock ahead of the machine's. The restarted leader has a
/// head in the future, as if the machine's clock had been set back.
#[test]
fn timestamps_grow_with_every_block_and_across_a_restart() {
    let directory = Directory::new();
    let node = Node::leader(&directory);
    node.result("weir_mine", json!([50]));
    node.kill();
    let node = Node::leader(&directory);
    assert_eq!(node.result("weir_mine", json!([2])), "0x34");
    let times: Vec<u64> = (0..=52)
        .map(|number| {
            let block = node.result("eth_getBlockByNumber", json!([format!("{number:#x}")]));
            u64::from_str_radix(&block["timestamp"].as_str().unwrap()[2..], 16).unwrap()
        })
        .collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
}

#[test]
fn subscribers_get_blocks_logs_and_transactions() {
    let directory = Directory::new();
    let node = Node::leader(&directory);
    let mut client = node.client();
    let mut other = node.client();
    let subscribe =
        |client: &mut _, params| call(client, "eth_subscribe", &params)["result"].clone();
    let heads = subscribe(&mut client, json!(["newHeads"]));
    let hashes = subscribe(&mut other, json!(["newPendingTransactions"]));
    let emitted = node.result(
        "weir_emit",
        json!([[{"address": SENDER, "topics": [TOPIC]}, {"address": SENDER}]]),
    );
    assert_eq!(notification(&mut other, &hashes), emitted);
    call(&mut other, "eth_unsubscribe", &json!([hashes]));
    let full = subscribe(&mut other, json!(["newPendingTransactions", true]));
    let logs = subscribe(&mut client, json!(["logs", {"address": SENDER, "topics": [[TOPIC]]}]));

    let second = node.result("weir_emit", json!([[]]));
    assert_eq!(notification(&mut other, &full)["hash"], second);
    node.result("weir_mine", json!([]));
    let head = notification(&mut client, &heads);
    assert_eq!((&head["number"], head.get("transactions")), (&json!("0x1"), None));
    let log = notification(&mut client, &logs);
    assert_eq!((&log["transactionHash"], &log["blockHash"]), (&emitted, &head["hash"]));
    // An announced block can be read.
    let block = call(&mut client, "eth_getBlockByHash", &json!([head["hash"], false]));
    assert_eq!(block["result"]["number"], "0x1");

    assert_eq!(call(&mut client, "eth_unsubscribe", &json!([heads]))["result"], true);
    node.result("weir_mine", json!([]));
    let again = subscribe(&mut client, json!(["newHeads"]));
    node.result("weir_mine", json!([3]));
    for number in ["0x3", "0x4", "0x5"] {
        assert_eq!(notification(&mut client, &again)["number"], number);
    }
    assert_eq!(node.asked("/healthz").1["subscriptions"], 3);
    drop((client, other));
    crate::support::eventually(
        || {
            let (_, health) = node.asked("/healthz");
            (&health["subscriptions"], &health["connections"]) == (&json!(0), &json!(0))
        },
        "nothing is left of clients that just went",
    );
}

#[test]
fn blocks_are_made_at_the_block_time() {
    let directory = Directory::new();
    let node = Node::start(&directory, &["--block-time", "10ms", "--chain-id", "7"]);
    assert_eq!(node.result("eth_chainId", json!([])), "0x7");
    let mut client = node.client();
    let heads = call(&mut client, "eth_subscribe", &json!(["newHeads"]))["result"].clone();
    let first = notification(&mut client, &heads);
    let mut parent = first["hash"].clone();
    for _ in 0..5 {
        let head = notification(&mut client, &heads);
        assert_eq!(head["parentHash"], parent);
        parent = head["hash"].clone();
    }
}

#[test]
fn a_head_is_encoded_once_for_all_of_its_subscribers() {
    let directory = Directory::new();
    let node = Node::leader(&directory);
    let mut clients: Vec<_> = (0..20).map(|_| node.client()).collect();
    for client in &mut clients {
        call(client, "eth_subscribe", &json!(["newHeads"]));
    }
    node.result("weir_mine", json!([5]));
    for client in &mut clients {
        let received: Vec<Value> =
            (0..5).map(|_| next(client)["params"]["result"].clone()).collect();
        assert!(received.windows(2).all(|pair| pair[0]["hash"] == pair[1]["parentHash"]));
    }
    let expected = json!({"encoded": 5, "sent": 100, "dropped": 0});
    assert_eq!(node.asked("/healthz").1["notifications"], expected);
}

#[test]
fn the_health_address_has_only_its_own_paths() {
    let directory = Directory::new();
    let node = Node::leader(&directory);
    let expected = json!({
        "role": "leader", "chainId": "0x849", "ready": true, "head": 0, "lag": 0,
        "connections": 0, "subscriptions": 0, "calls": 0,
        "notifications": {"encoded": 0, "sent": 0, "dropped": 0},
    });
    assert_eq!(node.asked("/healthz"), (200, expected.clone()));
    assert_eq!(node.asked("/readyz"), (200, expected));
    assert_eq!(node.asked("/").0, 404);
    for path in ["/healthz", "/metrics"] {
        let mut client = crate::support::Client::tcp(node.rpc);
        let head = client.request(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    }
}

#[test]
fn metrics_count_calls_and_subscriptions() {
    let directory = Directory::new();
    let node = Node::leader(&directory);
    let mut client = node.client();
    call(&mut client, "eth_subscribe", &json!(["newHeads"]));
    call(&mut client, "eth_chainId", &json!([]));
    call(&mut client, "no_such", &json!([]));
    call(&mut client, "weir_mine", &json!([]));
    let of = r#"project="leader",chain="2121""#;
    for line in [
        format!("weir_rpc_connections{{{of}}} 1"),
        format!("weir_rpc_subscriptions{{{of}}} 1"),
        format!("weir_rpc_notifications_sent_total{{{of}}} 1"),
        format!(r#"weir_rpc_errors_total{{{of},class="other",code="-32601"}} 1"#),
        "weir_turns_total ".to_owned(),
        "weir_log_lines_lost_total 0".to_owned(),
    ] {
        // The block may be announced after the answer to `weir_mine`.
        eventually(|| node.answer("/metrics").1.contains(&line), &line);
    }
}

#[test]
fn a_signal_shuts_a_node_down() {
    for signal in [Signal::INT, Signal::TERM] {
        let directory = Directory::new();
        let mut node = Node::leader_at(&directory, &own_address());
        let mut clients = [node.client(), node.client()];
        call(&mut clients[0], "eth_subscribe", &json!(["newHeads"]));
        node.signal(signal);
        for client in &mut clients {
            assert_eq!(client.expect_close().0, 1001);
            client.close(1001, "");
        }
        let (code, log) = node.end();
        assert_eq!(code, Some(0), "{log}");
        let next = Node::leader_at(&directory, &node.rpc.to_string());
        assert_eq!(next.rpc, node.rpc, "the port is free, and so is the directory");
    }
}

#[test]
fn pending_calls_are_answered_during_a_shutdown() {
    let directory = Directory::new();
    let mut node = Node::leader(&directory);
    let (mut client, mut listener) = (node.client(), node.client());
    call(&mut listener, "eth_subscribe", &json!(["newHeads"]));
    client.text(r#"{"jsonrpc":"2.0","id":1,"method":"weir_mine","params":[300]}"#);
    next(&mut listener);
    node.signal(Signal::INT);
    assert_eq!(next(&mut client)["result"], "0x12c");
    for client in [&mut client, &mut listener] {
        assert_eq!(client.expect_close().0, 1001);
        client.close(1001, "");
    }
    let (code, log) = node.end();
    assert_eq!(code, Some(0), "{log}");
}

/// A block and its logs can be read with one call each, by a follower too, however much is pending.
#[test]
fn a_block_holds_no_more_than_one_answer() {
    let (leads, follows) = (Directory::new(), Directory::new());
    let node = Node::leader(&leads);
    let count = |method, params, member: &str| {
        let result = node.result(method, params);
        let list = if member.is_empty() { &result } else { &result[member] };
        list.as_array().map(Vec::len)
    };
    for _ in 0..3 {
        node.result("weir_emit", json!([vec![json!({"address": SENDER}); 4000]]));
    }
    for byte in 0..65 {
        let transaction = format!("0x{}", format!("{byte:02x}").repeat(128 * 1024));
        node.result("eth_sendRawTransaction", json!([transaction]));
    }
    let larger = format!("0x{}", "00".repeat(128 * 1024 + 1));
    let refused = node.call("eth_sendRawTransaction", json!([larger]));
    assert_eq!(refused["error"]["message"], "oversized data");
    node.result("weir_mine", json!([3]));
    for (id, transactions, logs) in [("0x1", 2, 8000), ("0x2", 64, 4000), ("0x3", 2, 0)] {
        let block = count("eth_getBlockByNumber", json!([id, true]), "transactions");
        let range = json!([{"fromBlock": id, "toBlock": id}]);
        assert_eq!(
            (block, count("eth_getLogs", range, "")),
            (Some(transactions), Some(logs)),
            "{id}"
        );
    }
    Node::follower(&follows, node.rpc).reach(3);
}

#[test]
fn help_lists_every_flag() {
    let directory = Directory::new();
    let (code, help, _) = end_of(command(&directory, &["--help"]));
    assert_eq!(code, Some(0));
    for flag in
        ["role", "follow-rpc", "rpc-addr", "health-addr", "chain-id", "block-time", "data-dir"]
    {
        let flag = format!("--{flag} <");
        assert!(help.iter().any(|line| line.contains(&flag)), "{flag}: {help:?}");
    }
    assert!(!directory.path().exists(), "help makes no directory");
}
