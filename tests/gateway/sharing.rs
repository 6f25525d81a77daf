//! One answer for many callers: each reply has its own id, and all share the bytes of the answer.

use std::fs;

use serde_json::{Value, json};
use weir::reactor::settings::Settings;
use weir::services::rpc::{RpcError, RpcSettings};

use super::front::Front;
use super::node::{Node, PATH, client, gateway, gateway_at};
use crate::rpc::scripted::{json, raw};
use crate::support::{Client, TEXT, eventually};

/// A call with the same parameters for all callers.
fn same(id: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "eth_call", "params": ["same"]})
}

fn post(client: &mut Client, body: &Value) {
    let body = body.to_string();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.raw(head.as_bytes());
}

fn reply(id: &Value, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

#[test]
fn callers_that_share_a_large_answer_get_it_with_their_own_ids() {
    let result = json!("x".repeat(100_000)).to_string();
    for by_http in [false, true] {
        let node = Node::new(false, 5);
        let server = gateway(&[if by_http { node.http() } else { node.ws() }], |_| {});
        let ids = [json!(1), json!("two"), json!(null), json!(-4.5), json!("\u{e9}\"")];
        let mut sockets: Vec<Client> = (0..40).map(|_| client(&server)).collect();
        let id = |number: usize| &ids[number % ids.len()];
        for (number, socket) in sockets.iter_mut().enumerate() {
            socket.text(&same(id(number)).to_string());
        }
        let batch = json!([same(&ids[0]), {"jsonrpc": "2.0", "id": 7}, same(&ids[1])]);
        let mut batches = [client(&server), Client::tcp(server.address)];
        batches[0].text(&batch.to_string());
        post(&mut batches[1], &batch);
        let extensions = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        let (mut compressing, head) = Client::open_with(server.address, PATH, extensions);
        assert!(head.contains("permessage-deflate"), "{head}");
        compressing.text(&same(&ids[2]).to_string());
        let mut notifying = client(&server);
        let notification = json!({"jsonrpc": "2.0", "method": "eth_call", "params": ["same"]});
        notifying.text(&json!([notification, same(&ids[3])]).to_string());
        let mut poster = Client::tcp(server.address);
        post(&mut poster, &same(&ids[4]));
        node.await_calls("eth_call", 1);
        // This call is answered after all earlier ones.
        for client in sockets.iter_mut().chain([&mut compressing, &mut notifying]) {
            client.text(&json!({"jsonrpc": "2.0", "id": 0}).to_string());
            json(client);
        }
        batches[0].text(&json!({"jsonrpc": "2.0", "id": 0}).to_string());
        json(&mut batches[0]);
        node.release(Ok(serde_json::value::RawValue::from_string(result.clone()).unwrap()));

        for (number, socket) in sockets.iter_mut().enumerate() {
            socket.expect(TEXT, reply(id(number), &result).as_bytes());
        }
        compressing.expect(TEXT, reply(&ids[2], &result).as_bytes());
        notifying.expect(TEXT, format!("[{}]", reply(&ids[3], &result)).as_bytes());
        let (head, body) = poster.answer();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(body == reply(&ids[4], &result).as_bytes());
        let frame = batches[0].frame();
        let (_, body) = batches[1].answer();
        for body in [frame.payload, body] {
            let replies: Vec<Value> = serde_json::from_slice(&body).unwrap();
            assert_eq!(replies.len(), 3);
            assert_eq!(replies[1]["error"]["code"], RpcError::INVALID_REQUEST);
            for (reply, id) in [(&replies[0], &ids[0]), (&replies[2], &ids[1])] {
                assert_eq!(&reply["id"], id);
                assert_eq!(reply["result"].to_string(), result);
            }
        }
        assert_eq!(node.calls("eth_call"), 1);
    }
}

/// Bytes of memory of a process, from the line of this name in `/proc`.
fn memory(pid: i32, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let kilobytes = line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB");
    kilobytes.trim().parse::<usize>().unwrap() * 1024
}

#[test]
fn an_answer_for_200_callers_takes_less_memory_than_three_of_it() {
    const EACH: usize = 100;
    const ANSWER_BYTES: usize = 5_000_000;
    const START: usize = 100;
    for by_http in [false, true] {
        let node = Node::new(false, 5);
        let front = Front::new(&[if by_http { node.http() } else { node.ws() }], "", &[]);
        let mut sockets: Vec<Client> = (0..EACH).map(|_| front.client()).collect();
        let mut posters: Vec<Client> = (0..EACH).map(|_| Client::tcp(front.address)).collect();
        for (id, socket) in sockets.iter_mut().enumerate() {
            socket.text(&same(&json!(id)).to_string());
        }
        for (id, poster) in posters.iter_mut().enumerate() {
            post(poster, &same(&json!(id)));
        }
        front.await_metric("weir_rpc_pending_calls", &[], 2.0 * EACH as f64);
        node.await_calls("eth_call", 1);
        let pid = front.process.pid().as_raw_nonzero().get();
        let before = memory(pid, "VmRSS");
        fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
        let result = json!("x".repeat(ANSWER_BYTES)).to_string();
        node.release(Ok(serde_json::value::RawValue::from_string(result.clone()).unwrap()));
        // No caller reads yet.
        front.await_metric("weir_rpc_pending_calls", &[], 0.0);
        // One caller of each kind reads everything, the others enough to check the id.
        let whole = |id: usize| reply(&json!(id), &result).into_bytes();
        for (id, socket) in sockets.iter_mut().enumerate().skip(1) {
            let header = 10;
            assert_eq!(socket.bytes(header + START)[header..], whole(id)[..START]);
        }
        for (id, poster) in posters.iter_mut().enumerate().skip(1) {
            let head = poster.head();
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            assert_eq!(poster.bytes(START), whole(id)[..START]);
        }
        sockets[0].expect(TEXT, &whole(0));
        assert!(posters[0].answer().1 == whole(0));
        let grown = memory(pid, "VmHWM").saturating_sub(before);
        println!("{:.2} answers, by_http: {by_http}", grown as f64 / ANSWER_BYTES as f64);
        assert!(grown < 3 * ANSWER_BYTES, "at most {grown} bytes more, by_http: {by_http}");
        drop((sockets, posters));
        eventually(
            || front.metric("weir_buffered_bytes", &[]) == 0.0,
            "nothing is left in the account",
        );
    }
}

#[test]
fn without_memory_for_a_large_answer_the_caller_gets_an_error() {
    let node = Node::new(false, 5);
    let settings = Settings::default().buffered_bytes_max(1_000_000);
    let server = gateway_at(settings, &[node.http()], RpcSettings::default(), |_| {});
    let mut sockets = [client(&server), client(&server)];
    let mut poster = Client::tcp(server.address);
    sockets[0].text(&same(&json!(1)).to_string());
    sockets[1].text(&json!([same(&json!(2))]).to_string());
    post(&mut poster, &same(&json!(3)));
    node.await_calls("eth_call", 1);
    eventually(|| node.calls("eth_call") == 1, "one call");
    for socket in &mut sockets {
        socket.text(&json!({"jsonrpc": "2.0", "id": 0}).to_string());
        json(socket);
    }
    node.release(Ok(raw(&json!("x".repeat(600_000)))));
    let error = json!({"code": RpcError::LIMIT, "message": "out of memory"});
    let replies = sockets.each_mut().map(json);
    assert_eq!((&replies[0]["id"], &replies[0]["error"]), (&json!(1), &error));
    assert_eq!((&replies[1]["id"], &replies[1]["error"]), (&json!(null), &error));
    let (head, _) = poster.answer();
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    // The connections stay open.
    for socket in &mut sockets {
        socket.text(r#"{"jsonrpc":"2.0","id":9,"method":"eth_gasPrice"}"#);
        assert_eq!(json(socket)["result"], "0x5");
    }
}
