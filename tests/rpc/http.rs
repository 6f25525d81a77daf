//! JSON-RPC by HTTP POST: bodies, their limits, media types, and late answers.

use std::net::Shutdown;
use std::time::Duration;

use serde_json::{Value, json};
use weir::reactor::Metrics;
use weir::services::rpc::Notice;

use super::scripted::{Stage, call, json as next, narrow, raw};
use crate::support::{Client, eventually, header, upgrade};

pub const NOW: &str = r#"{"jsonrpc":"2.0","id":1,"method":"now"}"#;
pub const LATER: &str = r#"{"jsonrpc":"2.0","id":1,"method":"later"}"#;

pub fn post(body: &str, lines: &str) -> String {
    let len = body.len();
    format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{lines}\
         Content-Length: {len}\r\n\r\n{body}"
    )
}

/// The body of the next response, which must be JSON.
pub fn answer(client: &mut Client) -> Value {
    let (head, body) = client.answer();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(header(&head, "Content-Type"), Some("application/json"));
    serde_json::from_slice(&body).unwrap()
}

fn stop(stage: Stage) -> Metrics {
    stage.server.stop_clean()
}

#[test]
fn posts_share_a_connection_and_an_upgrade_may_follow() {
    let stage = Stage::new(narrow());
    let mut client = Client::tcp(stage.server.address);
    let batch = format!("[{NOW},{NOW}]");
    let all = [post(NOW, ""), post(&batch, ""), post(NOW, ""), upgrade("/", "")].concat();
    client.raw(all.as_bytes());
    assert_eq!(answer(&mut client)["id"], 1);
    assert_eq!(answer(&mut client).as_array().unwrap().len(), 2);
    assert_eq!(answer(&mut client)["id"], 1);
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(call(&mut client, "eth_chainId", &json!([]))["result"], "0x849");
    drop(client);
    assert_eq!(stop(stage).http_answered, 3);
}

#[test]
fn a_body_may_arrive_byte_by_byte() {
    let stage = Stage::new(narrow());
    let mut client = Client::tcp(stage.server.address);
    let mut other = stage.client();
    for byte in post(NOW, "").into_bytes() {
        client.raw(&[byte]);
        // A turn has passed, so that the next byte arrives alone.
        call(&mut other, "now", &json!([]));
    }
    assert_eq!(answer(&mut client)["result"], Value::Null);
    drop((client, other));
    stop(stage);
}

#[test]
fn expect_100_continue_is_answered() {
    let stage = Stage::new(narrow());
    let mut client = Client::tcp(stage.server.address);
    let whole = post(NOW, "Expect: 100-continue\r\n");
    let (head, body) = whole.split_at(whole.len() - NOW.len());
    assert_eq!(client.request(head), "HTTP/1.1 100 Continue\r\n\r\n");
    client.raw(body.as_bytes());
    assert_eq!(answer(&mut client)["id"], 1);
}

#[test]
fn bodies_are_refused_by_their_headers() {
    let settings = narrow().request_bytes_max(1000);
    let stage = Stage::new(settings);
    let padded = |len: usize| format!("{NOW}{}", " ".repeat(len - NOW.len()));
    let mut client = Client::tcp(stage.server.address);
    client.raw(post(&padded(1000), "").as_bytes());
    assert_eq!(answer(&mut client)["id"], 1);
    client.raw(post(&padded(1001), "").as_bytes());
    let (head, _) = client.answer();
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    client.expect_end();

    // The header alone is refused.
    for (lines, status) in [
        ("Content-Length: 99999999999999999999999\r\n", "413"),
        ("Transfer-Encoding: gzip\r\n", "501"),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "400"),
        ("Content-Length: 3\r\nContent-Length: 3\r\n", "400"),
        ("Content-Length: -3\r\n", "400"),
    ] {
        let mut client = Client::tcp(stage.server.address);
        let head = client.request(&format!("POST / HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n"));
        assert_eq!(&head[9..12], status, "{lines}");
    }
    let mut client = Client::tcp(stage.server.address);
    let head =
        client.request("POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    let head = Client::tcp(stage.server.address).request(&post(NOW, "").replacen("POST", "PUT", 1));
    assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
    assert_eq!(header(&head, "Allow"), Some("GET, POST, OPTIONS"));
}

#[test]
fn the_next_request_waits_for_a_late_answer() {
    let stage = Stage::new(narrow());
    let mut client = Client::tcp(stage.server.address);
    client.raw([post(LATER, ""), post(NOW, "")].concat().as_bytes());
    let ticket = stage.called();
    stage.answer(ticket, Ok(raw(&json!("at last"))));
    assert_eq!(answer(&mut client)["result"], "at last");
    assert_eq!(answer(&mut client)["result"], Value::Null);
    client.raw(post(LATER, "Connection: close\r\n").as_bytes());
    let ticket = stage.called();
    stage.answer(ticket, Ok(raw(&json!("again"))));
    assert_eq!(answer(&mut client)["result"], "again");
    client.expect_end();
    drop(client);
    stop(stage);
}

