//! The log: formats, fields, rate limits, and lines lost to a slow or closed reader.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use super::{admin_address, metric};
use crate::support::{Client, DEADLINE, Process, TEXT, eventually, upgrade, weir};

/// The lines of a JSON log whose message starts with this text.
fn lines(log: &str, message: &str) -> Vec<Value> {
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    let is_one = |line: &Value| line["message"].as_str().unwrap().starts_with(message);
    lines.filter(is_one).collect()
}

/// Log lines that could not be written.
fn lines_lost(admin: SocketAddr) -> u64 {
    metric(admin, "weir_log_lines_lost_total")
}

const WITH_ADMIN: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];

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
fn long_paths_are_cut_in_the_log() {
    let (server, address) = Process::serve(&["--log", "debug"]);
    let mut client = Client::tcp(address);
    let head = client.request(&upgrade(&format!("/rooms/{}", "x".repeat(10_000)), ""));
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    drop(client);
    let log = server.stop();
    assert!(log.contains("/rooms/xxx"), "{log}");
    assert!(log.lines().all(|line| line.len() < 1000), "{log}");
}

/// A pipe holds 64 KiB; a loop that waited for its reader would serve no client.
#[test]
fn a_log_without_a_reader_does_not_block_the_loop() {
    let arguments = WITH_ADMIN.iter().chain(&["--log", "debug"]);
    let mut server = Process::spawn_unread(&mut weir(arguments));
    let (address, admin) = (server.address(), admin_address(&server));
    let started = Instant::now();
    while lines_lost(admin) == 0 {
        assert!(started.elapsed() < DEADLINE, "no line is lost");
        let mut client = Client::open(address, "/");
        client.text("still here");
        client.expect(TEXT, b"still here");
    }
    // Once the log is read, lines are written again, after the number of lost ones.
    server.read_log();
    eventually(
        || {
            drop(Client::open(address, "/"));
            server.log().contains("lines lost: standard error was not read")
        },
        "the number of lost lines is logged",
    );
    let log = server.stop();
    assert!(log.contains("stopped: accepted="), "{log}");
}

/// A named pipe that is removed when dropped.
struct Fifo(PathBuf);

