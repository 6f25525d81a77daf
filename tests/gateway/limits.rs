//! The default limits of a gateway, and what remains of clients that have left.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use weir::services::rpc::RpcError;

use super::front::Front;
use super::node::{Node, PATH};
use super::requests::await_height;
use crate::rpc::scripted::{call, json, raw};
use crate::support::{Client, crowd, eventually, upgrade};

fn request(id: usize, method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

/// A call with parameters that no other call has.
fn unique(id: usize) -> String {
    request(id, "eth_call", &json!([id]))
}

#[test]
fn a_full_server_connects_to_its_upstream_again() {
    let mut node = Node::new(false, 5);
    let front = Front::new(&[node.ws()], "", &["--connections-max", "1"]);
    let mut client = front.client();
    await_height(&mut client, "0x5");
    let head = Client::tcp(front.address).request(&upgrade(PATH, ""));
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    node.stop();
    front.await_metric("weir_connections", &["kind=\"outbound\""], 0.0);
    node.start();
    front.await_metric("weir_connections", &["kind=\"outbound\""], 1.0);
    front.await_metric("weir_upstream_ready", &[], 1.0);
    assert_eq!(front.metric("weir_connections", &["kind=\"client\""]), 1.0);
    await_height(&mut client, "0x5");
}

#[test]
fn a_network_may_have_ten_thousand_connections() {
    const COUNT: usize = 10_000;
    let _alone = crowd();
    let node = Node::new(false, 5);
    let front = Front::new(&[node.ws()], "", &["--connections-max", "15000"]);
    let request = upgrade(PATH, "");
    let mut clients = Vec::with_capacity(COUNT);
    while clients.len() < COUNT {
        let mut batch: Vec<Client> = (0..100).map(|_| Client::tcp(front.address)).collect();
        batch.iter_mut().for_each(|client| client.raw(request.as_bytes()));
        for client in &mut batch {
            assert!(client.head().starts_with("HTTP/1.1 101 "), "after {}", clients.len());
        }
        clients.append(&mut batch);
    }
    let ask = || Client::tcp(front.address).request(&request)[9..12].to_owned();
    assert_eq!(ask(), "503");
    assert_eq!(front.metric("weir_rpc_connections", &[]), COUNT as f64);
    assert_eq!(call(&mut clients[0], "eth_gasPrice", &json!([]))["result"], "0x5");
    clients.pop();
    eventually(|| ask() == "101", "its place is free");
    drop(clients);
    front.await_no_client();
}

#[test]
fn an_upstream_has_64_concurrent_calls_and_1024_wait() {
    const CLIENTS: usize = 8;
    const EACH: usize = (64 + 1024) / CLIENTS;
    for by_http in [false, true] {
        let node = Node::new(false, 5);
        let front = Front::new(&[if by_http { node.http() } else { node.ws() }], "", &[]);
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| front.client()).collect();
        assert_eq!(call(&mut clients[0], "eth_gasPrice", &json!([]))["result"], "0x5");
        for (number, client) in clients.iter_mut().enumerate() {
            let calls: Vec<String> = (0..EACH).map(|at| unique(number * EACH + at)).collect();
            calls.iter().for_each(|call| client.text(call));
        }
        front.await_metric("weir_gateway_queued_calls", &[], 1024.0);
        assert_eq!(front.metric("weir_upstream_pending_requests", &[]), 64.0);
        let mut late = front.client();
        late.text(&unique(usize::MAX));
        let reply = json(&mut late);
        assert_eq!(reply["error"], json!({"code": RpcError::LIMIT, "message": "busy"}));
        assert_eq!(front.metric("weir_gateway_refused_calls_total", &[]), 1.0);
        node.await_calls("eth_call", 64);
        for answered in 0..CLIENTS * EACH {
            node.await_calls("eth_call", answered + 1);
            node.release(Ok(raw(&json!("at last"))));
        }
        for client in &mut clients {
            (0..EACH).for_each(|_| assert_eq!(json(client)["result"], "at last"));
        }
        assert_eq!(node.calls("eth_call"), CLIENTS * EACH);
        drop((clients, late));
        front.await_no_client();
    }
}

