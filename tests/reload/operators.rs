//! `/status`, `/drain` and `/undrain` of the admin address.

use std::net::SocketAddr;

use serde_json::Value;

use super::running::{Running, expect_echo, pool, route};
use crate::proxy::front::{echo, refusing};
use crate::support::{Client, eventually};

/// Status and body of the response to a request with these further header lines.
fn ask(address: SocketAddr, line: &str, lines: &str) -> (u16, String) {
    let mut client = Client::tcp(address);
    client.raw(format!("{line} HTTP/1.1\r\n{lines}\r\n").as_bytes());
    let (head, body) = client.answer();
    (head[9..12].parse().unwrap(), String::from_utf8(body).unwrap())
}

fn host(address: SocketAddr) -> String {
    format!("Host: {address}\r\n")
}

fn status(running: &Running) -> Value {
    let address = running.admin.address();
    let (code, body) = ask(address, "GET /status?format=json", &host(address));
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn post(running: &Running, path: &str) -> (u16, String) {
    let address = running.admin.address();
    ask(address, &format!("POST {path}"), &host(address))
}

#[test]
fn the_status_shows_pools_and_upstreams_as_json_and_as_a_page() {
    let (_echo, up) = echo(&[]);
    let down = refusing();
    let text = pool("nodes", &[&down, &up], "health = 'connect'\nhealth_interval = '200ms'")
        + &pool("named", &["http://weir.invalid:1"], "")
        + &route("/", "nodes", "")
        + &route("/named", "named", "");
    let running = Running::new(&text);
    eventually(|| status(&running)["pools"][0]["upstreams"][0]["state"] == "down", "it is down");
    let mut client = running.tunnel("/");
    expect_echo(&mut client, "hello");
    let status = status(&running);
    let pools = status["pools"].as_array().unwrap();
    let pool = |name: &str| pools.iter().find(|pool| pool["name"] == name).unwrap().clone();
    let nodes = pool("nodes");
    let [first, second] = &nodes["upstreams"].as_array().unwrap()[..] else {
        panic!("{status}");
    };
    assert_eq!(first["name"], *down.strip_prefix("http://").unwrap());
    assert_eq!(first["reason"], "down: health check: connection failed");
    assert_eq!(first["last_check"]["result"], "connection failed");
    assert!(first["since_seconds"].is_u64() && first["last_check"]["seconds_ago"].is_u64());
    assert_eq!((&first["tunnels"], &first["tries_total"]), (&0.into(), &0.into()));
    assert_eq!(second["name"], *up.strip_prefix("http://").unwrap());
    assert_eq!((&second["state"], &second["reason"]), (&"up".into(), &"up".into()));
    assert_eq!((&second["tunnels"], &second["tries_total"]), (&1.into(), &1.into()));
    assert_eq!(second["tries_by_outcome"]["answered"], 1);
    assert_eq!(second["breaker"], "closed");
    assert_eq!(pool("named")["upstreams"], Value::Array(Vec::new()));
    assert_eq!(nodes["tunnels_total"], 1);
    let address = running.admin.address();
    let (code, page) = ask(address, "GET /status", &host(address));
    assert_eq!(code, 200);
    for part in ["<h2>pool nodes</h2>", "down: health check: connection failed", "<td>up<td>"] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert_eq!(ask(address, "GET /status?format=xml", &host(address)).0, 400);
    let elsewhere = ask(running.address, "GET /status", &host(running.address));
    assert_eq!(elsewhere.0, 404, "only the admin address has it");
}

#[test]
fn refusals_and_ends_are_shown_by_reason() {
    let running = Running::new(&(pool("nodes", &[&refusing()], "") + &route("/", "nodes", "")));
    let head = Client::tcp(running.address).request(&crate::support::upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    let head = Client::tcp(running.address).request(&crate::support::upgrade("/none", ""));
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    let status = status(&running);
    assert_eq!(status["pools"][0]["refused"]["connect"], 1);
    assert_eq!(status["pools"][0]["upstreams"][0]["tries_by_outcome"]["connect"], 1);
    assert_eq!(status["refused"]["not_found"], 1);
    assert!(status["closed"].is_object());
}

#[test]
fn a_drained_upstream_gets_no_new_tunnels_until_it_is_undrained() {
    let (_first, one) = echo(&[]);
    let (_second, other) = echo(&[]);
    let text = pool("nodes", &[&one, &other], "") + &route("/", "nodes", "");
    let mut running = Running::new(&text);
    let name = one.strip_prefix("http://").unwrap();
    let mut old = running.tunnel("/");
    let states = |running: &Running| {
        let upstreams = status(running)["pools"][0]["upstreams"].clone();
        [0, 1].map(|index| {
            let it = &upstreams[index];
            (it["state"].as_str().unwrap().to_owned(), it["tunnels"].as_u64().unwrap())
        })
    };
    let expect = |running: &Running, first: (&str, u64), second: (&str, u64)| {
        let expected = [first, second].map(|(state, tunnels)| (state.to_owned(), tunnels));
        assert_eq!(states(running), expected);
    };
    expect(&running, ("up", 1), ("up", 0));
    let drained = post(&running, &format!("/drain?upstream={name}"));
    assert_eq!(drained, (200, "1 upstream drained\n".to_owned()));
    running.process.logged("drained by an operator");
    let mut new = running.tunnel("/");
    expect(&running, ("drained", 1), ("up", 1));
    running.reload_proxy(&text);
    let _third = running.tunnel("/");
    expect(&running, ("drained", 1), ("up", 2));
    expect_echo(&mut old, "old");
    expect_echo(&mut new, "new");
    assert_eq!(post(&running, &format!("/undrain?upstream={name}")).0, 200);
    let _fourth = running.tunnel("/");
    expect(&running, ("up", 2), ("up", 2));
}

#[test]
fn drains_from_web_pages_and_of_unknown_upstreams_are_refused() {
    let (_echo, up) = echo(&[]);
    let running = Running::new(&(pool("nodes", &[&up], "") + &route("/", "nodes", "")));
    let address = running.admin.address();
    let path = format!("/drain?upstream={}", up.strip_prefix("http://").unwrap());
    let drain = |lines: &str| ask(address, &format!("POST {path}"), lines).0;
    let own = host(address);
    assert_eq!(drain(&format!("{own}Origin: http://evil.example\r\n")), 403);
    assert_eq!(drain(&format!("{own}Origin: http://{address}\r\n")), 403);
    assert_eq!(drain("Host: evil.example\r\n"), 403);
    assert_eq!(drain(&format!("Host: evil.example:{}\r\n", address.port())), 403);
    assert_eq!(post(&running, "/drain?upstream=10.0.0.1:80").0, 404);
    assert_eq!(post(&running, "/drain").0, 400);
    assert_eq!(ask(address, &format!("GET {path}"), &own).0, 405);
    assert_eq!(post(&running, "/status").0, 405);
    assert_eq!(status(&running)["pools"][0]["upstreams"][0]["state"], "up");
    assert_eq!(drain(&own), 200);
    assert_eq!(drain(&format!("Host: localhost:{}\r\n", address.port())), 200);
}
