//! Upstreams by TLS, as WebSocket and as HTTP: who is believed, and that all else is as in the clear.

use std::path::PathBuf;

use serde_json::json;
use weir::reactor::TlsError;
use weir::services::rpc::RpcError;
use weir_authority::Authority;

use super::node::{HOST, Node, client, gateway, hash, settings};
use crate::rpc::scripted::{call, json};

/// By either way to a node of this authority's.
fn each_way(authority: &Authority, names: &[&str], test: impl Fn(Node, String)) {
    let files = authority.server(names);
    for by_http in [false, true] {
        let node = Node::secure(!by_http, 5, &files);
        let url = if by_http { node.http() } else { node.ws() };
        test(node, url);
    }
}

#[test]
fn requests_and_news_come_by_tls() {
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
        // Over a restart, too.
        node.stop();
        node.mine(0);
        node.start();
        assert_eq!(json(&mut client)["params"]["result"]["hash"], json!(hash(9, 0)));
    });
}

/// Nothing is sent to who cannot show who he is.
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
fn the_webs_own_authorities_are_believed_unless_others_are_named() {
    let authority = Authority::new();
    refuses(&authority, &[HOST], None);
    refuses(&authority, &[HOST], Some(&Authority::new()));
}

#[test]
fn a_certificate_for_somebody_else_is_refused() {
    let authority = Authority::new();
    refuses(&authority, &["localhost", "127.0.9.2"], Some(&authority));
}

#[test]
fn files_that_name_no_authority_are_refused_before_anything_is_served() {
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
    assert!(check("ws://node.example/", absent).is_ok(), "nobody asks for it");
}
