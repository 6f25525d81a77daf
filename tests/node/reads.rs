//! Reads of blocks that a follower does not have: the leader's answer, or an error.

use serde_json::{Value, json};

use super::process::{Directory, Node, own_address};

const SENDER: &str = "0x0101010101010101010101010101010101010101";
const NOWHERE: &str = "0x1111111111111111111111111111111111111111111111111111111111111111";

/// A follower that stays at its leader's current head: it gets no notifications, and does not poll.
fn lagging(directory: &Directory, leader: &Node) -> Node {
    let url = format!("http://{}", leader.rpc);
    let flags = ["-follow-rpc", &url, "-poll-interval", "1h", "-boot-peers", "127.0.0.1:9"];
    let follower = Node::start(directory, &flags);
    let head = leader.result("eth_blockNumber", json!([]));
    follower.reach(u64::from_str_radix(&head.as_str().unwrap()[2..], 16).unwrap());
    follower
}

/// Makes this many blocks, each with one log.
fn make_logs(leader: &Node, count: usize) {
    for _ in 0..count {
        leader.result("weir_emit", json!([[{"address": SENDER}]]));
        leader.result("weir_mine", json!([]));
    }
}

fn block_numbers(logs: &Value) -> Vec<&str> {
    logs.as_array().unwrap().iter().map(|log| log["blockNumber"].as_str().unwrap()).collect()
}

/// Reads of blocks that only the leader has: block 5, a transaction in it, and ranges that end above
/// block 3.
fn beyond(leader: &Node) -> Vec<(&'static str, Value)> {
    let fifth = leader.result("eth_getBlockByNumber", json!(["0x5", true]));
    let (hash, transaction) = (&fifth["hash"], &fifth["transactions"][0]["hash"]);
    vec![
        ("eth_getBlockByNumber", json!(["0x5", true])),
        ("eth_getBlockByNumber", json!(["0x5", false])),
        ("eth_getBlockByHash", json!([hash, false])),
        ("eth_getTransactionByHash", json!([transaction])),
        ("eth_getLogs", json!([{"blockHash": hash}])),
        ("eth_getLogs", json!([{"fromBlock": "0x4", "toBlock": "0x6"}])),
        ("eth_getLogs", json!([{"fromBlock": "0x2", "toBlock": "0x6", "address": [SENDER]}])),
        ("eth_getLogs", json!([{"fromBlock": "0x0", "toBlock": "0x99"}])),
        ("eth_getLogs", json!([{"fromBlock": "0x5"}])),
        ("eth_getLogs", json!([{"fromBlock": "0x5", "toBlock": "latest"}])),
        ("eth_getBlockByNumber", json!(["0x99", false])),
        ("eth_getBlockByHash", json!([NOWHERE, false])),
        ("eth_getTransactionByHash", json!([NOWHERE])),
    ]
}

#[test]
fn reads_above_the_followers_head_return_the_leaders_answer_or_an_error() {
    let (leads, follows) = (Directory::new(), Directory::new());
    let leader = Node::leader(&leads);
    make_logs(&leader, 3);
    let follower = lagging(&follows, &leader);
    make_logs(&leader, 3);
    let reads = beyond(&leader);
    for (method, params) in &reads {
        let expected = leader.result(method, params.clone());
        assert_eq!(follower.result(method, params.clone()), expected, "{method} {params}");
    }
    let unknown = follower.call("eth_getLogs", json!([{"blockHash": NOWHERE}]));
    assert_eq!(unknown["error"], json!({"code": -32000, "message": "unknown block"}));
    let logs = |params: Value| follower.result("eth_getLogs", params);
    assert_eq!(
        block_numbers(&logs(json!([{"fromBlock": "0x2", "toBlock": "0x6"}]))),
        ["0x2", "0x3", "0x4", "0x5", "0x6"]
    );
    // `latest` is the follower's own head, also in a range that ends above it.
    assert_eq!(
        block_numbers(&logs(json!([{"fromBlock": "latest", "toBlock": "0x6"}]))),
        ["0x3", "0x4", "0x5", "0x6"]
    );
    let own = json!([{"fromBlock": "0x2", "toBlock": "latest"}]);
    assert_eq!(block_numbers(&logs(own.clone())), ["0x2", "0x3"]);
    assert_eq!(follower.result("eth_blockNumber", json!([])), "0x3");
    let latest = follower.result("eth_getBlockByNumber", json!(["latest", false]));
    assert_eq!(latest["number"], "0x3");

    leader.kill();
    for (method, params) in reads {
        let error = json!({"code": -32000, "message": "the leader cannot be reached"});
        assert_eq!(follower.call(method, params.clone())["error"], error, "{method} {params}");
    }
    assert_eq!(block_numbers(&logs(own)), ["0x2", "0x3"]);
}

/// A follower keeps the last 1024 blocks. It requests older ones from its leader by number, since the
/// leader's `latest` is another block.
#[test]
fn a_range_up_to_latest_ends_at_the_followers_own_head() {
    let (leads, follows) = (Directory::new(), Directory::new());
    let leader = Node::leader(&leads);
    make_logs(&leader, 1);
    leader.result("weir_mine", json!([1000]));
    leader.result("weir_mine", json!([100]));
    let follower = lagging(&follows, &leader);
    make_logs(&leader, 1);
    for params in
        [json!([{"fromBlock": "0x0"}]), json!([{"fromBlock": "earliest", "toBlock": "latest"}])]
    {
        assert_eq!(block_numbers(&follower.result("eth_getLogs", params)), ["0x1"]);
    }
    let all = json!([{"fromBlock": "0x0", "toBlock": "0x44e"}]);
    assert_eq!(block_numbers(&follower.result("eth_getLogs", all)), ["0x1", "0x44e"]);
}

/// The leader has been replaced by one with another chain, whose blocks the follower does not return.
#[test]
fn blocks_of_another_chain_are_not_returned() {
    let (leads, others, follows) = (Directory::new(), Directory::new(), Directory::new());
    let leader = Node::leader_at(&leads, &own_address());
    let address = leader.rpc.to_string();
    make_logs(&leader, 3);
    let follower = lagging(&follows, &leader);
    leader.kill();
    let leader = Node::leader_at(&others, &address);
    make_logs(&leader, 6);
    for (method, params) in beyond(&leader) {
        let error = json!({"code": -32000, "message": "the leader does not have this node's head"});
        assert_eq!(follower.call(method, params.clone())["error"], error, "{method} {params}");
    }
}
