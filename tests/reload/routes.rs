//! Routes, limits and trusted proxies change; everything else needs a restart.

use super::running::{Running, expect_echo, pool, route};
use crate::proxy::front::echo;
use crate::proxy::scripted::Scripted;
use crate::support::{BINARY, Client, TEXT, upgrade};

#[test]
fn an_invalid_file_changes_nothing_and_is_logged() {
    let (_echo, up) = echo(&[]);
    let valid = pool("nodes", &[&up], "") + &route("/*", "nodes", "");
    let mut running = Running::new(&valid);
    let mut client = running.tunnel("/");
    running.change(&valid.replace("'nodes'\n\n", "'node'\n"));
    let line = running.process.logged("configuration not reloaded, the old one stays: ");
    assert!(line.contains(".toml:"), "{line}");
    running.change("connections_max = many");
    let line = running.process.logged("configuration not reloaded, the old one stays: ");
    assert!(line.contains(".toml:1"), "{line}");
    expect_echo(&mut client, "still here");
    expect_echo(&mut running.tunnel("/"), "new");
    let failed = running.admin.metric("weir_config_reloads_total", &["outcome=\"failure\""]);
    assert_eq!(failed, 2.0);
    running.reload_proxy(&valid);
}

#[test]
fn limits_of_routes_change_for_open_connections() {
    let (_echo, up) = echo(&[]);
    let text = |limit: &str| {
        pool("nodes", &[&up], "")
            + &route("/tunnel", "nodes", &format!("strip_prefix = 1\n{limit}"))
            + &format!("[[route]]\npath = '/echo'\nservice = 'echo'\n{limit}\n")
    };
    let mut running = Running::new(&text("message_max = 200"));
    let open = |running: &Running| ["/tunnel", "/echo"].map(|path| running.tunnel(path));
    let mut clients = open(&running);
    running.reload_proxy(&text("message_max = 1000"));
    for client in &mut clients {
        client.send(BINARY, &[0; 1000]);
        client.expect(BINARY, &[0; 1000]);
    }
    running.reload_proxy(&text("message_max = 300"));
    for client in &mut clients {
        client.send(BINARY, &[0; 301]);
        assert_eq!(client.expect_close().0, 1009);
    }
    running.reload_proxy(&text("idle_timeout = '50ms'"));
    for client in &mut open(&running) {
        assert_eq!(client.expect_close().0, 1001);
    }
}

#[test]
fn an_idle_timeout_that_is_shorter_now_ends_open_connections() {
    // No other timer may fire before.
    let text = |limit: &str| {
        format!(
            "idle_timeout = '{limit}'\nping_interval = 'off'\nhandshake_timeout = '1h'\n\
             [[route]]\npath = '/'\nservice = 'echo'\n"
        )
    };
    let mut running = Running::new(&text("1h"));
    let mut client = running.tunnel("/");
    running.reload(&text("50ms"));
    assert_eq!(client.expect_close().0, 1001);
}

#[test]
fn routes_of_the_proxy_are_added_changed_and_removed() {
    let upstream = Scripted::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    let nodes = pool("nodes", &[&upstream.url()], "");
    let status = |running: &Running, path: &str| {
        let head = Client::tcp(running.address).request(&upgrade(path, ""));
        head[9..12].to_owned()
    };
    let mut running = Running::new(&(nodes.clone() + &route("/a", "nodes", "")));
    assert_eq!((status(&running, "/a"), status(&running, "/b/c")), ("403".into(), "404".into()));
    upstream.head();
    for _ in 0..3 {
        let changed = route("/*", "nodes", "set_headers = ['X-New: 1']");
        running.reload_proxy(&(nodes.clone() + &changed));
        for path in ["/a", "/b/c"] {
            assert_eq!(status(&running, path), "403");
            let head = upstream.head().to_lowercase();
            assert!(head.contains("\r\nx-new: 1\r\n"), "the old route is in force: {head}");
        }
        running.reload_proxy(&(nodes.clone() + &route("/a", "nodes", "strip_prefix = 1")));
        assert_eq!(
            (status(&running, "/a"), status(&running, "/b/c")),
            ("403".into(), "404".into())
        );
        assert!(upstream.head().starts_with("GET / HTTP/1.1\r\n"));
    }
}

#[test]
fn settings_that_need_a_restart_are_logged() {
    let (_echo, up) = echo(&[]);
    let text = |server: &str, routes: &str| {
        server.to_owned()
            + "\n"
            + &pool("nodes", &[&up], "")
            + &route("/tunnel", "nodes", "")
            + routes
    };
    let rooms =
        |keys: &str| format!("[[route]]\npath = '/rooms/{{name}}'\nservice = 'rooms'\n{keys}\n");
    let mut running = Running::new(&text("", &rooms("")));
    let changed = rooms("history_max = 7\nmessage_max = '2 KiB'")
        + "[[route]]\npath = '/new'\nservice = 'echo'\n";
    running.change(&text("connections_max = 77\nexempt = ['10.0.0.0/8']", &changed));
    for expected in
        ["connections_max", "exempt", "/rooms/{name}: history_max", "/new: the route is new"]
    {
        let line = running.process.logged("needs a restart: ");
        assert_eq!(line, format!("needs a restart: {expected}"));
    }
    running.process.logged("proxy reloaded");
    let logged = running.process.log();
    let is_logged = |key: &str| logged.contains(&format!("needs a restart: {key}"));
    assert!(!is_logged("/rooms/{name}: message_max") && !is_logged("outbound_max"), "{logged}");
    // They are logged again until the restart, and what they say is not in force.
    running.change(&text("connections_max = 77", ""));
    for expected in ["connections_max", "/rooms/{name}: the route is removed"] {
        let line = running.process.logged("needs a restart: ");
        assert_eq!(line, format!("needs a restart: {expected}"));
    }
    running.process.logged("proxy reloaded");
    let mut client = running.tunnel("/rooms/a");
    client.send(TEXT, &[b'a'; 2049]);
    assert_eq!(client.expect_close().0, 1009, "the limits of the last valid file stay");
}

#[test]
fn proxies_are_trusted_from_the_next_request_on() {
    let upstream = Scripted::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    let text = |server: &str| {
        server.to_owned() + "\n" + &pool("nodes", &[&upstream.url()], "") + &route("/", "nodes", "")
    };
    let mut running = Running::new(&text(""));
    let forwarded = |running: &Running, lines: &str| {
        Client::tcp(running.address).request(&upgrade("/", lines));
        let head = upstream.head();
        let line = head.lines().find_map(|line| line.strip_prefix("X-Forwarded-For: "));
        line.unwrap().to_owned()
    };
    let header = "X-Forwarded-For: 203.0.113.9\r\n";
    assert_eq!(forwarded(&running, header), "127.0.0.1");
    running.reload_proxy(&text("trusted_proxies = ['127.0.0.1']"));
    assert_eq!(forwarded(&running, header), "203.0.113.9, 127.0.0.1");
    running
        .reload_proxy(&text("trusted_proxies = ['127.0.0.1']\nclient_address_from = 'x-real-ip'"));
    running.reload_proxy(&text(""));
    assert_eq!(forwarded(&running, header), "127.0.0.1");
}
