//! Late answers and subscriptions: order, sharing, limits, and what remains after a client leaves.

use serde_json::{Value, json};
use weir::services::rpc::{Address, Bytes, Log, Notice, RpcError, Word};

use super::scripted::{Stage, call, json, narrow, raw};
use crate::support::eventually;

fn head(number: u64) -> Notice {
    Notice::Head(raw(&json!({ "number": number })))
}

fn log(address: u8, topics: &[u8]) -> Notice {
    let topics: Vec<Word> = topics.iter().map(|&byte| Bytes([byte; 32])).collect();
    let address: Address = Bytes([address; 20]);
    let json = raw(&json!({ "address": address, "topics": topics }));
    Notice::Log(Log { address, topics, json })
}

fn later(id: u64) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": "later"}).to_string()
}

#[test]
fn answers_are_sent_in_the_order_in_which_they_arrive() {
    let stage = Stage::new(narrow());
    let mut client = stage.client();
    let tickets = [1, 2, 3].map(|id| {
        client.text(&later(id));
        stage.called()
    });
    stage.answer(tickets[2], Ok(raw(&json!("c"))));
    stage.answer(tickets[0], Err(RpcError::server("a")));
    stage.answer(tickets[1], Ok(raw(&json!("b"))));
    assert_eq!(json(&mut client), json!({"jsonrpc": "2.0", "id": 3, "result": "c"}));
    let error = json!({"code": -32000, "message": "a"});
    assert_eq!(json(&mut client), json!({"jsonrpc": "2.0", "id": 1, "error": error}));
    assert_eq!(json(&mut client)["id"], 2);
}

#[test]
fn a_batch_waits_for_its_last_answer_and_keeps_its_order() {
    let stage = Stage::new(narrow());
    let mut client = stage.client();
    let now = json!({"jsonrpc": "2.0", "id": "n", "method": "now"}).to_string();
    let silent = json!({"jsonrpc": "2.0", "method": "later"}).to_string();
    client.text(&format!("[{},{now},{},{silent}]", later(1), later(2)));
    let (first, second, third) = (stage.called(), stage.called(), stage.called());
    stage.answer(third, Ok(raw(&json!(3))));
    stage.answer(second, Ok(raw(&json!(2))));
    stage.answer(first, Ok(raw(&json!(1))));
    let reply = json(&mut client);
    let ids: Vec<_> = reply.as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    assert_eq!(ids, [json!(1), json!("n"), json!(2)]);
    assert_eq!((&reply[0]["result"], &reply[2]["result"]), (&json!(1), &json!(2)));
}

#[test]
fn a_reply_precedes_the_first_notification_even_in_a_batch() {
    let stage = Stage::new(narrow());
    let mut client = stage.client();
    let subscribe =
        json!({"jsonrpc": "2.0", "id": 9, "method": "eth_subscribe", "params": ["newHeads"]});
    client.text(&format!("[{subscribe},{}]", later(1)));
    let ticket = stage.called();
    stage.notify(|| head(1));
    stage.answer(ticket, Ok(raw(&json!(null))));
    stage.notify(|| head(2));
    let reply = json(&mut client);
    let id = &reply[0]["result"];
    assert!(id.is_string(), "{reply}");
    let expected = json!({"subscription": id, "result": {"number": 2}});
    let notification = json(&mut client);
    assert_eq!(notification["method"], "eth_subscription");
    assert_eq!(notification["params"], expected);
}

#[test]
fn equal_subscriptions_share_a_frame_and_each_gets_its_own_id() {
    let stage = Stage::new(narrow());
    let mut clients = [stage.client(), stage.client()];
    let ids = clients.each_mut().map(|client| {
        [0, 1].map(|_| call(client, "eth_subscribe", &json!(["newHeads"]))["result"].clone())
    });
    assert_eq!(ids[0], ids[1], "ids are scoped to their connection");
    assert_ne!(ids[0][0], ids[0][1]);
    stage.notify(|| head(7));
    for client in &mut clients {
        let mut got = [json(client), json(client)].map(|one| one["params"]["subscription"].clone());
        got.sort_by_key(Value::to_string);
        let mut expected = ids[0].clone();
        expected.sort_by_key(Value::to_string);
        assert_eq!(got, expected);
    }
}

#[test]
fn logs_are_sent_to_subscribers_with_a_matching_filter() {
    let stage = Stage::new(narrow());
    let (mut one, mut other) = (stage.client(), stage.client());
    let address = Bytes([1; 20]).to_string();
    let topic = Bytes([2; 32]).to_string();
    let by_address = call(&mut one, "eth_subscribe", &json!(["logs", {"address": address}]));
    let by_topic = call(&mut other, "eth_subscribe", &json!(["logs", {"topics": [null, [topic]]}]));
    stage.notify(|| log(1, &[]));
    stage.notify(|| log(3, &[3, 2]));
    assert_eq!(json(&mut one)["params"]["subscription"], by_address["result"]);
    let got = json(&mut other);
    assert_eq!(got["params"]["subscription"], by_topic["result"]);
    assert_eq!(got["params"]["result"]["address"], Bytes([3; 20]).to_string());
}

