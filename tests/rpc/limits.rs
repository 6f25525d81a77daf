//! The default limits: the last allowed value, and the error for one more.

use serde_json::{Value, json};
use weir::reactor::settings::{RouteSettings, Settings};
use weir::services::rpc::{Notice, RpcSettings};

use super::http::post;
use super::scripted::{Stage, call, json as next, narrow, raw, text};
use crate::support::{Client, eventually, expect_spread_retry};

const NOW: &str = r#"{"jsonrpc":"2.0","id":1,"method":"now"}"#;

fn stage() -> Stage {
    Stage::new(RpcSettings::default())
}

/// Other services of the loop may use up its topics.
#[test]
fn a_subscription_without_a_free_topic_is_an_error() {
    let settings = Settings::default().topics_max(1);
    let stage = Stage::with_loop(RpcSettings::default(), RouteSettings::default(), settings);
    let (mut client, mut other) = (stage.client(), stage.client());
    assert!(call(&mut client, "eth_subscribe", &json!(["newHeads"]))["result"].is_string());
    assert!(call(&mut other, "eth_subscribe", &json!(["syncing"]))["result"].is_string());
    assert_eq!(other.expect_close(), (1013, "too many subscriptions".to_owned()));
    stage.notify(|| Notice::Head(raw(&json!("head"))));
    assert_eq!(next(&mut client)["params"]["result"], "head");
}

#[test]
fn a_connection_may_have_a_hundred_subscriptions() {
    let stage = stage();
    let (mut client, mut other) = (stage.client(), stage.client());
    let mut subscribe = || call(&mut client, "eth_subscribe", &json!(["newHeads"]));
    let ids: Vec<Value> = (0..100).map(|_| subscribe()["result"].clone()).collect();
    assert!(ids.iter().all(Value::is_string));
    let error = json!({"code": -32005, "message": "too many subscriptions on this connection"});
    assert_eq!(subscribe()["error"], error);
    assert!(call(&mut other, "eth_subscribe", &json!(["newHeads"]))["result"].is_string());
    // After an unsubscribe there is room for another subscription.
    assert_eq!(call(&mut client, "eth_unsubscribe", &json!([ids[7]]))["result"], true);
    assert_eq!(call(&mut client, "eth_subscribe", &json!(["newHeads"]))["result"], ids[7]);
    assert_eq!(call(&mut client, "eth_subscribe", &json!(["newHeads"]))["error"], error);
}

#[test]
fn a_batch_may_have_a_hundred_calls() {
    let stage = stage();
    let mut client = stage.client();
    let batch = |calls: usize| format!("[{}]", vec![NOW; calls].join(","));
    client.text(&batch(100));
    assert_eq!(next(&mut client).as_array().map(Vec::len), Some(100));
    client.text(&batch(101));
    assert_eq!(next(&mut client)["error"]["message"], "batch too large");
}

#[test]
fn a_request_may_have_a_mebibyte() {
    const MIB: usize = 1024 * 1024;
    let stage = stage();
    let padded = |len: usize| format!("{NOW}{}", " ".repeat(len - NOW.len()));
    let mut client = stage.client();
    client.text(&padded(MIB));
    assert_eq!(next(&mut client)["id"], 1);
    client.text(&padded(MIB + 1));
    assert_eq!(client.expect_close().0, 1009);
    let mut client = Client::tcp(stage.server.address);
    client.raw(post(&padded(MIB), "").as_bytes());
    assert!(client.answer().0.starts_with("HTTP/1.1 200 "));
    // An announced length above the limit is refused at once.
    let head = post(&padded(MIB + 1), "");
    let (head, _) = head.split_at(head.len() - MIB - 1);
    assert!(client.request(head).starts_with("HTTP/1.1 413 "));
}

/// A client that did not receive an id has no subscription: all of its three are still free.
#[test]
fn a_subscription_whose_id_exceeds_the_reply_is_ended() {
    let stage = Stage::new(narrow());
    let mut client = stage.client();
    let subscribe =
        json!({"jsonrpc": "2.0", "id": 2, "method": "eth_subscribe", "params": ["newHeads"]});
    let large = json!({"jsonrpc": "2.0", "id": 1, "method": "large", "params": [9_940]});
    client.text(&json!([large, subscribe]).to_string());
    let reply = next(&mut client);
    assert!(reply[0]["result"].is_string());
    assert_eq!(reply[1]["error"]["code"], -32003);
    assert_eq!(stage.feeds(), (false, 0));
    for _ in 0..3 {
        client.text(&subscribe.to_string());
        assert!(next(&mut client)["result"].is_string());
    }
    assert_eq!(stage.feeds(), (true, 0));
    drop(client);
    assert_eq!(stage.feeds(), (false, 0));
}

