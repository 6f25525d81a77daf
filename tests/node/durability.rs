//! Announced blocks survive SIGKILL, and a data directory belongs to one process.

use std::time::Instant;

use serde_json::{Value, json};

use super::process::{Directory, Node, command, end_of};
use crate::rpc::{call, json as next};
use crate::support::{DEADLINE, Process};

/// Kills a leader repeatedly while it makes blocks as fast as it can. Every announced head is stored
/// afterwards, and the chain continues from there.
#[test]
fn kill_9_loses_no_block_that_was_announced() {
    let directory = Directory::new();
    let mut announced: Vec<Value> = Vec::new();
    for round in 0..4 {
        let node = Node::start(&directory, &["--block-time", "1ms"]);
        for head in announced.iter().rev().take(20) {
            let stored = node.result("eth_getBlockByNumber", json!([head["number"], false]));
            assert_eq!(stored["hash"], head["hash"], "round {round}");
            assert_eq!(stored["stateRoot"], head["stateRoot"]);
        }
        let mut client = node.client();
        call(&mut client, "eth_subscribe", &json!(["newHeads"]));
        for _ in 0..20 {
            announced.push(next(&mut client)["params"]["result"].clone());
        }
        // Blocks that are being made now are lost.
        node.kill();
    }
    let node = Node::leader(&directory);
    let mut parent = Value::Null;
    let head = node.result("eth_blockNumber", json!([]));
    let head = u64::from_str_radix(&head.as_str().unwrap()[2..], 16).unwrap();
    assert!(head >= 80);
    for number in 0..=head {
        let id = format!("{number:#x}");
        let block = node.result("eth_getBlockByNumber", json!([id, false]));
        assert!(number == 0 || block["parentHash"] == parent, "block {number}");
        parent = block["hash"].clone();
    }
}

/// Kills a node while it makes its first files: the next node starts with any state of them.
#[test]
fn kill_9_at_the_first_start_leaves_a_usable_directory() {
    for _ in 0..10 {
        let directory = Directory::new();
        let process = Process::spawn(&mut command(&directory, &[]));
        let is_begun = || {
            let files = std::fs::read_dir(directory.path()).into_iter().flatten();
            files.count() > 1
        };
        let started = Instant::now();
        while !is_begun() {
            assert!(started.elapsed() < DEADLINE, "the node makes files");
            std::hint::spin_loop();
        }
        drop(process);
        assert_eq!(Node::leader(&directory).result("weir_mine", json!([])), "0x1");
    }
}

#[test]
fn a_second_process_is_refused_and_so_is_another_chain() {
    let directory = Directory::new();
    let refused = |flags: &[&str]| {
        let (code, out, error) = end_of(command(&directory, flags));
        assert_eq!((code, out.len()), (Some(1), 0), "no listener is printed");
        error
    };
    let node = Node::leader(&directory);
    let error = refused(&[]);
    assert!(error.contains("another process is using this data directory"), "{error}");
    assert!(error.contains(directory.path().to_str().unwrap()), "{error}");
    // The first process is not affected.
    assert_eq!(node.result("weir_mine", json!([])), "0x1");
    node.kill();
    let error = refused(&["--chain-id", "1"]);
    assert!(error.contains("this data directory holds chain 0x849"), "{error}");
    assert_eq!(Node::leader(&directory).result("eth_blockNumber", json!([])), "0x1");
}
