//! Calls by HTTP POST and the rates of messages that connections of a route share.

use std::sync::mpsc::channel;

use weir::reactor::settings::{GateSettings, Limit, Rate, RouteSettings, Settings};
use weir::services::rpc::{MethodCosts, RpcSettings};

use super::http::{NOW, answer, post};
use super::scripted::{Stage, narrow, serve};
use crate::gate::scripted;
use crate::support::{Client, Server, TEXT, eventually, header};

/// Eight tokens, and one more each 100 s.
fn eight() -> Rate {
    Rate { per_second: 0.01, burst: 8 }
}

/// A stage whose method `now` costs three tokens.
fn stage(route: RouteSettings, settings: Settings) -> Stage {
    let rpc = narrow().costs(MethodCosts::new([("now", 3)]));
    Stage::with_loop(rpc, route, settings)
}

/// Expects 429 with the time until there is a token, after which the connection ends.
fn expect_refused(mut client: Client, seconds: u64) -> String {
    let (head, _) = client.answer();
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    let stated: u64 = header(&head, "Retry-After").expect("Retry-After").parse().unwrap();
    // A token comes back while a busy machine runs the test.
    assert!((seconds - 90..=seconds).contains(&stated), "{stated} of {seconds} s");
    client.expect_end();
    head
}

fn posting(stage: &Stage, body: &str, lines: &str) -> Client {
    let mut client = Client::tcp(stage.server.address);
    client.raw(post(body, lines).as_bytes());
    client
}

#[test]
fn calls_by_post_take_their_cost_from_the_tokens_of_their_address() {
    let origins = vec!["https://app.example".to_owned()];
    let route = RouteSettings::default().origins(origins).require_origin(false);
    let stage = stage(route.messages_rate_per_address(eight()), Settings::default());
    for _ in 0..2 {
        answer(&mut posting(&stage, NOW, ""));
    }
    // It costs five and finds two: the address then owes three, and has one token after the fourth.
    let other = r#"{"jsonrpc":"2.0","id":2,"method":"other"}"#;
    answer(&mut posting(&stage, &format!("[{NOW},{other},{other}]"), ""));
    let origin = "Origin: https://app.example\r\n";
    let head = expect_refused(posting(&stage, other, origin), 400);
    assert_eq!(header(&head, "Access-Control-Allow-Origin"), Some("https://app.example"));
    let metrics = stage.server.stop_clean();
    assert_eq!((metrics.refusals["messages_per_address"], metrics.refused), (1, 1));
}

#[test]
fn messages_of_websockets_leave_no_tokens_for_calls_by_post() {
    let route = RouteSettings::default().messages_rate_per_address(eight());
    let stage = stage(route, Settings::default());
    let mut socket = stage.client();
    for _ in 0..3 {
        socket.text(NOW);
        assert_eq!(socket.frame().opcode, TEXT);
    }
    expect_refused(posting(&stage, NOW, ""), 200);
    // A request that calls nothing is not refused.
    let mut client = Client::tcp(stage.server.address);
    client.raw(post(NOW, "").replace("application/json", "text/plain").as_bytes());
    assert!(client.answer().0.starts_with("HTTP/1.1 415 "));
}

#[test]
fn the_rate_of_one_connection_does_not_apply_to_calls_by_post() {
    let route = RouteSettings::default().messages_rate(eight());
    let stage = stage(route, Settings::default());
    let mut client = Client::tcp(stage.server.address);
    for _ in 0..9 {
        client.raw(post(NOW, "").as_bytes());
        answer(&mut client);
    }
    drop(client);
    stage.server.stop_clean();
}

#[test]
fn a_dry_run_counts_calls_without_tokens_and_answers_them() {
    let route = RouteSettings::default().messages_rate_per_address(eight());
    let settings = Settings::default().limits_dry_run(vec![Limit::MessagesPerAddress]);
    let stage = stage(route, settings);
    for _ in 0..5 {
        answer(&mut posting(&stage, NOW, ""));
    }
    let metrics = stage.server.stop();
    assert_eq!((metrics.refused_dry["messages_per_address"], metrics.refused), (2, 0));
}

#[test]
fn exempt_addresses_may_call_without_tokens() {
    let route = RouteSettings::default().messages_rate_per_address(eight());
    let stage = stage(route, Settings::default().exempt(vec!["127.0.0.1".parse().unwrap()]));
    for _ in 0..5 {
        answer(&mut posting(&stage, NOW, ""));
    }
}

/// Each subject has its own tokens, whatever its addresses and connections.
#[test]
fn calls_by_post_take_tokens_of_their_subject() {
    let (reports, started) = channel();
    let server = Server::start(Settings::default(), move |reactor| {
        let gate = reactor.add_gate(scripted(), GateSettings::default()).unwrap();
        let route = RouteSettings::default().messages_rate_per_subject(eight()).gate(gate);
        let rpc = RpcSettings::default().costs(MethodCosts::new([("now", 3)]));
        serve(reactor, rpc, route, reports);
    });
    eventually(|| started.try_recv().is_ok(), "the service has started");
    let posting = |token: &str| {
        let mut client = Client::tcp(server.address);
        client.raw(post(NOW, &format!("X-Token: {token}\r\n")).as_bytes());
        client
    };
    for token in ["ann", "ann", "later ann", "bob", "none", "none", "none", "none"] {
        answer(&mut posting(token));
    }
    expect_refused(posting("ann"), 200);
    for _ in 0..2 {
        answer(&mut posting("bob"));
    }
    expect_refused(posting("bob"), 200);
    assert_eq!(server.stop().refusals["messages_per_subject"], 2);
}
