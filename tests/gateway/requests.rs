//! Calls through a gateway: answers, failover, timeouts and limits.

use std::io::ErrorKind;
use std::net::{TcpListener, ToSocketAddrs as _};
use std::time::Duration;

use serde_json::{Value, json};
use weir::services::rpc::{RpcError, RpcSettings};

use super::front::Front;
use super::node::{Node, PATH, client, gateway, gateway_with};
use crate::rpc::scripted::{call, json, raw};
use crate::support::{Client, PROXY_VARIABLES, eventually, upgrade};

fn request(id: &Value, method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

fn error(reply: &Value) -> i64 {
    reply["error"]["code"].as_i64().unwrap_or_else(|| panic!("{reply}"))
}

/// Calls until the upstream at this height answers.
pub(super) fn await_height(client: &mut Client, height: &str) {
    let answered = || call(client, "eth_blockNumber", &json!([]))["result"] == height;
    eventually(answered, "the other upstream answers");
}

/// Runs a test with an upstream by WebSocket and one by HTTP.
fn each_way(test: impl Fn(&Node, &[String])) {
    for by_http in [false, true] {
        let node = Node::new(false, 5);
        let url = if by_http { node.http() } else { node.ws() };
        test(&node, &[url]);
    }
}

#[test]
fn answers_have_the_id_of_their_call_and_are_sent_when_they_arrive() {
    each_way(|node, upstreams| {
        let server = gateway(upstreams, |_| {});
        let mut client = client(&server);
        client.text(&request(&json!("slow"), "eth_call", &json!([1])));
        node.await_calls("eth_call", 1);
        client.text(&request(&json!(null), "eth_gasPrice", &json!([])));
        assert_eq!(json(&mut client), json!({"jsonrpc": "2.0", "id": null, "result": "0x5"}));
        node.release(Ok(raw(&json!({ "b": 1, "a": [null] }))));
        let reply = json(&mut client);
        assert_eq!(
            (&reply["id"], &reply["result"]),
            (&json!("slow"), &json!({"a": [null], "b": 1}))
        );
        let reply = call(&mut client, "eth_nothing", &json!([]));
        assert_eq!(error(&reply), RpcError::METHOD_NOT_FOUND, "the error of the upstream");
        client.text(&format!(
            "[{},{}]",
            request(&json!(7), "eth_gasPrice", &json!([])),
            request(&json!(8), "eth_blockNumber", &json!([]))
        ));
        let replies = json(&mut client);
        assert_eq!((&replies[0]["id"], &replies[0]["result"]), (&json!(7), &json!("0x5")));
        assert_eq!((&replies[1]["id"], &replies[1]["result"]), (&json!(8), &json!("0x5")));
    });
}

#[test]
fn equal_reads_are_sent_once_and_transactions_each_time() {
    each_way(|node, upstreams| {
        let server = gateway(upstreams, |_| {});
        let mut clients: Vec<Client> = (0..3).map(|_| client(&server)).collect();
        for (id, client) in clients.iter_mut().enumerate() {
            client.text(&request(&json!(id), "eth_call", &json!(["same"])));
            client.text(&request(&json!("s"), "eth_sendRawTransaction", &json!(["0x"])));
        }
        // Concurrent calls arrive in any order.
        node.await_calls("eth_sendRawTransaction", 3);
        node.await_calls("eth_call", 1);
        for _ in 0..4 {
            node.release(Ok(raw(&json!("done"))));
        }
        for (id, client) in clients.iter_mut().enumerate() {
            let mut ids = [json(client)["id"].clone(), json(client)["id"].clone()];
            ids.sort_by_key(Value::is_string);
            assert_eq!(ids, [json!(id), json!("s")]);
        }
        assert_eq!(node.calls("eth_call"), 1);
    });
}

#[test]
fn reads_go_to_a_second_upstream_after_a_failure() {
    let (mut first, second) = (Node::new(false, 5), Node::new(false, 6));
    let server = gateway(&[first.ws(), second.http()], |_| {});
    let mut client = client(&server);
    await_height(&mut client, "0x5");
    client.text(&request(&json!(1), "eth_call", &json!([1])));
    client.text(&request(&json!(2), "eth_sendRawTransaction", &json!(["0x"])));
    first.await_calls("eth_sendRawTransaction", 1);
    first.stop();
    // The transaction may have arrived: it is not sent again.
    let reply = json(&mut client);
    assert_eq!((&reply["id"], error(&reply)), (&json!(2), RpcError::INTERNAL));
    second.await_calls("eth_call", 1);
    second.release(Ok(raw(&json!("here"))));
    assert_eq!(json(&mut client)["result"], "here");
    assert_eq!(second.calls("eth_sendRawTransaction"), 0);
}

#[test]
fn the_first_upstream_is_used_again_once_it_is_back() {
    let (mut first, second) = (Node::new(false, 5), Node::new(false, 6));
    let server = gateway(&[first.ws(), second.ws()], |_| {});
    let mut client = client(&server);
    await_height(&mut client, "0x5");
    first.stop();
    await_height(&mut client, "0x6");
    first.start();
    await_height(&mut client, "0x5");
}

#[test]
fn without_an_upstream_calls_fail_at_once() {
    let mut node = Node::new(false, 5);
    let (ws, http) = (node.ws(), node.http());
    node.stop();
    for upstream in [ws, http] {
        let server = gateway(&[upstream], |_| {});
        let mut client = client(&server);
        let reply = call(&mut client, "eth_gasPrice", &json!([]));
        assert_eq!(error(&reply), RpcError::INTERNAL);
        // The open breaker, or the missing connection, fails further calls without an attempt.
        for _ in 0..20 {
            assert_eq!(error(&call(&mut client, "eth_gasPrice", &json!([]))), RpcError::INTERNAL);
        }
    }
}

#[test]
fn an_upstream_that_does_not_answer_is_a_timeout() {
    each_way(|node, upstreams| {
        let server = gateway(upstreams, |settings| settings.timeout = Duration::from_millis(300));
        let mut client = client(&server);
        let reply = call(&mut client, "eth_call", &json!([1]));
        assert_eq!(error(&reply), RpcError::TIMEOUT);
        assert_eq!(node.calls("eth_call"), 1);
    });
}

#[test]
fn calls_above_the_queue_limit_are_busy() {
    each_way(|node, upstreams| {
        let server = gateway(upstreams, |settings| {
            settings.concurrency = 2;
            settings.queue_max = 3;
        });
        let mut client = client(&server);
        await_height(&mut client, "0x5");
        for id in 0..6 {
            client.text(&request(&json!(id), "eth_call", &json!([id])));
        }
        let reply = json(&mut client);
        assert_eq!((&reply["id"], error(&reply)), (&json!(5), RpcError::LIMIT));
        assert_eq!(reply["error"]["message"], "busy");
        node.await_calls("eth_call", 2);
        for id in 0..5 {
            node.await_calls("eth_call", id + 1);
            node.release(Ok(raw(&json!(id))));
            assert_eq!(json(&mut client)["result"], id);
        }
    });
}

#[test]
fn a_too_large_answer_is_an_error_and_closes_nothing() {
    each_way(|node, upstreams| {
        let server = gateway(upstreams, |settings| settings.answer_bytes_max = 500_000);
        let mut client = client(&server);
        client.text(&request(&json!(1), "eth_call", &json!([1])));
        node.await_calls("eth_call", 1);
        node.release(Ok(raw(&json!("x".repeat(600_000)))));
        assert_eq!(error(&json(&mut client)), RpcError::TOO_LARGE);
        assert_eq!(call(&mut client, "eth_gasPrice", &json!([]))["result"], "0x5");
    });
}

#[test]
fn the_chain_id_is_that_of_the_upstream() {
    each_way(|_, upstreams| {
        let server = gateway(upstreams, |_| {});
        let mut client = client(&server);
        assert_eq!(call(&mut client, "eth_chainId", &json!([]))["result"], "0x7");
        assert_eq!(call(&mut client, "net_version", &json!([]))["result"], "7");
    });
}

#[test]
fn batches_are_accepted_by_post() {
    each_way(|node, upstreams| {
        let server = gateway(upstreams, |_| {});
        let calls = [
            request(&json!(1), "eth_call", &json!([1])),
            request(&json!("b"), "eth_gasPrice", &json!([])),
        ];
        let body = format!("[{}]", calls.join(","));
        let mut client = Client::tcp(server.address);
        client.raw(format!(
            "POST {PATH} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ).as_bytes());
        node.await_calls("eth_call", 1);
        node.release(Ok(raw(&json!("later"))));
        let (head, body) = client.answer();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let replies: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(replies[0], json!({"jsonrpc": "2.0", "id": 1, "result": "later"}));
        assert_eq!(replies[1], json!({"jsonrpc": "2.0", "id": "b", "result": "0x5"}));
    });
}

#[test]
fn the_connections_of_a_network_are_limited() {
    let node = Node::new(false, 5);
    let rpc = RpcSettings::default().connections_max(2);
    let server = gateway_with(&[node.ws()], rpc, |_| {});
    let mut first = client(&server);
    // The connection to the upstream does not count.
    await_height(&mut first, "0x5");
    let second = client(&server);
    let head = Client::tcp(server.address).request(&upgrade(PATH, ""));
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    drop((first, second));
    let is_free =
        || Client::tcp(server.address).request(&upgrade(PATH, "")).starts_with("HTTP/1.1 101 ");
    eventually(is_free, "their places are free again");
}

#[test]
fn unknown_networks_are_not_found() {
    let node = Node::new(false, 5);
    let server = gateway(&[node.ws()], |_| {});
    for path in ["/main/evm/1", "/other/evm/2121", "/main/evm", "/main/evm/2121/x", "/"] {
        let head = Client::tcp(server.address).request(&upgrade(path, ""));
        assert!(head.starts_with("HTTP/1.1 404 "), "{path}: {head}");
    }
}

#[test]
fn http_proxy_is_ignored() {
    let node = Node::new(false, 5);
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let front = Front::with(&[node.http()], "", &[], |command| {
        command.envs(PROXY_VARIABLES.map(|variable| (variable, &url)));
    });
    assert_eq!(call(&mut front.client(), "eth_gasPrice", &json!([]))["result"], "0x5");
    proxy.set_nonblocking(true).unwrap();
    assert_eq!(proxy.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn an_upstream_may_listen_at_the_last_address_of_its_name() {
    let last = ("localhost", 0).to_socket_addrs().unwrap().last().unwrap();
    let node = Node::at(last.ip(), false, 5);
    let server = gateway(&[format!("ws://localhost:{}/", node.address.port())], |_| {});
    assert_eq!(call(&mut client(&server), "eth_gasPrice", &json!([]))["result"], "0x5");
}
