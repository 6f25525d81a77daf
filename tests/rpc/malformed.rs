//! Replies to malformed input: those of JSON-RPC 2.0, or else those of geth.

use serde_json::Value;

use super::http::post;
use super::scripted::{Stage, narrow, text};
use crate::support::{BINARY, Client};

/// Each input with its only reply; `*` stands for any further text.
const TABLE: &[(&str, &str)] = &[
    // Broken JSON.
    ("", r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse error"}}"#),
    ("{", r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse error"}}"#),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"now""#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700*"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"now"} x"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700*"#,
    ),
    (
        r#"[{"jsonrpc":"2.0","id":1,"method":"now"},"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700*"#,
    ),
    // JSON that is not a call.
    ("1", r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600*"#),
    (r#""x""#, r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600*"#),
    ("{}", r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600*"#),
    (r#"{"jsonrpc":"2.0","id":3}"#, r#"{"jsonrpc":"2.0","id":3,"error":{"code":-32600*"#),
    (
        r#"{"jsonrpc":"2.0","id":3,"method":7}"#,
        r#"{"jsonrpc":"2.0","id":3,"error":{"code":-32600*"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":3,"result":7}"#,
        r#"{"jsonrpc":"2.0","id":3,"error":{"code":-32600*"#,
    ),
    (r#"{"id":3,"method":"now"}"#, r#"{"jsonrpc":"2.0","id":3,"error":{"code":-32600*"#),
    (
        r#"{"jsonrpc":"1.0","id":3,"method":"now"}"#,
        r#"{"jsonrpc":"2.0","id":3,"error":{"code":-32600*"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":3,"method":"now","params":7}"#,
        r#"{"jsonrpc":"2.0","id":3,"error":{"code":-32600*"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":3,"id":4,"method":"now"}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600*"#,
    ),
    // Ids.
    (
        r#"{"jsonrpc":"2.0","id":{},"method":"now"}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600*"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":[1],"method":"now"}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600*"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":true,"method":"now"}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600*"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":null,"method":"now"}"#,
        r#"{"jsonrpc":"2.0","id":null,"result":null}"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":123456789012345678901234567890.50e+3,"method":"now"}"#,
        r#"{"jsonrpc":"2.0","id":123456789012345678901234567890.50e+3,"result":null}"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":"\u00fc\"","method":"now"}"#,
        r#"{"jsonrpc":"2.0","id":"\u00fc\"","result":null}"#,
    ),
    // Order of members, whitespace, unknown members, escapes in the method.
    (
        " {\"params\" : [ 1 , {} ], \"x\":[[[[[[[[[[[[]]]]]]]]]]]], \"method\":\"n\\u006fw\",\n\"id\":0,\"jsonrpc\":\"2.0\"}\t",
        r#"{"jsonrpc":"2.0","id":0,"result":[ 1 , {} ]}"#,
    ),
    // Methods and parameters.
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"nope"}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"the method nope does not exist/is not available"}}"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":""}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601*"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"now","params":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":null}"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"large","params":[1,2]}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602*"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"large","params":["x"]}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602*"#,
    ),
    // Depth: eight are allowed.
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"now","params":[[[[[[[["]["]]]]]]]]}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":[[[[[[[["]["]]]]]]]]}"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"now","params":[[[[[[[[{}]]]]]]]]}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32600*"#,
    ),
    // Batches: four calls are allowed.
    ("[]", r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"empty batch"}}"#),
    ("[1,[]]", r#"[{"jsonrpc":"2.0","id":null,"error":{"code":-32600*"#),
    (r#"[["2.0",1,"now",[]]]"#, r#"[{"jsonrpc":"2.0","id":null,"error":{"code":-32600*"#),
    (
        "[1,2,3,4,5]",
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"batch too large"}}"#,
    ),
    (
        r#"[{"jsonrpc":"2.0","id":1,"method":"now"},{"jsonrpc":"2.0","method":"now"},{"jsonrpc":"2.0","id":2,"method":"now","params":[5]}]"#,
        r#"[{"jsonrpc":"2.0","id":1,"result":null},{"jsonrpc":"2.0","id":2,"result":[5]}]"#,
    ),
    // Answers too large: ten thousand bytes are allowed.
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"large","params":[10000]}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32003,"message":"response too large"}}"#,
    ),
    // Subscriptions.
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["x"]}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no \"x\" subscription in eth namespace"}}"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe"}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602*"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":[]}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602*"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":[7]}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602*"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["logs",{"address":"0x1"}]}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602*"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["logs",[]]}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602*"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["logs",[null,null]]}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602*"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_unsubscribe","params":["0x1"]}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"subscription not found"}}"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_unsubscribe"}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602*"#,
    ),
];

/// Notifications: executed, but not answered.
const SILENT: &[&str] = &[
    r#"{"jsonrpc":"2.0","method":"now"}"#,
    r#"{"jsonrpc":"2.0","method":"nope","params":[]}"#,
    r#"[{"jsonrpc":"2.0","method":"now"},{"jsonrpc":"2.0","method":"now"}]"#,
];

const PROBE: &str = r#"{"jsonrpc":"2.0","id":"probe","method":"now"}"#;
const PROBED: &str = r#"{"jsonrpc":"2.0","id":"probe","result":null}"#;

fn check(input: &str, expected: &str, reply: &str) {
    match expected.strip_suffix('*') {
        Some(beginning) => assert!(reply.starts_with(beginning), "{input}: {reply}"),
        None => assert_eq!(reply, expected, "{input}"),
    }
    serde_json::from_str::<Value>(reply).expect(reply);
}

#[test]
fn every_input_has_its_reply_over_a_websocket() {
    let stage = Stage::new(narrow());
    let mut client = stage.client();
    for (input, expected) in TABLE {
        client.text(input);
        check(input, expected, &text(&mut client));
    }
    for input in SILENT {
        client.text(input);
        client.text(PROBE);
        assert_eq!(text(&mut client), PROBED, "{input}");
    }
}

#[test]
fn every_input_has_its_reply_over_http() {
    let stage = Stage::new(narrow());
    let mut client = Client::tcp(stage.server.address);
    for (input, expected) in TABLE {
        client.raw(post(input, "").as_bytes());
        let (head, body) = client.answer();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        check(input, expected, &String::from_utf8(body).unwrap());
    }
    for input in SILENT {
        client.raw(post(input, "").as_bytes());
        assert!(client.head().starts_with("HTTP/1.1 204 "), "{input}");
    }
}

/// Replies to binary messages are text; bytes that are not UTF-8 are not JSON.
#[test]
fn binary_requests_get_text_replies() {
    let stage = Stage::new(narrow());
    let mut client = stage.client();
    client.send(BINARY, PROBE.as_bytes());
    assert_eq!(text(&mut client), PROBED);
    client.send(BINARY, b"\xff{}");
    assert!(text(&mut client).contains("-32700"));
}

#[test]
fn a_batch_of_large_answers_ends_in_errors() {
    let stage = Stage::new(narrow());
    let mut client = stage.client();
    let one = r#"{"jsonrpc":"2.0","id":7,"method":"large","params":[4000]}"#;
    client.text(&format!("[{one},{one},{one},{one}]"));
    let reply: Value = serde_json::from_str(&text(&mut client)).unwrap();
    let codes: Vec<_> = (0..4).map(|at| reply[at]["error"]["code"].as_i64()).collect();
    assert_eq!(codes, [None, None, Some(-32003), Some(-32003)]);
}