/// Ends a connection with a reset.
fn reset(client: Client) {
    socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// The limit is six pending calls: the calls of a connection that ends are free at once.
#[test]
fn a_client_that_leaves_before_its_answer_frees_its_calls() {
    let stage = Stage::new(narrow());
    let mut other = stage.client();
    let mut is_busy = || call(&mut other, "now", &json!([]))["error"]["message"] == "busy";
    let (mut tickets, mut gone) = (Vec::new(), Vec::new());
    for with_its_call in [false, true] {
        let mut posters = [(); 6].map(|()| Client::tcp(stage.server.address));
        for poster in &mut posters {
            poster.raw(post(NOW, "").as_bytes());
            answer(poster);
        }
        for mut poster in posters {
            poster.raw(post(LATER, "").as_bytes());
            if with_its_call {
                reset(poster);
                tickets.push(stage.called());
            } else {
                tickets.push(stage.called());
                assert_eq!(is_busy(), tickets.len() == 6);
                gone.push(poster);
            }
        }
        gone.drain(..).for_each(reset);
        eventually(|| !is_busy(), "the calls of the ended connection are free");
    }
    for ticket in tickets {
        stage.answer(ticket, Ok(raw(&json!("too late"))));
    }
    assert!(!is_busy());
    drop(other);
    stop(stage);
}

#[test]
fn a_client_that_has_sent_a_fin_is_answered() {
    let stage = Stage::new(narrow());
    let mut client = Client::tcp(stage.server.address);
    client.raw(post(LATER, "").as_bytes());
    client.stream.shutdown(Shutdown::Write).unwrap();
    let ticket = stage.called();
    stage.answer(ticket, Ok(raw(&json!("to you"))));
    assert_eq!(answer(&mut client)["result"], "to you");
    drop(client);
    stop(stage);
}

#[test]
fn a_call_without_an_answer_times_out() {
    let settings = narrow().call_timeout(Duration::from_millis(1));
    let stage = Stage::new(settings);
    let mut client = Client::tcp(stage.server.address);
    client.raw(post(LATER, "").as_bytes());
    let error = json!({"code": -32002, "message": "request timed out"});
    assert_eq!(answer(&mut client)["error"], error);
    let mut socket = stage.client();
    let silent = LATER.replace(r#""id":1,"#, "");
    socket.text(&format!("[{LATER},{NOW},{silent}]"));
    let reply = next(&mut socket);
    assert_eq!((&reply[0]["error"], reply.as_array().unwrap().len()), (&error, 2));
}

#[test]
fn subscriptions_are_refused_over_http() {
    let stage = Stage::new(narrow());
    let mut client = Client::tcp(stage.server.address);
    let subscribe = r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}"#;
    client.raw(post(subscribe, "").as_bytes());
    assert_eq!(answer(&mut client)["error"]["code"], -32001);
}

/// A page of another origin cannot make a browser call a method without a preflight request (CORS).
#[test]
fn a_media_type_other_than_json_is_refused_with_415() {
    let stage = Stage::new(narrow());
    let request = |lines: &str| {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\n{lines}Content-Length: {}\r\n\r\n",
            NOW.len()
        );
        let mut client = Client::tcp(stage.server.address);
        client.raw((head + NOW).as_bytes());
        client.answer().0[9..12].to_owned()
    };
    let typed = |value: &str| format!("Content-Type: {value}\r\n");
    let json =
        ["application/JSON; charset=utf-8", "application/json-rpc;v=1", "application/jsonrequest"];
    let others = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "application/jsonx",
        "application/json, text/plain",
        "application/json\r\nContent-Type: text/plain",
        "",
        ";application/json",
    ];
    for origin in ["", "Origin: http://evil\r\n"] {
        for media_type in json {
            assert_eq!(request(&(typed(media_type) + origin)), "200", "{media_type} {origin}");
        }
        for media_type in others {
            assert_eq!(request(&(typed(media_type) + origin)), "415", "{media_type} {origin}");
        }
    }
    assert_eq!(request(""), "200", "no media type and no Origin");
    assert_eq!(request("Origin: http://evil\r\n"), "415", "a browser can send no media type");
}

/// A shutdown waits for pending calls of both connections before it closes them.
#[test]
fn pending_calls_are_answered_during_a_shutdown() {
    let stage = Stage::new(narrow());
    let (mut socket, mut idle) = (stage.client(), stage.client());
    let mut poster = Client::tcp(stage.server.address);
    socket.text(LATER);
    let first = stage.called();
    poster.raw(post(LATER, "").as_bytes());
    let second = stage.called();
    stage.server.shutdown();
    assert_eq!(idle.expect_close().0, 1001, "a client without pending calls is closed at once");
    stage.notify(move || {
        let outcome = Ok(raw(&json!("done")));
        Notice::Answer { tickets: vec![first, second], outcome }
    });
    assert_eq!(next(&mut socket)["result"], "done");
    assert_eq!(socket.expect_close().0, 1001);
    let (head, body) = poster.answer();
    assert_eq!(header(&head, "Connection"), Some("close"));
    assert!(String::from_utf8(body).unwrap().contains("done"));
    for client in [&mut socket, &mut idle] {
        client.close(1001, "");
    }
    drop((socket, idle, poster));
    stop(stage);
}
