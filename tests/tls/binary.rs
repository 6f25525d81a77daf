//! The binary with TLS: settings from flags, reloads by SIGHUP, and errors.

use std::net::SocketAddr;
use std::sync::Arc;

use rustix::process::Signal;
use weir_authority::{Authority, Files, Kind};

use super::{connect, identified, refused, trusting};
use crate::support::{Client, Process, TEXT, eventually, weir};

/// The flags that name these files.
fn flags(files: &Files) -> [String; 4] {
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    ["--tls-cert".to_owned(), path(&files.chain), "--tls-key".to_owned(), path(&files.key)]
}

fn serve(listen: &[&str], flags: &[String], more: &[&str]) -> Process {
    let listen = listen.iter().flat_map(|address| ["--listen", address]);
    let arguments = listen.chain(flags.iter().map(String::as_str)).chain(more.iter().copied());
    Process::spawn(&mut weir(arguments))
}

/// A server with one TLS listener, and its address.
fn serve_one(flags: &[String], more: &[&str]) -> (Process, SocketAddr) {
    let process = serve(&["wss://127.0.0.1:0"], flags, more);
    let (scheme, address) = process.listener();
    assert_eq!(scheme, "wss");
    (process, address)
}

/// Status and stderr of `weir check`.
fn check(arguments: &[&str]) -> (Option<i32>, String) {
    let output = weir(["check"].iter().chain(arguments)).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn listeners_may_use_tls_or_plaintext() {
    let authority = Authority::new();
    let files = authority.server(&["localhost"]);
    let listen = ["wss://127.0.0.1:0", "127.0.0.1:0"];
    let binary = serve(&listen, &flags(&files), &[]);
    let (scheme, address) = binary.listener();
    assert_eq!(scheme, "wss");
    let config = Arc::new(trusting(&authority));
    let mut client = connect(address, &config, "localhost").upgraded("/");
    client.text("secure");
    client.expect(TEXT, b"secure");
    let mut page = connect(address, &config, "localhost");
    assert!(page.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").starts_with("HTTP/1.1 200 "));
    let mut client = Client::open(binary.address(), "/");
    client.text("plaintext");
    client.expect(TEXT, b"plaintext");
}

#[test]
fn client_certificates_can_be_required() {
    let authority = Authority::new();
    let files = authority.server(&["localhost"]);
    let ca = authority.file();
    let clients = ["--tls-client-auth", "required", "--tls-client-ca", ca.to_str().unwrap()];
    let (_binary, address) = serve_one(&flags(&files), &clients);
    let error = refused(address, &Arc::new(trusting(&authority)), "localhost");
    assert!(error.contains("CertificateRequired"), "{error}");
    let config = Arc::new(identified(&authority, &authority.client("alice")));
    let mut client = connect(address, &config, "localhost").upgraded("/");
    client.text("alice here");
    client.expect(TEXT, b"alice here");
}

#[test]
fn sighup_reloads_certificates_and_invalid_ones_are_refused() {
    let authority = Authority::new();
    let files = authority.server(&["localhost"]);
    let (binary, address) = serve_one(&flags(&files), &["--tls-watch", "off"]);
    let config = Arc::new(trusting(&authority));
    let mut old = connect(address, &config, "localhost").upgraded("/");

    authority.issue_to(&files, "", &["new.test"], Kind::default());
    binary.signal(Signal::HUP);
    eventually(|| binary.log().contains("certificates reloaded"), "a reload");
    connect(address, &config, "new.test").upgraded("/");

    std::fs::write(&files.key, "no key at all").unwrap();
    binary.signal(Signal::HUP);
    eventually(|| binary.log().contains("the old ones stay"), "a refusal");
    let log = binary.log();
    assert!(log.contains(&format!("{}: no private key in it", files.key.display())), "{log}");
    connect(address, &config, "new.test").upgraded("/");
    old.text("still here");
    old.expect(TEXT, b"still here");
}

#[test]
fn contradictory_settings_are_refused_before_anything_listens() {
    let authority = Authority::new();
    let files = authority.server(&["localhost"]);
    let (cert, key) = (files.chain.to_str().unwrap(), files.key.to_str().unwrap());
    fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["--listen", "wss://127.0.0.1:0"], more].concat()
    }
    assert_eq!(check(&with(&["--tls-cert", cert, "--tls-key", key])).0, Some(0));
    for (arguments, expected) in [
        (with(&[]), "wss://127.0.0.1:0 needs tls_cert"),
        (with(&["--tls-cert", "a.pem"]), "1 certificates and 0 keys are set"),
        (vec!["--tls-cert", "a.pem", "--tls-key", "b.pem"], "no listener is wss://"),
        (with(&["--tls-client-auth", "wanted"]), "tls_client_auth needs tls_client_ca"),
        (with(&["--tls-client-ca", "a.pem"]), "tls_client_auth is off"),
        (with(&["--tls-cert", "/absent.pem", "--tls-key", key]), "/absent.pem: No such file"),
        (with(&["--tls-cert", key, "--tls-key", key]), "no certificate in it"),
    ] {
        let (code, stderr) = check(&arguments);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains(expected), "{expected}: {stderr}");
    }
}

#[test]
fn ca_files_of_upstreams_are_checked_before_anything_listens() {
    let authority = Authority::new();
    let file = authority.directory().join("weir.toml");
    let written = |ca: &str| {
        let upstreams = "project = 'a'\nchain_id = 1\nupstreams = ['wss://node.example']";
        let text = format!("[[network]]\n{upstreams}\nupstream_ca = '{ca}'\n");
        std::fs::write(&file, text).unwrap();
        check(&["--config", file.to_str().unwrap()])
    };
    assert_eq!(written(authority.file().to_str().unwrap()).0, Some(0));
    let (code, stderr) = written("/absent.pem");
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("/absent.pem: No such file"), "{stderr}");
}
