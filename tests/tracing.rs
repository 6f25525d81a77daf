//! The setting `trace`: `traceparent` in upstream requests, records and log lines.

use std::collections::HashSet;

use serde_json::json;
use weir::protocol::http::TraceParent;
use weir::reactor::settings::Settings;

use crate::gateway::front::Front as Gateway;
use crate::gateway::node::PATH;
use crate::proxy::front::Front;
use crate::proxy::scripted::Scripted;
use crate::puppet::Puppet;
use crate::support::{Client, Server, header, upgrade};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn trace_of(head: &str) -> Option<&str> {
    assert!(head.lines().filter(|line| line.starts_with("traceparent:")).count() <= 1, "{head}");
    header(head, "traceparent")
}

#[test]
fn an_upstream_gets_the_trace_of_the_client_or_a_new_one() {
    let upstream = Scripted::accepting("");
    let mut front = Front::with(&[upstream.url()], "", "", &["--trace", "--log", "weir=debug"]);
    let forwarded = |lines: &str| {
        let head = Client::tcp(front.address).request(&upgrade("/", lines));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        upstream.head()
    };
    let head = forwarded(&format!("Traceparent: {PARENT}\r\ntracestate: a=1\r\n"));
    assert_eq!((trace_of(&head), header(&head, "tracestate")), (Some(PARENT), Some("a=1")));
    let mut seen = HashSet::new();
    for lines in [
        "",
        "tracestate: a=1\r\n",
        "traceparent: 00-1\r\ntracestate: a=1\r\n",
        &format!("traceparent: {PARENT}\r\ntraceparent: {PARENT}\r\n"),
    ] {
        let head = forwarded(lines);
        let trace = trace_of(&head).expect(&head).to_owned();
        assert!(TraceParent::parse(&trace).is_some() && trace.ends_with("-00"), "{trace}");
        assert_eq!(header(&head, "tracestate"), None, "it belongs to another trace");
        assert!(seen.insert(trace[3..35].to_owned()), "{trace}");
    }
    for id in seen.iter().map(String::as_str).chain([&PARENT[3..35]]) {
        let log = front.process.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(id)).collect();
        assert!(lines.iter().any(|line| line.contains("opened")), "{id}: {log}");
    }
    front.process.logged(&format!("trace={}", &PARENT[3..35]));
}

#[test]
fn requests_of_one_connection_have_their_own_traces() {
    let upstream = Scripted::persistent(|client, _| {
        client.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    });
    let front = Front::with(&[upstream.url()], "", "", &["--trace"]);
    let mut client = Client::tcp(front.address);
    let mut forwarded = |lines: &str| {
        client.raw(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes());
        client.answer();
        trace_of(&upstream.head()).unwrap().to_owned()
    };
    let first = forwarded("");
    assert_eq!(forwarded(&format!("traceparent: {PARENT}\r\n")), PARENT);
    let third = forwarded("");
    assert!(third != first && third != PARENT, "{third}");
}

#[test]
fn without_the_setting_the_header_passes_unchanged() {
    let upstream = Scripted::accepting("");
    let front = Front::new(&[upstream.url()], "", "");
    for lines in ["", "traceparent: anything\r\ntracestate: a=1\r\n"] {
        Client::tcp(front.address).request(&upgrade("/", lines));
        let head = upstream.head();
        assert_eq!(trace_of(&head), header(&format!("\r\n{lines}"), "traceparent"));
    }
    let log = front.process.stop();
    assert!(!log.contains("trace="), "{log}");
}

#[test]
fn refusals_and_ends_are_logged_with_their_trace() {
    let flags = ["--trace", "--log-access", "--log-format", "json"];
    let (process, address) = crate::support::Process::serve(&flags);
    let line = format!("traceparent: {PARENT}\r\n");
    Client::tcp(address).request(&upgrade("/nowhere", &line));
    let (mut client, _) = Client::open_with(address, "/", &line);
    client.close(1000, "");
    client.expect_close();
    client.expect_gone();
    // The next request cannot be parsed: nothing of an earlier one is in its line.
    let mut client = Client::tcp(address);
    client.raw(format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\nbad\r\n\r\n").as_bytes());
    client.expect_gone();
    let log = process.stop();
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let trace = |status: u16| {
        let line = lines.iter().find(|line| line["status"] == status).expect(&log);
        line.get("trace").cloned()
    };
    assert_eq!((trace(404), trace(400)), (Some(PARENT[3..35].into()), None));
    let ended = lines.iter().find(|line| line["code"] == 1000).expect(&log);
    assert_eq!(ended["trace"], &PARENT[3..35]);
}

#[test]
fn a_service_reads_the_trace_of_its_connection() {
    for is_traced in [true, false] {
        let (puppet, strings) = Puppet::new();
        let settings = Settings::default().trace(is_traced);
        let server = Server::start(settings, move |reactor| {
            let service = reactor.add_service(puppet).unwrap();
            reactor.add_route("/", service, Default::default()).unwrap();
        });
        let line = format!("traceparent: {PARENT}\r\n");
        let (_client, _) = Client::open_with(server.address, "/", &line);
        let id = strings.opened();
        let (own, recorded) =
            strings.run(move |cx| (cx.trace(id), cx.record(id).and_then(|record| record.trace)));
        assert_eq!(own, TraceParent::parse(PARENT).filter(|_| is_traced));
        assert_eq!(own, recorded);
    }
}

#[test]
fn calls_to_an_upstream_by_http_have_the_trace_of_their_client() {
    let upstream = Scripted::persistent(|client, head| {
        let len = header(head, "Content-Length").unwrap().parse().unwrap();
        let request: serde_json::Value = serde_json::from_slice(&client.bytes(len)).unwrap();
        let answer = json!({"jsonrpc": "2.0", "id": request["id"], "result": "0x1"}).to_string();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ";
        client.raw(format!("{head}{}\r\n\r\n{answer}", answer.len()).as_bytes());
    });
    let front = Gateway::new(&[upstream.url()], "", &["--trace"]);
    let line = format!("traceparent: {PARENT}\r\n");
    let (mut client, _) = Client::open_with(front.address, PATH, &line);
    client.text(r#"{"jsonrpc":"2.0","id":1,"method":"eth_gasPrice","params":[]}"#);
    client.frame();
    assert_eq!(trace_of(&upstream.head()), Some(PARENT));
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":[]}"#;
    let mut client = Client::tcp(front.address);
    let lines = "Host: a\r\nContent-Type: application/json\r\n";
    let len = body.len();
    client.raw(
        format!("POST {PATH} HTTP/1.1\r\n{lines}Content-Length: {len}\r\n\r\n{body}").as_bytes(),
    );
    client.answer();
    let head = upstream.head();
    assert!(trace_of(&head).is_some_and(|trace| trace != PARENT), "{head}");
}
