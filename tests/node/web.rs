//! Browsers and a node: the hosts that a request may name, and the pages that may read answers.

use super::process::{Directory, Node};
use crate::support::{Client, header, upgrade};

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#;

/// Each kind of request, with this host.
fn requests(host: &str) -> [String; 4] {
    let line = format!("Host: {host}\r\n");
    let post = format!("POST / HTTP/1.1\r\n{line}Content-Length: {}\r\n\r\n{CALL}", CALL.len());
    let get = format!("GET / HTTP/1.1\r\n{line}\r\n");
    let options = get.replace("GET", "OPTIONS");
    [post, get, options, upgrade("/", "").replace("Host: localhost\r\n", &line)]
}

/// The heads of the responses to each of them.
fn heads(node: &Node, host: &str) -> [String; 4] {
    requests(host).map(|request| Client::tcp(node.rpc).request(&request))
}

fn statuses(node: &Node, host: &str) -> [String; 4] {
    heads(node, host).map(|head| head[9..12].to_owned())
}

const ADMITTED: [&str; 4] = ["200", "426", "204", "101"];

/// DNS rebinding: the name of evil.example resolves to 127.0.0.1.
#[test]
fn a_node_on_loopback_refuses_hosts_that_are_not_loopback() {
    let directory = Directory::new();
    let node = Node::leader(&directory);
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1:8545", "127.1.2.3", "[::1]:8545"] {
        assert_eq!(statuses(&node, host), ADMITTED, "{host}");
    }
    let others = ["evil.example", "evil.example:8545", "127.0.0.1.evil.example", "10.0.0.1", ""];
    for host in others {
        for head in heads(&node, host) {
            assert!(head.starts_with("HTTP/1.1 403 "), "{host}: {head}");
            assert_eq!(header(&head, "X-WebSocket-Error"), Some("host is not allowed"));
        }
    }
    // The host in the target takes precedence over the header (RFC 9112, 3.2.2).
    let absolute = requests("localhost")[0].replace("POST /", "POST http://evil.example/");
    assert!(Client::tcp(node.rpc).request(&absolute).starts_with("HTTP/1.1 403 "));
    let without = requests("")[0].replace("Host: \r\n", "").replace("HTTP/1.1", "HTTP/1.0");
    assert!(Client::tcp(node.rpc).request(&without).starts_with("HTTP/1.1 403 "));
    let (_, metrics) = node.answer("/metrics");
    let refused = 4 * others.len() + 2;
    let counted = |line: &str| line.ends_with(&format!(r#"{{reason="host"}} {refused}"#));
    assert!(metrics.lines().any(counted), "{refused} in {metrics}");
}

#[test]
fn rpc_hosts_replaces_the_allowed_hosts() {
    let directory = Directory::new();
    let flags = ["--block-time", "off", "--rpc-hosts", "Node.example,10.0.0.0/8"];
    let node = Node::start(&directory, &flags);
    for host in ["node.example:8545", "10.1.2.3"] {
        assert_eq!(statuses(&node, host), ADMITTED, "{host}");
    }
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(statuses(&node, host), ["403"; 4], "{host}");
    }
}

#[test]
fn every_host_is_allowed_by_a_star_and_on_other_addresses() {
    for flags in [["--rpc-hosts", "*"], ["--rpc-addr", "0.0.0.0:0"]] {
        let directory = Directory::new();
        let node = Node::start(&directory, &[&["--block-time", "off"], &flags[..]].concat());
        assert_eq!(statuses(&node, "evil.example"), ADMITTED, "{flags:?}");
    }
}

#[test]
fn rpc_origins_lists_the_origins_that_may_connect_and_read() {
    let directory = Directory::new();
    let flags = ["--block-time", "off", "--rpc-origins", "https://app.example"];
    let node = Node::start(&directory, &flags);
    let with = |origin: &str| {
        let lines = format!("Host: localhost\r\nContent-Type: application/json\r\n{origin}");
        let post = requests("x")[0].replace("Host: x\r\n", &lines);
        let post = Client::tcp(node.rpc).request(&post);
        let upgrade = Client::tcp(node.rpc).request(&upgrade("/", origin));
        let readable = header(&post, "Access-Control-Allow-Origin").map(str::to_owned);
        (post[9..12].to_owned(), upgrade[9..12].to_owned(), readable)
    };
    let is = |post: &str, upgrade: &str, readable: Option<&str>| {
        (post.to_owned(), upgrade.to_owned(), readable.map(str::to_owned))
    };
    let listed = is("200", "101", Some("https://app.example"));
    assert_eq!(with("Origin: https://app.example\r\n"), listed);
    assert_eq!(with("Origin: https://evil.example\r\n"), is("403", "403", None));
    assert_eq!(with(""), is("200", "101", None), "followers and tools send none");
}