impl Fifo {
    fn new() -> Fifo {
        let name = format!("weir-log-{}.fifo", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        Fifo(path)
    }

    /// Opens the pipe without waiting for a writer.
    fn reader(&self) -> File {
        // Linux does not wait if a FIFO is opened for reading and writing; only the server writes to it.
        OpenOptions::new().read(true).write(true).open(&self.0).unwrap()
    }

    fn writer(&self) -> File {
        OpenOptions::new().write(true).open(&self.0).unwrap()
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn lines_lost_to_a_closed_pipe_are_counted_and_reported_once_it_works_again() {
    let fifo = Fifo::new();
    let reader = fifo.reader();
    let server = Process::spawn_unread(weir(WITH_ADMIN).stderr(fifo.writer()));
    let (address, admin) = (server.address(), admin_address(&server));
    assert_eq!(lines_lost(admin), 0);
    drop(reader);
    for _ in 0..3 {
        Client::tcp(address).request("GET /none HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    assert_eq!(lines_lost(admin), 3);
    let reader = fifo.reader();
    Client::tcp(address).request("GET /none HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    assert!(first.contains("started"), "{first}");
    let reported = lines.next().unwrap();
    assert!(reported.contains("3 lines lost: Broken pipe"), "{reported}");
    let next = lines.next().unwrap();
    assert!(next.contains("refused: 404"), "{next}");
    assert_eq!(lines_lost(admin), 3);
}

#[test]
fn lines_lost_to_a_full_disk_are_counted() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let server = Process::spawn_unread(weir(WITH_ADMIN).stderr(full));
    let (address, admin) = (server.address(), admin_address(&server));
    let before = lines_lost(admin);
    assert!(before > 0, "the start line is lost");
    Client::tcp(address).request("GET /none HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(lines_lost(admin), before + 1);
}

#[test]
fn refused_requests_are_logged_with_peer_path_origin_and_reason() {
    let file = super::File::new(
        r#"
        [[route]]
        path = "/guarded"
        service = "echo"
        origins = ["https://example.org"]

        [[route]]
        path = "/rooms/{name}"
        service = "rooms"
        "#,
    );
    let (server, address) = Process::serve(&["--config", file.path(), "--log-format", "json"]);
    let peers = [
        upgrade("/guarded", "Origin: https://evil.example/\t2J\r\n"),
        upgrade("/none", ""),
        upgrade(&format!("/rooms/{}", "x".repeat(10_000)), "Origin: https://example.org\r\n"),
        "NONSENSE\r\n\r\n".to_owned(),
    ]
    .map(|request| {
        let mut client = Client::tcp(address);
        client.request(&request);
        client.stream.local_addr().unwrap().to_string()
    });
    let log = server.stop();
    let refused = lines(&log, "refused: ");
    let field = |key: &str| refused.iter().map(|line| line[key].clone()).collect::<Vec<_>>();
    assert_eq!(field("level"), ["INFO"; 4], "{log}");
    assert_eq!(field("peer"), peers);
    assert_eq!(field("status"), [403, 404, 404, 400]);
    assert_eq!(field("reason"), ["origin", "not_found", "service", "request_line"]);
    let long = format!("/rooms/{}", "x".repeat(256 - "/rooms/".len()));
    assert_eq!(field("path"), ["/guarded", "/none", &long, "-"]);
    let origins = [r"https://evil.example/\t2J".into(), Value::Null, "https://example.org".into()];
    assert_eq!(field("origin")[..3], origins);
    assert!(field("conn").iter().all(Value::is_string), "{log}");
}

#[test]
fn a_malformed_request_is_logged_without_the_origin_and_path_of_the_previous_one() {
    let arguments = ["--admin", "127.0.0.1:0", "--log-format", "json"];
    let (server, public) = Process::serve(&arguments);
    let admin = admin_address(&server);
    let malformed = ["NONSENSE\r\n\r\n".to_owned(), format!("GET /{}", "x".repeat(20_000))];
    for (address, path) in [(public, "/"), (admin, "/healthz")] {
        for second in &malformed {
            let mut client = Client::tcp(address);
            let first = format!("GET {path} HTTP/1.1\r\nHost: a\r\nOrigin: https://a\r\n\r\n");
            client.raw(first.as_bytes());
            assert!(client.answer().0.starts_with("HTTP/1.1 200 "));
            assert!(client.request(second).starts_with("HTTP/1.1 4"));
        }
    }
    let log = server.stop();
    let refused = lines(&log, "refused: ");
    assert_eq!(refused.len(), 4, "{log}");
    for line in refused {
        assert_eq!((&line["path"], &line["origin"]), (&"-".into(), &Value::Null), "{line}");
    }
}

#[test]
fn a_flood_of_bad_requests_logs_some_and_counts_the_others() {
    const FLOOD: u64 = 200;
    let (server, address) = Process::serve(&["--log-format", "json"]);
    let flood = |path: &str| {
        let mut clients: Vec<Client> = (0..FLOOD).map(|_| Client::tcp(address)).collect();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        clients.iter_mut().for_each(|client| client.raw(request.as_bytes()));
        clients.iter_mut().for_each(|client| drop(client.head()));
    };
    let counted = |log: &str| -> u64 {
        lines(log, "refused: ").iter().filter_map(|line| line["more"].as_u64()).sum()
    };
    let logged = |log: &str| lines(log, "refused: 404").len() as u64;
    flood("/none");
    let all_told = || logged(&server.log()) + counted(&server.log()) == FLOOD;
    eventually(all_told, "the suppressed lines are counted after the flood");
    assert!(logged(&server.log()) < FLOOD);
    flood("/none");
    // Another reason has a limit of its own.
    Client::tcp(address).request(&upgrade("/", "Sec-WebSocket-Key: a\r\n"));
    let log = server.stop();
    assert_eq!(logged(&log) + counted(&log), 2 * FLOOD, "none is lost at the end");
    assert_eq!(lines(&log, "refused: 400").len(), 1, "{log}");
}

/// The limit does not depend on the log filter: warnings are logged without INFO.
#[test]
fn warnings_that_peers_provoke_are_logged_without_info() {
    let arguments = ["--log", "warn", "--log-format", "json", "--connections-max", "5"];
    let (server, address) = Process::serve(&arguments);
    let clients: Vec<Client> = (0..5).map(|_| Client::open(address, "/")).collect();
    drop(clients);
    let log = server.stop();
    let crowded = lines(&log, "5 of 5 connections: accepting slowly");
    assert_eq!(crowded.iter().map(|line| &line["level"]).collect::<Vec<_>>(), ["WARN"], "{log}");
}

#[test]
fn an_access_log_has_a_line_for_each_connection_that_ended_normally() {
    let talk = |address| {
        let mut client = Client::open(address, "/");
        client.text("four");
        client.expect(TEXT, b"four");
        client.text("ab");
        client.expect(TEXT, b"ab");
        client.close(4001, "");
        client.expect_close();
        client.stream.local_addr().unwrap().to_string()
    };
    let (server, address) = Process::serve(&["--log-format", "json"]);
    talk(address);
    assert_eq!(lines(&server.stop(), "ended").len(), 0);

    let (server, address) = Process::serve(&["--log-format", "json", "--log-access"]);
    let peer = talk(address);
    let log = server.stop();
    let ended = lines(&log, "ended: peer_closed");
    let [line] = &ended[..] else { panic!("{log}") };
    assert_eq!((&line["level"], &line["peer"]), (&"INFO".into(), &peer.into()));
    assert_eq!((&line["path"], &line["reason"]), (&"/".into(), &"peer_closed".into()));
    assert_eq!(line["code"], 4001);
    assert_eq!((&line["messages_in"], &line["messages_out"]), (&2.into(), &2.into()));
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&6.into(), &6.into()));
    assert!(line["conn"].is_string() && line["seconds"].is_f64(), "{line}");
}

#[test]
fn the_start_line_names_the_build_the_page_and_the_limits() {
    let (server, address) = Process::serve(&["--log-format", "json", "--connections-max", "77"]);
    let log = server.stop();
    let started = lines(&log, "started");
    let [line] = &started[..] else { panic!("{log}") };
    assert_eq!(line["version"], env!("CARGO_PKG_VERSION"));
    assert!(line["commit"].as_str().is_some_and(|commit| !commit.is_empty()), "{line}");
    assert_eq!(line["page"], format!("http://{address}/"));
    assert_eq!(line["connections_max"], 77);
    assert!(line["buffered_max"].is_u64() && line["head_max"].is_u64(), "{line}");
}
