//! Upstreams with TLS, by WebSocket and HTTP: trusted certificates, calls and subscriptions.

use std::path::PathBuf;

use serde_json::json;
use weir::reactor::TlsError;
use weir::services::rpc::RpcError;
use weir_authority::Authority;

use super::node::{HOST, Node, client, gateway, hash, settings};
use crate::rpc::scripted::{call, json};

/// Runs a test with a node with a certificate of this authority, by WebSocket and by HTTP.
fn each_way(authority: &Authority, names: &[&str], test: impl Fn(Node, String)) {
    let files = authority.server(names);
    for by_http in [false, true] {
        let node = Node::secure(!by_http, 5, &files);
        let url = if by_http { node.http() } else { node.ws() };
        test(node, url);
    }
}

#[test]
fn calls_and_subscriptions_work_over_tls() {
    let authority = Authority::new();
    each_way(&authority, &[HOST], |mut node, url| {
        let server = gateway(&[url], |settings| settings.ca_file = Some(authority.file()));
        let mut client = client(&server);
        assert_eq!(call(&mut client, "eth_gasPrice", &json!([]))["result"], "0x5");
        let subscribed = call(&mut client, "eth_subscribe", &json!(["newHeads"]));
        assert!(subscribed["result"].is_string(), "{subscribed}");
        for number in 6..9 {
            node.mine(0);
            assert_eq!(json(&mut client)["params"]["result"]["hash"], json!(hash(number, 0)));
        }
        // Also after a restart.
        node.stop();
        node.mine(0);
        node.start();
        assert_eq!(json(&mut client)["params"]["result"]["hash"], json!(hash(9, 0)));
    });
}

/// Expects that no call reaches an upstream with an untrusted certificate.
fn refuses(authority: &Authority, names: &[&str], trusted: Option<&Authority>) {
    each_way(authority, names, |node, url| {
        let authorities = trusted.map(Authority::file);
        let server = gateway(&[url], |settings| settings.ca_file = authorities);
        let reply = call(&mut client(&server), "eth_gasPrice", &json!([]));
        assert_eq!(reply["error"]["code"], RpcError::INTERNAL, "{reply}");
        assert_eq!(node.calls("eth_gasPrice"), 0);
    });
}

#[test]
fn the_built_in_roots_are_trusted_unless_upstream_ca_is_set() {
    let authority = Authority::new();
    refuses(&authority, &[HOST], None);
    refuses(&authority, &[HOST], Some(&Authority::new()));
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    refuses(&authority, &["localhost", "127.0.9.2"], Some(&authority));
}

#[test]
fn an_invalid_ca_file_is_refused_at_the_start() {
    let authority = Authority::new();
    let check = |url: &str, file: PathBuf| {
        let mut settings = settings(&[url.to_owned()]);
        settings.ca_file = Some(file);
        settings.check()
    };
    let (sound, absent) = (authority.file(), authority.directory().join("absent.pem"));
    let key = authority.server(&[HOST]).key;
    for url in ["wss://node.example/", "https://node.example/", "wss://[::1]:8546/"] {
        assert!(check(url, sound.clone()).is_ok(), "{url}");
        assert!(matches!(check(url, absent.clone()), Err(TlsError::Unreadable(..))), "{url}");
        assert!(matches!(check(url, key.clone()), Err(TlsError::Content(..))), "{url}");
    }
    assert!(check("ws://node.example/", absent).is_ok(), "ws:// does not need the file");
}