#[test]
fn the_backend_gets_the_feeds_and_their_end_however_a_client_leaves() {
    let stage = Stage::new(narrow());
    let mut staying = stage.client();
    let id = call(&mut staying, "eth_subscribe", &json!(["newHeads"]))["result"].clone();
    assert_eq!(stage.feeds(), (true, 0));
    let mut leaving = stage.client();
    call(&mut leaving, "eth_subscribe", &json!(["logs", {}]));
    assert_eq!(stage.feeds(), (true, 1));
    // The same filter in another notation is not a new feed.
    call(&mut leaving, "eth_subscribe", &json!(["logs", {"topics": []}]));
    drop(leaving);
    assert_eq!(stage.feeds(), (true, 0));
    assert_eq!(call(&mut staying, "eth_unsubscribe", &json!([id]))["result"], true);
    assert_eq!(stage.feeds(), (false, 0));
    let again = call(&mut staying, "eth_unsubscribe", &json!([id]));
    assert_eq!(again["error"]["code"], -32000);
    assert!(call(&mut staying, "eth_subscribe", &json!(["newHeads"]))["result"].is_string());
    assert_eq!(stage.feeds(), (true, 0));
}

#[test]
fn subscriptions_are_limited_per_connection_and_in_all() {
    let stage = Stage::new(narrow());
    let mut clients = [stage.client(), stage.client()];
    let mut subscribe = |at: usize| call(&mut clients[at], "eth_subscribe", &json!(["syncing"]));
    for _ in 0..3 {
        assert!(subscribe(0)["result"].is_string());
    }
    assert_eq!(subscribe(0)["error"]["code"], -32005);
    assert!(subscribe(1)["result"].is_string() && subscribe(1)["result"].is_string());
    assert_eq!(subscribe(1)["error"]["code"], -32005);
}

#[test]
fn subscribers_are_closed_with_1012_after_a_gap() {
    let stage = Stage::new(narrow());
    let (mut subscriber, mut other) = (stage.client(), stage.client());
    call(&mut subscriber, "eth_subscribe", &json!(["newHeads"]));
    // A client without a subscription has no gap.
    call(&mut other, "eth_subscribe", &json!(["syncing"]));
    call(&mut other, "eth_subscribe", &json!(["newPendingTransactions"]));
    stage.notify(|| Notice::Gap);
    assert_eq!(subscriber.expect_close().0, 1012);
    assert_eq!(call(&mut other, "now", &json!([1]))["result"], json!([1]));
}

/// Reading pauses at four pending calls of a connection; calls above six in all are refused.
#[test]
fn pending_calls_are_limited() {
    let stage = Stage::new(narrow());
    let (mut one, mut other) = (stage.client(), stage.client());
    let tickets = [1, 2, 3, 4].map(|id| {
        one.text(&later(id));
        stage.called()
    });
    one.text(&json!({"jsonrpc": "2.0", "id": "waits", "method": "now"}).to_string());
    let more = [5, 6].map(|id| {
        other.text(&later(id));
        stage.called()
    });
    assert_eq!(call(&mut other, "later", &json!([]))["error"]["code"], -32005);
    assert!(call(&mut other, "eth_chainId", &json!([]))["result"] == "0x849");
    for (at, ticket) in tickets.into_iter().enumerate() {
        stage.answer(ticket, Ok(raw(&json!(at))));
    }
    // The fifth call is read only after half of the four are answered.
    let ids: Vec<_> = (0..5).map(|_| json(&mut one)["id"].clone()).collect();
    assert_eq!(ids[..2], [json!(1), json!(2)]);
    assert!(ids.contains(&json!("waits")));
    for ticket in more {
        stage.answer(ticket, Ok(raw(&json!(null))));
    }
    json(&mut other);
}

/// Pending calls of an ended connection do not count, though they were never answered.
#[test]
fn a_client_that_leaves_frees_its_pending_calls() {
    let stage = Stage::new(narrow());
    let mut clients = [stage.client(), stage.client()];
    for client in &mut clients {
        for id in 1..=3 {
            client.text(&later(id));
            stage.called();
        }
    }
    let mut other = stage.client();
    assert_eq!(call(&mut other, "now", &json!([]))["error"]["message"], "busy");
    drop(clients);
    eventually(|| call(&mut other, "now", &json!([]))["error"].is_null(), "there is room again");
}