#[test]
fn a_reply_may_have_twenty_five_megabytes() {
    const BYTES: usize = 25_000_000;
    let stage = stage();
    let mut client = stage.client();
    let around = r#"{"jsonrpc":"2.0","id":1,"result":""}"#.len();
    let mut large = |bytes: usize| {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "large", "params": [bytes]});
        client.text(&call.to_string());
        text(&mut client)
    };
    assert_eq!(large(BYTES - around).len(), BYTES);
    let error = r#""error":{"code":-32003,"message":"response too large"}"#;
    assert!(large(BYTES - around + 1).contains(error));
    // The same holds for late answers, and over HTTP.
    let mut poster = Client::tcp(stage.server.address);
    for (bytes, expected) in [(BYTES, r#""result":"x"#), (BYTES + 1, error)] {
        let later = NOW.replace("now", "later");
        client.text(&later);
        let ticket = stage.called();
        let result = "x".repeat(bytes - around);
        stage.answer(ticket, Ok(raw(&json!(result))));
        let reply = text(&mut client);
        assert!(reply.contains(expected) && reply.len() <= BYTES, "{} bytes", reply.len());
        poster.raw(post(&later, "").as_bytes());
        let ticket = stage.called();
        stage.answer(ticket, Ok(raw(&json!(result))));
        let (_, body) = poster.answer();
        assert_eq!(body, reply.as_bytes());
    }
}

#[test]
fn parameters_may_open_sixty_four_brackets() {
    let stage = stage();
    let mut client = stage.client();
    let mut nested = |depth: usize| {
        let params = "[".repeat(depth) + &"]".repeat(depth);
        client.text(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"now","params":{params}}}"#));
        next(&mut client)
    };
    assert!(nested(64)["result"].is_array());
    assert_eq!(nested(65)["error"]["code"], -32600);
    // A whole message of brackets takes no more than its bytes.
    assert_eq!(nested(500_000)["error"]["code"], -32600);
}

/// Reading pauses at 256 pending calls of a connection; calls above 16,384 in all are refused.
#[test]
fn pending_calls_are_limited_to_256_per_connection_and_16384_in_all() {
    let stage = stage();
    let later = NOW.replace("now", "later");
    let mut clients: Vec<Client> = (0..64).map(|_| stage.client()).collect();
    let mut tickets = Vec::new();
    for client in &mut clients {
        for _ in 0..300 {
            client.text(&later);
        }
        tickets.push((0..256).map(|_| stage.called()).collect::<Vec<_>>());
    }
    let mut other = stage.client();
    let busy = json!({"code": -32005, "message": "busy"});
    assert_eq!(call(&mut other, "later", &json!([]))["error"], busy);
    assert_eq!(call(&mut other, "eth_chainId", &json!([]))["result"], "0x849");
    assert!(stage.reports.try_recv().is_err(), "a connection with 256 pending calls is not read");
    // After half of them are answered, reading resumes.
    for &ticket in &tickets[0][..128] {
        stage.answer(ticket, Ok(raw(&json!(null))));
    }
    for _ in 0..44 {
        tickets[0].push(stage.called());
    }
    for ticket in tickets.into_iter().flatten() {
        stage.answer(ticket, Ok(raw(&json!(null))));
    }
    for _ in 0..300 {
        assert_eq!(next(&mut clients[0])["result"], Value::Null);
    }
    drop((clients, other));
    stage.server.stop_clean();
}

#[test]
fn the_connections_of_a_network_are_limited() {
    let settings = RpcSettings::default().connections_max(2);
    let stage = Stage::new(settings);
    let (mut one, two) = (stage.client(), stage.client());
    let upgrade = crate::support::upgrade("/", "");
    let mut third = Client::tcp(stage.server.address);
    let head = third.request(&upgrade);
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    expect_spread_retry(&head);
    // HTTP connections do not count.
    let mut poster = Client::tcp(stage.server.address);
    poster.raw(post(NOW, "").as_bytes());
    assert!(poster.answer().0.starts_with("HTTP/1.1 200 "));
    drop(two);
    eventually(
        || Client::tcp(stage.server.address).request(&upgrade).starts_with("HTTP/1.1 101 "),
        "there is room again",
    );
    assert_eq!(call(&mut one, "now", &json!([]))["result"], json!([]));
    drop(one);
    assert!(stage.server.stop_clean().refusals["route_full"] >= 1);
}

/// A subscriber that stops reading is ended within seconds, with its subscription.
#[test]
fn subscriptions_of_a_client_that_does_not_read_are_ended() {
    let settings = RpcSettings::default().response_bytes_max(10_000);
    let stage = Stage::with_route(settings, RouteSettings::default());
    let mut blocked = Client::narrow(stage.server.address, "/");
    assert!(call(&mut blocked, "eth_subscribe", &json!(["newHeads"]))["result"].is_string());
    assert_eq!(stage.feeds(), (true, 0));
    for _ in 0..300 {
        stage.notify(|| Notice::Head(raw(&json!({"extraData": "x".repeat(64 * 1024)}))));
    }
    // It does not even read its Close.
    assert_eq!(stage.feeds(), (false, 0));
    drop(blocked);
    assert_eq!(stage.server.stop_clean().ended_slow, 1);
}
