//! What the binary logs: in which form, and how much for a reader that is slow.

use std::time::Instant;

use crate::support::{Client, DEADLINE, Process, TEXT, eventually, upgrade, weir};

#[test]
fn logs_go_to_stderr_as_lines_or_as_json() {
    let (running, address) = Process::serve(&["--log", "off"]);
    drop(Client::open(address, "/"));
    assert_eq!(running.stop(), "");

    let (running, address) = Process::serve(&["--log-format", "json"]);
    let mut client = Client::tcp(address);
    client.request("GET / HTTP/1.0\r\n\r\n");
    drop(client);
    let stderr = running.stop();
    for line in stderr.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    assert!(stderr.contains("stopped"), "{stderr}");
}

#[test]
fn a_path_is_logged_in_part_if_it_is_long() {
    let (server, address) = Process::serve(&["--log", "debug"]);
    let mut client = Client::tcp(address);
    let head = client.request(&upgrade(&format!("/rooms/{}", "x".repeat(10_000)), ""));
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    drop(client);
    let log = server.stop();
    assert!(log.contains("/rooms/xxx"), "{log}");
    assert!(log.lines().all(|line| line.len() < 1000), "{log}");
}

/// The pipe to the reader holds 64 KiB; a loop that waited for it would answer nobody.
#[test]
fn a_log_that_nobody_reads_stops_nobody() {
    let mut server = Process::spawn_unheard(&mut weir([
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--log",
        "debug",
    ]));
    let address = server.address();
    let admin = server.line();
    let admin = admin.strip_prefix("admin http://").unwrap().trim_end_matches('/');
    let lost = || {
        let mut client = Client::tcp(admin.parse().unwrap());
        client.raw(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n");
        let text = String::from_utf8(client.answer().1).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("weir_log_lines_lost_total "));
        line.unwrap().parse::<u64>().unwrap()
    };
    let begun = Instant::now();
    while lost() == 0 {
        assert!(begun.elapsed() < DEADLINE, "there is always room");
        let mut client = Client::open(address, "/");
        client.text("still here");
        client.expect(TEXT, b"still here");
    }
    // What it can say again it says, and how much is missing before it.
    server.hear();
    eventually(
        || {
            drop(Client::open(address, "/"));
            server.log().contains("lines lost: nobody read the log")
        },
        "it tells what is missing",
    );
    let log = server.stop();
    assert!(log.contains("stopped: accepted="), "{log}");
}
