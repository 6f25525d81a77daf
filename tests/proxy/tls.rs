//! Upstreams with TLS: which certificates they must have, and which one they get.

use weir_authority::{Authority, Files};

use super::front::Front;
use crate::support::{Client, Process, TEXT, eventually, upgrade, weir};

/// A `weir serve` with its echo by wss, with this certificate, and its URL by `host`.
fn secure_echo(files: &Files, host: &str, flags: &[&str]) -> (Process, String) {
    let (chain, key) = (files.chain.to_str().unwrap(), files.key.to_str().unwrap());
    let ours = ["--listen", "wss://127.0.0.1:0", "--tls-cert", chain, "--tls-key", key];
    let process = Process::spawn(&mut weir(ours.iter().chain(flags)));
    let (scheme, address) = process.listener();
    assert_eq!(scheme, "wss");
    (process, format!("https://{host}:{}", address.port()))
}

/// A key of the pool that names a file.
fn file(key: &str, path: &std::path::Path) -> String {
    format!("{key} = {:?}\n", path.to_str().unwrap())
}

fn expect_echo(front: &Front) {
    let mut client = front.tunnel();
    client.text("hello");
    client.expect(TEXT, b"hello");
}

/// The client gets 502, and the failure counts as one of TLS.
fn expect_refused(front: &Front) {
    let head = Client::tcp(front.address).request(&upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert_eq!(front.admin.metric("weir_upstream_tries_total", &["outcome=\"tls\""]), 1.0);
    assert_eq!(front.admin.metric("weir_proxy_refused_total", &["reason=\"tls\""]), 1.0);
}

#[test]
fn an_upstream_with_a_trusted_certificate_is_used() {
    let authority = Authority::new();
    for host in ["127.0.0.1", "localhost"] {
        let (_echo, upstream) = secure_echo(&authority.server(&[host]), host, &[]);
        let front = Front::new(&[upstream], &file("upstream_ca", &authority.file()), "");
        eventually(|| front.admin.metric("weir_upstream_up", &[]) > 0.0, "the name is resolved");
        expect_echo(&front);
    }
}

#[test]
fn an_upstream_of_an_unknown_authority_is_refused() {
    let authority = Authority::new();
    let (_echo, upstream) = secure_echo(&authority.server(&["127.0.0.1"]), "127.0.0.1", &[]);
    expect_refused(&Front::new(std::slice::from_ref(&upstream), "", ""));
    let other = Authority::new();
    expect_refused(&Front::new(&[upstream], &file("upstream_ca", &other.file()), ""));
}

#[test]
fn the_certificate_must_have_the_name_of_the_host_or_upstream_name() {
    let authority = Authority::new();
    let (_echo, upstream) = secure_echo(&authority.server(&["node.example"]), "127.0.0.1", &[]);
    let trusted = file("upstream_ca", &authority.file());
    expect_refused(&Front::new(std::slice::from_ref(&upstream), &trusted, ""));
    let named = format!("{trusted}upstream_name = 'node.example'");
    expect_echo(&Front::new(&[upstream], &named, ""));
}

#[test]
fn an_upstream_gets_the_client_certificate() {
    let authority = Authority::new();
    let ca = authority.file();
    let required = ["--tls-client-auth", "required", "--tls-client-ca", ca.to_str().unwrap()];
    let server = authority.server(&["127.0.0.1"]);
    let (_echo, upstream) = secure_echo(&server, "127.0.0.1", &required);
    let own = authority.client("weir");
    let trusted = file("upstream_ca", &ca);
    let keys = file("upstream_cert", &own.chain) + &file("upstream_key", &own.key);
    expect_echo(&Front::new(std::slice::from_ref(&upstream), &format!("{trusted}{keys}"), ""));
    let front = Front::new(&[upstream], &trusted, "");
    let head = Client::tcp(front.address).request(&upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
}
