//! A full disk: a node is not ready, loses nothing, and continues by itself when there is room.
//!
//! `RLIMIT_FSIZE` stands in for the full disk. It can be set and lifted while the node runs, needs no
//! privileges, and makes the same writes fail (with EFBIG for ENOSPC) as long as SIGXFSZ is ignored.

use std::process::Command;

use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use super::process::{Directory, Node, command, end_of};
use crate::rpc::{call, json as next};
use crate::support::{clean, eventually};

/// The file size limit in bytes: less than any database has.
const FULL: u64 = 16 * 1024;

/// A node that ignores SIGXFSZ.
fn start(directory: &Directory, flags: &[&str]) -> Node {
    let node = command(directory, flags);
    let mut shell = clean(Command::new("sh"), ["-c", r#"trap "" XFSZ; exec "$0" "$@""#]);
    shell.arg(node.get_program()).args(node.get_args());
    Node::spawn(&mut shell)
}

fn set_room(node: &Node, bytes: Option<u64>) {
    let limit = Rlimit { current: bytes, maximum: None };
    prlimit(Some(node.pid()), Resource::Fsize, limit).unwrap();
}

fn is_ready(node: &Node) -> bool {
    node.asked("/readyz").0 == 200
}

fn head(node: &Node) -> u64 {
    node.asked("/healthz").1["head"].as_u64().unwrap()
}

/// Expects the error of a call that needs to write the store.
fn check_refused(node: &Node, method: &str, params: Value) {
    let error = node.call(method, params)["error"].clone();
    let message = error["message"].as_str().unwrap_or_default();
    assert!(
        error["code"] == -32000 && message.starts_with("the store cannot be written"),
        "{error}"
    );
}

#[test]
fn a_leader_on_a_full_disk_is_not_ready_and_makes_blocks_again_when_there_is_room() {
    let directory = Directory::new();
    let node = start(&directory, &["--block-time", "20ms"]);
    let mut client = node.client();
    call(&mut client, "eth_subscribe", &json!(["newHeads"]));
    let mut announced: Vec<Value> = vec![next(&mut client)["params"]["result"].clone()];
    set_room(&node, Some(FULL));
    eventually(|| !is_ready(&node), "it is not ready");
    let (status, ready) = node.asked("/readyz");
    let reason = ready["reason"].as_str().unwrap_or_default();
    assert!(status == 503 && reason.starts_with("the store cannot be written"), "{ready}");
    assert_eq!(node.asked("/healthz").0, 200);
    check_refused(&node, "eth_sendRawTransaction", json!(["0x01"]));
    check_refused(&node, "weir_emit", json!([[]]));
    check_refused(&node, "weir_mine", json!([]));
    let (_, _, log) = end_of(command(&directory, &[]));
    assert!(log.contains("another process is using this data directory"), "{log}");
    let before = head(&node);

    set_room(&node, None);
    eventually(|| is_ready(&node) && head(&node) > before + 2, "it makes blocks again");
    let sent = node.result("eth_sendRawTransaction", json!(["0x01"]));
    let has_block =
        || !node.result("eth_getTransactionByHash", json!([sent]))["blockHash"].is_null();
    eventually(has_block, "the transaction is in a block");
    // Subscribers got every block, and every announced block is on disk.
    while announced.len() as u64 <= before {
        announced.push(next(&mut client)["params"]["result"].clone());
    }
    assert!(announced.windows(2).all(|pair| pair[0]["hash"] == pair[1]["parentHash"]));
    node.kill();
    let node = Node::leader(&directory);
    for head in announced {
        let stored = node.result("eth_getBlockByNumber", json!([head["number"], false]));
        assert_eq!(stored["hash"], head["hash"]);
    }
}

/// The store is tried again although no call makes a block.
#[test]
fn a_leader_without_an_interval_keeps_its_transactions_and_is_ready_again_by_itself() {
    let directory = Directory::new();
    let node = start(&directory, &["--block-time", "off"]);
    let waiting = node.result("eth_sendRawTransaction", json!(["0x01"]));
    for _ in 0..3 {
        set_room(&node, Some(FULL));
        check_refused(&node, "weir_mine", json!([]));
        eventually(|| !is_ready(&node), "it is not ready");
        // The store can be read, and transactions stay pending.
        let block = node.result("eth_getBlockByNumber", json!(["latest", false]));
        assert_eq!(block["number"], "0x0");
        let pending = node.result("eth_getTransactionByHash", json!([waiting]));
        assert_eq!((&pending["hash"], &pending["blockHash"]), (&waiting, &Value::Null));
        set_room(&node, None);
        eventually(|| is_ready(&node), "it is ready again");
    }
    assert_eq!(node.result("weir_mine", json!([])), "0x1");
    let block = node.result("eth_getBlockByNumber", json!(["0x1", false]));
    assert_eq!(block["transactions"], json!([waiting]));
}

#[test]
fn a_follower_on_a_full_disk_is_not_ready_and_catches_up_when_there_is_room() {
    let (leads, follows) = (Directory::new(), Directory::new());
    let leader = Node::leader(&leads);
    leader.result("weir_mine", json!([3]));
    let url = format!("http://{}", leader.rpc);
    let follower = start(&follows, &["--role", "follower", "--follow-rpc", &url]);
    follower.reach(3);
    eventually(|| is_ready(&follower), "it is ready");
    set_room(&follower, Some(FULL));
    leader.result("weir_mine", json!([]));
    eventually(|| !is_ready(&follower), "it is not ready");
    let reason = || follower.asked("/readyz").1["reason"].as_str().unwrap_or_default().to_owned();
    eventually(|| reason().starts_with("the store cannot be used"), "it says why");
    assert_eq!(head(&follower), 3);
    set_room(&follower, None);
    follower.reach(4);
    eventually(|| is_ready(&follower), "it is ready again");
    let of = |node: &Node| node.result("eth_getBlockByNumber", json!(["0x4", true]));
    assert_eq!(of(&leader), of(&follower));
}
