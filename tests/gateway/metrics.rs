//! The metrics of a gateway, with their values after known calls.

use serde_json::{Value, json};

use super::front::Front;
use super::node::Node;
use crate::rpc::scripted::{call, json, raw};
use crate::support::{Client, eventually};

fn subscribe(client: &mut Client, kind: &str) {
    let reply = call(client, "eth_subscribe", &json!([kind]));
    assert!(reply["result"].is_string(), "{reply}");
}

#[test]
fn calls_errors_and_latency_are_counted_by_class_of_method() {
    let node = Node::new(false, 5);
    let front = Front::new(&[node.http()], "", &[]);
    let mut client = front.client();
    let mut ask = |method: &str, params: Value| call(&mut client, method, &params);
    for _ in 0..3 {
        ask("eth_gasPrice", json!([]));
    }
    ask("eth_getBlockByNumber", json!(["0x1", false]));
    ask("eth_getLogs", json!([{"blockHash": "0x0"}]));
    ask("eth_nothing", json!([]));
    ask("eth_subscribe", json!(["nothing"]));
    ask("eth_unsubscribe", json!(["0x1"]));
    client.text("broken");
    json(&mut client);
    client.text(r#"{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":["0x"]}"#);
    node.await_calls("eth_sendRawTransaction", 1);
    node.release(Ok(raw(&json!("0x1"))));
    json(&mut client);
    let of = |class: &str, name: &str| front.metric(name, &[&format!("class=\"{class}\"")]);
    for (class, calls, answers) in [
        ("info", 3.0, 3.0),
        ("read", 1.0, 1.0),
        ("logs", 1.0, 1.0),
        ("send", 1.0, 1.0),
        ("subscribe", 2.0, 0.0),
        ("other", 1.0, 1.0),
    ] {
        assert_eq!(of(class, "weir_rpc_requests_total"), calls, "{class}");
        assert_eq!(of(class, "weir_gateway_latency_seconds_count"), answers, "{class}");
    }
    let errors = |class: &str, code: &str| {
        let labels = [&*format!("class=\"{class}\""), &*format!("code=\"{code}\"")];
        front.metric("weir_rpc_errors_total", &labels)
    };
    assert_eq!((errors("other", "-32700"), errors("other", "-32601")), (1.0, 1.0));
    assert_eq!((errors("logs", "-32000"), errors("subscribe", "-32601")), (1.0, 1.0));
    assert_eq!(errors("subscribe", "-32000"), 1.0);
    assert_eq!(front.metric("weir_rpc_errors_total", &[]), 5.0);
    assert!(of("info", "weir_gateway_latency_seconds_sum") > 0.0);
    let upstream =
        |name: &str| front.metric(name, &[&format!("upstream=\"http://{}/\"", node.address)]);
    assert_eq!(upstream("weir_upstream_requests_total"), 7.0);
    assert_eq!(upstream("weir_upstream_latency_seconds_count"), 7.0);
    let within = |bound: &str| front.metric("weir_upstream_latency_seconds_bucket", &[bound]);
    assert_eq!(within(r#"le="+Inf""#), 7.0);
    assert!(within(r#"le="0.001""#) <= within(r#"le="5""#));
}

#[test]
fn notifications_and_subscriptions_are_counted() {
    let node = Node::new(true, 5);
    let front = Front::new(&[node.ws()], "", &[]);
    let (mut one, mut other) = (front.client(), front.client());
    for kind in ["newHeads", "logs"] {
        subscribe(&mut one, kind);
    }
    subscribe(&mut other, "newHeads");
    node.await_subscribed(true);
    front.await_metric("weir_gateway_heads_pushed", &[], 1.0);
    for number in [6, 7] {
        node.mine(0);
        json(&mut other);
        json(&mut one);
        json(&mut one);
        assert_eq!(front.metric("weir_gateway_head_block", &[]), f64::from(number));
    }
    for (name, value) in [
        ("weir_rpc_connections", 2.0),
        ("weir_rpc_subscriptions", 3.0),
        ("weir_rpc_feeds", 2.0),
        ("weir_rpc_heads_total", 2.0),
        // Two notifications of each block's head, and one of its log; each is encoded once.
        ("weir_rpc_notifications_sent_total", 6.0),
        ("weir_rpc_notifications_encoded_total", 4.0),
        ("weir_rpc_notifications_dropped_total", 0.0),
        ("weir_rpc_gaps_closed_total", 0.0),
    ] {
        assert_eq!(front.metric(name, &[]), value, "{name}");
    }
    let lag = front.metric("weir_gateway_poll_lag_seconds", &[]);
    assert!(lag > 0.0, "{lag}");
    assert!(front.metric("weir_gateway_block_time_seconds", &[]) > 0.0);
    node.become_chain(vec![9; 9]);
    node.mine(9);
    assert_eq!(one.expect_close().0, 1012);
    assert_eq!(front.metric("weir_rpc_gaps_closed_total", &[]), 2.0);
    assert_eq!(front.metric("weir_gateway_head_gaps_total", &[]), 1.0);
    drop((one, other));
    front.await_no_client();
    assert_eq!(
        front.metric("weir_gateway_poll_lag_seconds", &[]),
        0.0,
        "no poll without subscribers"
    );
}

#[test]
fn the_state_of_a_breaker_is_shown_until_its_trial_closes_it() {
    let mut node = Node::new(false, 5);
    let front = Front::new(&[node.http()], "", &[]);
    node.stop();
    let mut client = front.client();
    let breaker = || front.metric("weir_upstream_breaker_state", &[]);
    for asked in 0..10 {
        assert_eq!(breaker(), 0.0, "after {asked} failures");
        assert!(call(&mut client, "eth_gasPrice", &json!([]))["error"].is_object());
    }
    assert_eq!((breaker(), front.metric("weir_upstream_breaker_opened_total", &[])), (2.0, 1.0));
    let failed = || front.metric("weir_upstream_failures_total", &[]);
    assert!(call(&mut client, "eth_gasPrice", &json!([]))["error"].is_object());
    assert_eq!(failed(), 10.0, "no upstream is called");
    node.start();
    let answered = || call(&mut client, "eth_gasPrice", &json!([]))["result"] == "0x5";
    eventually(answered, "it is tried again");
    assert_eq!((breaker(), failed()), (0.0, 10.0));
}

/// A subscriber that does not read, and one that reads every head.
fn slow_and_quick(front: &Front, node: &Node) -> (Client, Client) {
    let mut slow = Client::narrow(front.address, super::node::PATH);
    let mut quick = front.client();
    subscribe(&mut slow, "newHeads");
    subscribe(&mut quick, "newHeads");
    node.pad(64 * 1024);
    (slow, quick)
}

#[test]
fn dropped_notifications_are_counted_and_the_slow_subscriber_is_ended() {
    let node = Node::new(true, 5);
    // An outbox for large answers would hold many heads.
    let settings = "slow = 'drop'\nwrite_timeout = '1s'\nresponse_max = '10 KB'";
    let front = Front::new(&[node.ws()], settings, &[]);
    let (slow, mut quick) = slow_and_quick(&front, &node);
    let dropped = || front.metric("weir_rpc_notifications_dropped_total", &[]);
    eventually(
        || {
            node.mine(0);
            json(&mut quick);
            dropped() > 0.0
        },
        "something is dropped",
    );
    // The subscriber has read nothing for longer than the write timeout.
    front.await_metric("weir_rpc_subscriptions", &[], 1.0);
    drop((slow, quick));
    front.await_no_client();
}

#[test]
fn a_slow_subscriber_is_closed_and_counted_and_does_not_delay_others() {
    let node = Node::new(true, 5);
    let front = Front::new(&[node.ws()], "slow = 'close'\nresponse_max = '10 KB'", &[]);
    let (mut slow, mut quick) = slow_and_quick(&front, &node);
    let mut number = 6;
    let ended = || {
        node.mine(0);
        let head = &json(&mut quick)["params"]["result"]["number"];
        assert_eq!(*head, json!(format!("{number:#x}")));
        number += 1;
        front.metric("weir_rpc_subscriptions", &[]) == 1.0
    };
    eventually(ended, "the slow subscriber is closed");
    assert_eq!(slow.expect_close(), (1013, "slow consumer".to_owned()));
    assert_eq!(front.metric("weir_closed_total", &["reason=\"slow_consumer\""]), 1.0);
    assert!(front.metric("weir_rpc_notifications_dropped_total", &[]) >= 1.0);
}