#[test]
fn an_answer_may_have_twenty_five_megabytes() {
    for by_http in [false, true] {
        let node = Node::new(false, 5);
        let front = Front::new(&[if by_http { node.http() } else { node.ws() }], "", &[]);
        let mut client = front.client();
        for (bytes, fits) in [(24_999_900, true), (25_000_000, false), (60_000_000, false)] {
            let before = node.calls("eth_call");
            client.text(&unique(bytes));
            node.await_calls("eth_call", before + 1);
            node.release(Ok(raw(&json!("x".repeat(bytes)))));
            let reply = json(&mut client);
            match fits {
                true => assert_eq!(reply["result"].as_str().map(str::len), Some(bytes)),
                false => assert_eq!(reply["error"]["code"], RpcError::TOO_LARGE, "{bytes}"),
            }
        }
        assert_eq!(call(&mut client, "eth_gasPrice", &json!([]))["result"], "0x5");
    }
}

/// A client with a subscription and a pending call that reads nothing.
fn busy(front: &Front, id: usize) -> Client {
    let mut client = front.client();
    for kind in ["newHeads", "logs", "newPendingTransactions", "syncing"] {
        client.text(&request(id, "eth_subscribe", &json!([kind])));
    }
    client.text(&unique(id));
    client.text(&format!("[{},{}]", unique(id + 1), request(id, "eth_gasPrice", &json!([]))));
    client
}

#[test]
fn nothing_is_left_of_clients_however_they_leave() {
    let node = Node::new(true, 5);
    let front = Front::new(&[node.ws()], "", &[]);
    let mut clients: Vec<Client> = (0..3).map(|number| busy(&front, 10 * number)).collect();
    node.await_calls("eth_call", 6);
    front.await_metric("weir_rpc_subscriptions", &[], 12.0);
    front.await_metric("weir_rpc_pending_calls", &[], 6.0);
    let body = unique(40);
    let mut poster = Client::tcp(front.address);
    let head =
        format!("POST {PATH} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
    poster.raw((head + &body).as_bytes());
    node.await_calls("eth_call", 7);
    // By a Close, by a FIN, and by a reset.
    clients[0].close(1000, "");
    assert_eq!(clients[0].expect_close().0, 1000);
    socket2::SockRef::from(&clients[2].stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(clients);
    front.await_metric("weir_rpc_connections", &[], 0.0);
    front.await_metric("weir_rpc_pending_calls", &[], 1.0);
    node.await_subscribed(false);
    // A FIN after a POST does not end the connection: the client waits for the response.
    drop(poster);
    (0..7).for_each(|_| node.release(Ok(raw(&json!("too late")))));
    front.await_no_client();
    assert_eq!(call(&mut front.client(), "eth_gasPrice", &json!([]))["result"], "0x5");
}

#[test]
fn pending_calls_are_answered_during_a_shutdown() {
    for by_http in [false, true] {
        let node = Node::new(false, 5);
        let mut front = Front::new(&[if by_http { node.http() } else { node.ws() }], "", &[]);
        let (mut asking, mut idle) = (front.client(), front.client());
        assert_eq!(call(&mut asking, "eth_gasPrice", &json!([]))["result"], "0x5");
        asking.text(&unique(1));
        node.await_calls("eth_call", 1);
        front.process.signal(Signal::TERM);
        assert_eq!(idle.expect_close().0, 1001, "a client without pending calls is closed at once");
        node.release(Ok(raw(&json!("done"))));
        assert_eq!(json(&mut asking)["result"], "done");
        assert_eq!(asking.expect_close().0, 1001);
        asking.close(1001, "");
        idle.close(1001, "");
        assert_eq!(front.process.wait(), Some(0));
    }
}
