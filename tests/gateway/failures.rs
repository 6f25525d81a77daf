//! Malformed answers and refusals of an upstream: which calls fail, and which go to the next upstream.

use serde_json::{Value, json};
use weir::reactor::CloseReason;
use weir::services::rpc::RpcError;

use super::front::Front;
use super::node::{Node, client, gateway};
use super::peers::{ID, Posted, Socket, error, result};
use crate::rpc::scripted::{call, json, raw};
use crate::support::{Client, Seen, eventually};

/// A call that is not repeated, and its method's name.
const WRITE: &str = "eth_sendRawTransaction";
/// A read.
const READ: &str = "eth_getThis";
/// Outcomes that open a breaker if all of them are failures.
const OUTCOMES: usize = 10;

/// Rests of answers, behind the id, that are malformed.
const MALFORMED: [&str; 8] = [
    r#""error":{"code":-32000}"#,
    r#""error":{"code":"x","message":"no number"}"#,
    r#""error":[-32000,"an array"]"#,
    r#""error":"text""#,
    r#""error":{"code":1,"message":"and a result"},"result":1"#,
    r#""result":1,"result":2"#,
    r#""results":1"#,
    r#""result":{},"error":{}"#,
];

fn malformed(rest: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{ID},{rest}}}"#)
}

fn code(reply: &Value) -> i64 {
    reply["error"]["code"].as_i64().unwrap_or_else(|| panic!("{reply}"))
}

/// Calls until the first upstream, which answers `"plain"`, is connected.
fn await_first(client: &mut Client) {
    let is_answering = || call(client, "eth_getPlain", &json!([]))["result"] == "plain";
    eventually(is_answering, "the first upstream answers");
}

#[test]
fn a_malformed_answer_fails_only_its_own_call() {
    let upstream = Socket::new();
    let front = Front::new(&[upstream.url()], "", &[]);
    let (mut one, mut other) = (front.client(), front.client());
    for rest in MALFORMED {
        one.text(&json!({"jsonrpc": "2.0", "id": 1, "method": "eth_getHeld"}).to_string());
        upstream.await_call("eth_getHeld");
        let reply = call(&mut other, WRITE, &json!([malformed(rest)]));
        assert_eq!(code(&reply), RpcError::INTERNAL, "{rest}: {reply}");
        assert_eq!(json(&mut one)["result"], "held", "{rest}");
    }
    // The breaker does not count errors that one client can cause.
    for _ in 0..OUTCOMES {
        assert_eq!(code(&call(&mut other, READ, &json!([malformed(MALFORMED[0])]))), -32603);
    }
    assert_eq!(call(&mut one, "eth_getPlain", &json!([]))["result"], "plain");
    let is_closed = |seen| matches!(seen, Seen::Closed(..));
    assert!(!upstream.seen.try_iter().any(is_closed), "the connection stays");
    let count = (MALFORMED.len() + OUTCOMES) as f64;
    assert_eq!(front.metric("weir_upstream_malformed_total", &[]), count);
}

