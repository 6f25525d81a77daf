//! `weir check --connect`.

use super::running::{pool, route};
use crate::binary::File;
use crate::proxy::front::{echo, refusing};
use crate::support::{Process, weir};

/// Exit code and standard error of `weir check --connect` with this file.
fn check(text: &str) -> (Option<i32>, String) {
    let file = File::new(text);
    let mut command = weir(["check", "--connect", "--config", file.path()]);
    let mut process = Process::spawn(&mut command);
    let code = process.wait();
    (code, process.whole_log())
}

#[test]
fn one_upstream_of_each_pool_has_to_be_reached() {
    let (_echo, up) = echo(&[]);
    let down = refusing();
    let [up_name, down_name] = [&up, &down].map(|url| url.strip_prefix("http://").unwrap());
    let routes = route("/a", "a", "") + &route("/b", "b", "");
    let (code, log) = check(&(pool("a", &[&down, &up], "") + &pool("b", &[&up], "") + &routes));
    assert_eq!(code, Some(0), "{log}");
    for line in [
        format!("connect: pool a: {up_name}: connected\n"),
        format!("connect: pool a: {down_name}: connection failed\n"),
        format!("connect: pool b: {up_name}: connected\n"),
    ] {
        assert!(log.contains(&line), "{line} is not in {log}");
    }
    let (code, log) = check(&(pool("a", &[&up], "") + &pool("b", &[&down], "") + &routes));
    assert_eq!(code, Some(1), "{log}");
    assert!(log.ends_with("error: pool b: no upstream can be reached\n"), "{log}");
}

#[test]
fn names_and_tls_are_checked() {
    let (_echo, up) = echo(&[]);
    let port = up.rsplit_once(':').unwrap().1;
    let upstreams = [
        format!("http://localhost:{port}"),
        format!("https://127.0.0.1:{port}"),
        "http://weir.invalid:1".to_owned(),
    ];
    let upstreams = upstreams.each_ref().map(String::as_str);
    let text =
        |upstreams: &[&str]| pool("a", upstreams, "send_proxy = 'v1'") + &route("/", "a", "");
    // weir's echo takes the PROXY header for a malformed request, after the connection.
    let (code, log) = check(&text(&upstreams));
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains(&format!("localhost:{port}/127.0.0.1: connected\n")), "{log}");
    let tls = log.lines().find(|line| line.contains(&format!("127.0.0.1:{port}: "))).unwrap();
    assert!(tls.ends_with("TLS handshake failed") || tls.ends_with("a response"), "{tls}");
    assert!(log.contains("weir.invalid:1: not resolved: "), "{log}");
    assert_eq!(check(&text(&upstreams[1..])).0, Some(1));
}

#[test]
fn connect_belongs_to_check() {
    let mut process = Process::spawn(&mut weir(["--connect"]));
    assert_eq!(process.wait(), Some(2));
    assert!(process.whole_log().contains("weir check --connect"));
}
