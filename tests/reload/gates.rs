//! Gates, requirements, rates and priorities of routes change while a server runs.

use super::running::{Running, expect_echo, pool, route};
use crate::auth::gated::{TestFile, status_of};
use crate::auth::tokens::{SECRET, claims, hs256};
use crate::proxy::front::echo;
use crate::support::{Client, TEXT, upgrade};

/// A file with a gate for tokens in these places, a route with these lines, and one that has the gate.
fn text(secret: &TestFile, places: &str, lines: &str) -> String {
    format!(
        "[[auth]]\nname = 'users'\nkind = 'jwt'\nalgorithms = ['HS256']\nsecret_file = {:?}\n\
         claims = ['role']\ntoken_from = {places}\n\
         [[route]]\npath = '/'\nservice = 'echo'\n{lines}\n\
         [[route]]\npath = '/gated'\nservice = 'echo'\nauth = 'users'\norigins = ['http://a']\n",
        secret.0
    )
}

fn token(role: &str) -> String {
    hs256(&claims("ann", &format!(r#","role":"{role}""#)))
}

fn bearer(role: &str) -> String {
    format!("Authorization: Bearer {}\r\n", token(role))
}

fn open(running: &Running, lines: &str) -> (u16, Client) {
    let mut client = Client::tcp(running.address);
    let head = client.request(&upgrade("/", lines));
    (status_of(&head), client)
}

#[test]
fn the_gate_of_a_route_and_what_it_requires_change() {
    let secret = TestFile::new(SECRET);
    let text = |lines: &str| text(&secret, "['header']", lines);
    let mut running = Running::new(&text(""));
    let (status, mut before) = open(&running, "");
    assert_eq!(status, 101);
    running.reload(&text("auth = 'users'"));
    assert_eq!(open(&running, "").0, 401);
    let (status, mut user) = open(&running, &bearer("user"));
    assert_eq!(status, 101);
    running.reload(&text("auth = 'users'\nrequire = ['role=admin']"));
    assert_eq!(open(&running, &bearer("user")).0, 403);
    assert_eq!(open(&running, &bearer("admin")).0, 101);
    expect_echo(&mut before, "opened without a gate");
    expect_echo(&mut user, "opened without a requirement");
    running.reload(&text(""));
    assert_eq!(open(&running, "").0, 101);
}

#[test]
fn rates_and_priorities_of_routes_change() {
    let secret = TestFile::new(SECRET);
    let text = |lines: &str| text(&secret, "['header']", lines);
    let mut running = Running::new(&text(""));
    let (_, mut before) = open(&running, "");
    running.reload(&text("messages_rate = '3/h'\npriority = 'low'"));
    let low = ["priority=\"low\""];
    assert_eq!(running.admin.metric("weir_priority_connections", &low), 0.0);
    let mut client = open(&running, "").1;
    for number in 0..5 {
        client.text(&number.to_string());
    }
    for number in 0..3 {
        client.expect(TEXT, number.to_string().as_bytes());
    }
    running.admin.await_metric("weir_throttled_now", &[], 1.0);
    assert_eq!(running.admin.metric("weir_priority_connections", &low), 1.0);
    for _ in 0..5 {
        expect_echo(&mut before, "it was open before there was a rate");
    }
    // A connection that has a rate gets the new one.
    let mut client = open(&running, "").1;
    running.reload(&text("messages_rate = '5/h'\npriority = 'high'"));
    for number in 0..5 {
        expect_echo(&mut client, &number.to_string());
    }
    client.text("6");
    running.admin.await_metric("weir_throttled_now", &[], 2.0);
    let _high = open(&running, "").1;
    let high = ["priority=\"high\""];
    assert_eq!(running.admin.metric("weir_priority_connections", &high), 1.0);
}

/// The file is valid, since its gate accepts no cookies. The one that runs does.
#[test]
fn a_route_keeps_its_origins_while_its_running_gate_accepts_cookies() {
    let secret = TestFile::new(SECRET);
    let lines = |origins: &str| format!("auth = 'users'\nmessage_max = 500\n{origins}");
    let with_origins = lines("origins = ['http://a']");
    let mut running = Running::new(&text(&secret, "['cookie:t']", &with_origins));
    let of_page = format!("Origin: http://evil\r\nCookie: t={}\r\n", token("user"));
    assert_eq!(open(&running, &of_page).0, 403);
    running.change(&text(&secret, "['header']", &lines("")));
    let line = running.process.logged("limits not changed: ");
    assert!(line.contains("needs origins: it accepts cookies"), "{line}");
    running.process.logged("configuration reloaded");
    assert_eq!(open(&running, &of_page).0, 403);
    running.reload(&text(&secret, "['header']", &lines("origins = ['http://b']")));
    let cookie = format!("Origin: http://b\r\nCookie: t={}\r\n", token("user"));
    assert_eq!(open(&running, &cookie).0, 101, "other origins are in force");
}

/// A reload changes all routes of the proxy or none.
#[test]
fn routes_of_the_proxy_keep_their_origins_while_their_running_gate_accepts_cookies() {
    let secret = TestFile::new(SECRET);
    let (_echo, up) = echo(&[]);
    let text = |places: &str, lines: &str| {
        let lines = format!("auth = 'users'\n{lines}");
        text(&secret, places, "") + &pool("nodes", &[&up], "") + &route("/p", "nodes", &lines)
    };
    let mut running = Running::new(&text("['cookie:t']", "origins = ['http://a']"));
    running.change(&text("['header']", ""));
    let line = running.process.logged("configuration not reloaded, the old one stays: ");
    assert!(line.contains("/p: the gate that runs until a restart does not fit"), "{line}");
    let lines = format!("Origin: http://evil\r\nCookie: t={}\r\n", token("user"));
    let head = Client::tcp(running.address).request(&upgrade("/p", &lines));
    assert_eq!(status_of(&head), 403);
    running.reload_proxy(&text("['header']", "origins = ['http://b']"));
}