#[test]
fn a_read_goes_on_from_a_malformed_answer_to_the_next_upstream() {
    for rest in MALFORMED {
        let (socket, posted) = (Socket::new(), Posted::new("200 OK", &malformed(rest)));
        for first in [socket.url(), posted.url()] {
            let second = Posted::new("200 OK", &result(r#""second""#));
            let server = gateway(&[first.clone(), second.url()], |_| {});
            let mut client = client(&server);
            if first == socket.url() {
                await_first(&mut client);
            }
            let params = json!([malformed(rest)]);
            let before = second.requests();
            assert_eq!(call(&mut client, READ, &params)["result"], "second", "{first} {rest}");
            let reply = call(&mut client, WRITE, &params);
            assert_eq!(code(&reply), RpcError::INTERNAL, "{first} {rest}");
            assert_eq!(second.requests(), before + 1, "a transaction is not repeated");
        }
    }
}

#[test]
fn messages_that_are_not_answers_are_counted_and_dropped() {
    let upstream = Socket::new();
    let front = Front::new(&[upstream.url()], "", &[]);
    let mut client = front.client();
    let dropped = [
        json!(""),
        json!("<html>"),
        json!("[]"),
        json!(format!("[{}]", result("1"))),
        json!(r#"{"jsonrpc":"2.0","id":"5","result":1}"#),
        json!(r#"{"jsonrpc":"2.0","id":null,"result":1}"#),
        json!(r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"parse error"}}"#),
        json!([255, 254]),
        json!([0, 1, 2]),
    ];
    // These are valid, but belong to no call or subscription of the gateway.
    let ignored = [
        r#"{"jsonrpc":"2.0","id":4444,"result":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":"0x1"}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":"0x1"}"#,
        r#"{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":"0x1","result":1}}"#,
        r#"{"jsonrpc":"2.0","method":"telemetry","params":[1]}"#,
        r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#,
    ];
    for _ in 0..10 {
        let mut messages = dropped.to_vec();
        messages.extend(ignored.map(Value::from));
        messages.push(result(r#""after""#).into());
        assert_eq!(call(&mut client, READ, &json!(messages))["result"], "after");
    }
    let count = (10 * dropped.len()) as f64;
    assert_eq!(front.metric("weir_upstream_malformed_total", &[]), count);
    let is_closed = |seen| matches!(seen, Seen::Closed(..));
    assert!(!upstream.seen.try_iter().any(is_closed), "the connection stays");
}

#[test]
fn after_64_messages_without_an_answer_the_connection_is_closed() {
    let upstream = Socket::new();
    let server = gateway(&[upstream.url()], |_| {});
    let mut client = client(&server);
    let answered = [vec!["no JSON".to_owned(); 63], vec![result("1")]].concat();
    for _ in 0..2 {
        assert_eq!(call(&mut client, READ, &json!(answered))["result"], 1);
    }
    let reply = call(&mut client, READ, &json!(vec!["no JSON"; 64]));
    assert_eq!(code(&reply), RpcError::INTERNAL);
    let is_left = |seen| matches!(seen, Seen::Closed(_, CloseReason::PeerClosed(Some(code))) if code.get() == 1002);
    eventually(|| upstream.seen.try_iter().any(is_left), "the gateway closes with 1002");
}

/// What happens to a call if the first upstream answers with a status or an error code.
struct Row {
    read_goes_on: bool,
    write_goes_on: bool,
    /// The error of a call that goes to no other upstream.
    code: i64,
    /// Whether ten of them open the breaker.
    counts: bool,
}

impl Row {
    /// Checks READ and WRITE with a first upstream that answers in this way to these parameters.
    fn check(&self, first: &str, is_socket: bool, params: &Value, what: &str) {
        let second = Posted::new("200 OK", &result(r#""second""#));
        let front = Front::new(&[first.to_owned(), second.url()], "", &[]);
        let mut client = front.client();
        if is_socket {
            await_first(&mut client);
        }
        for (method, goes_on) in [(READ, self.read_goes_on), (WRITE, self.write_goes_on)] {
            let before = second.requests();
            let reply = call(&mut client, method, params);
            if goes_on {
                assert_eq!(reply["result"], "second", "{what} {method}: {reply}");
            } else {
                assert_eq!(code(&reply), self.code, "{what} {method}: {reply}");
            }
            assert_eq!(second.requests() - before, usize::from(goes_on), "{what} {method}");
        }
        for _ in 2..OUTCOMES + 2 {
            call(&mut client, READ, params);
        }
        let label = format!("upstream=\"{first}\"");
        let opened = front.metric("weir_upstream_breaker_opened_total", &[&label]);
        assert_eq!(opened > 0.0, self.counts, "{what}");
    }
}

#[test]
fn an_http_status_decides_where_a_call_goes_and_whether_the_breaker_counts() {
    let (internal, busy) = (RpcError::INTERNAL, RpcError::LIMIT);
    for (status, read_goes_on, write_goes_on, code, counts) in [
        ("400 Bad Request", false, false, internal, false),
        ("401 Unauthorized", true, true, internal, true),
        ("402 Payment Required", true, true, internal, true),
        ("403 Forbidden", true, true, internal, true),
        ("404 Not Found", true, true, internal, true),
        ("408 Request Timeout", true, false, RpcError::TIMEOUT, true),
        ("413 Content Too Large", true, false, busy, false),
        ("429 Too Many Requests", true, true, busy, true),
        ("307 Temporary Redirect\r\nLocation: /elsewhere", true, false, internal, true),
        ("500 Internal Server Error", true, false, internal, true),
        ("502 Bad Gateway", true, false, internal, true),
        ("503 Service Unavailable", true, false, busy, true),
    ] {
        for body in ["", &error(-32000)] {
            let is_final = status.starts_with("400") && !body.is_empty();
            let code = if is_final { -32000 } else { code };
            let row = Row { read_goes_on, write_goes_on, code, counts };
            row.check(&Posted::new(status, body).url(), false, &json!([]), status);
        }
    }
}

#[test]
fn an_error_code_decides_where_a_call_goes_and_whether_the_breaker_counts() {
    for (sent, read_goes_on, write_goes_on, counts) in [
        (429, true, true, true),
        (RpcError::LIMIT, true, false, false),
        (-32000, false, false, false),
        (3, false, false, false),
    ] {
        let row = Row { read_goes_on, write_goes_on, code: sent, counts };
        let params = json!([error(sent)]);
        let what = sent.to_string();
        row.check(&Socket::new().url(), true, &params, &what);
        row.check(&Posted::new("200 OK", &error(sent)).url(), false, &params, &what);
    }
}

#[test]
fn the_error_of_the_last_upstream_is_returned() {
    for sent in [429, RpcError::LIMIT] {
        let only = Posted::new("200 OK", &error(sent));
        let server = gateway(&[only.url()], |_| {});
        let reply = call(&mut client(&server), READ, &json!([]));
        assert_eq!(reply["error"], json!({"code": sent, "message": "as sent"}));
    }
}

#[test]
fn a_transaction_reaches_a_second_upstream_when_the_first_refuses_access() {
    let first = Posted::new("401 Unauthorized", &error(-32600));
    let second = Node::new(false, 6);
    let server = gateway(&[first.url(), second.http()], |_| {});
    let mut client = client(&server);
    client.text(&json!({"jsonrpc": "2.0", "id": 1, "method": WRITE, "params": ["0x"]}).to_string());
    second.await_calls(WRITE, 1);
    second.release(Ok(raw(&json!("taken"))));
    assert_eq!(json(&mut client)["result"], "taken");
    assert_eq!((first.requests(), second.calls(WRITE)), (1, 1));
}
