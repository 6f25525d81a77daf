//! Each scenario's effect on a server, and its counts.

use std::net::TcpListener;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use weir::protocol::{CloseCode, Message};
use weir::reactor::{ConnId, Context, PublishOptions, Service, Target};
use weir::services::Echo;
use weir_authority::Authority;

use crate::support::{Server, await_count, finish, report, spawn};
use crate::{SHORT, number};

#[test]
fn echoes_are_counted_and_the_server_is_sampled() {
    let server = Server::start();
    let pid = std::process::id();
    let (report, code) = report(&format!(
        "echo {}={pid} -c 5 --depth 3 --size 0..2KiB --text {SHORT}",
        server.url("/")
    ));
    assert_eq!(code, 0);
    assert_eq!(report["command"], "echo");
    let total = &report["total"];
    assert_eq!(total["connections"]["opened"], 5);
    assert_eq!(total["errors"], serde_json::json!({}));
    assert!(number(&total["count"]) > 0.0);
    assert!(number(&total["latency"]["p50"]) > 0.0);
    assert!(number(&total["latency"]["p50"]) <= number(&total["latency"]["max"]));
    assert!(!total["timeline"].as_array().unwrap().is_empty());
    assert_eq!(number(&report["server"]["pid"]), f64::from(pid));
    assert!(number(&report["server"]["cpu_nanos_each"]) > 0.0);
    assert!(number(&report["server"]["rss_bytes"]) > 0.0);
    let metrics = server.stop();
    assert_eq!(metrics.ended_peer_closed, 5, "{metrics}");
    assert!(metrics.messages_in >= number(&total["messages"]["sent"]) as u64);
}

#[test]
fn calls_to_a_node_are_answered_and_its_heads_are_received() {
    let name = format!("weir-load-node-{}", std::process::id());
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let server = Server::node(directory.clone());
    let url = server.url("/rooms/node");
    for (options, count) in [
        ("--depth 8 --methods chain_id:3,block_number,block,logs,gas_price", 5),
        ("--depth 4 --batch 10 --bursts", 5),
        ("--no-calls --subscribers 20 --heads 50", 21),
        ("--subscribers 3 --heads 20 --batch 2", 9),
        ("--no-calls --subscribers 3 --heads 20 --non-readers 2", 6),
    ] {
        let line = format!("rpc {url} -c 5 {options} --max-errors 0 {SHORT}");
        let (report, code) = report(&line);
        assert_eq!(code, 0, "{options}: {report}");
        let total = &report["total"];
        assert_eq!(total["connections"]["opened"], count, "{options}: {report}");
        assert!(number(&total["count"]) > 0.0, "{options}: {report}");
    }
    // A server that refuses every call makes the run invalid.
    let (report, code) = report(&format!("rpc {url} -c 1 --batch 101 --max-errors 0 {SHORT}"));
    assert_eq!(code, 3, "{report}");
    let (_, _, code) = finish(spawn(&format!("rpc {url} --no-calls {SHORT}")));
    assert_eq!(code, 2);
    drop(server);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_secure_server_is_loaded_if_its_certificate_is_trusted() {
    let authority = Authority::new();
    let server = Server::secure(&authority);
    let ca = format!("--ca {}", authority.file().display());
    let url = server.secure_url("/");
    for (command, trust) in [
        ("echo --no-resumption", &*ca),
        ("echo --depth 3 --size 0..40KiB", "--insecure"),
        ("connect", &ca),
        ("churn --rate 100 --abrupt 0", &ca),
        ("fanout --size 1KiB", &ca),
    ] {
        let (report, code) =
            report(&format!("{command} {url} -c 5 {trust} --max-errors 0 {SHORT}"));
        assert_eq!(code, 0, "{command}: {report}");
        assert!(number(&report["total"]["connections"]["opened"]) >= 5.0, "{command}: {report}");
    }
    let metrics = server.stop();
    assert_eq!((metrics.tls_failed, metrics.tls_truncated), (0, 0), "{metrics}");
    assert!(metrics.tls_handshakes_full > 0 && metrics.tls_handshakes_resumed > 0, "{metrics}");
}

#[test]
fn an_untrusted_server_gets_no_message() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = Server::secure(&authority);
    let url = server.secure_url("/");
    // Without --ca the built-in roots are trusted.
    for ca in [String::new(), format!("--ca {}", other.file().display())] {
        let (report, code) = report(&format!("echo {url} -c 1 {ca} {SHORT}"));
        assert_eq!(code, 3, "{report}");
        assert_eq!(number(&report["total"]["errors"]["connect: tls_failed"]), 1.0, "{report}");
    }
    assert_eq!(server.stop().messages_in, 0);
}

#[test]
fn an_open_loop_sends_every_due_message() {
    let server = Server::start();
    let (report, code) = report(&format!(
        "rate {} -c 3 --rate 500 --burst 4 --max-errors 0 {SHORT}",
        server.url("/")
    ));
    assert_eq!(code, 0);
    // 100 are due in 200 ms, in bursts of 4: the first and the last may be just outside.
    let sent = number(&report["total"]["messages"]["sent"]);
    assert!(sent >= 92.0, "{sent}");
    assert!(number(&report["total"]["latency"]["count"]) >= sent);
}

#[test]
fn a_percentage_measures_the_capacity_first() {
    let server = Server::start();
    let (report, code) =
        report(&format!("rate {} -c 3 --rate 10% --max-errors 0 {SHORT}", server.url("/")));
    assert_eq!((code, &report["command"]), (0, &Value::from("rate")));
    let note = report["total"]["notes"][0].as_str().unwrap();
    let words: Vec<&str> = note.split(' ').collect();
    assert_eq!(words[..4], ["10", "%", "of", "the"], "{note}");
    let capacity: f64 = words[4].parse().unwrap();
    // Every due message is sent, so this holds on a slow machine, too.
    let sent = number(&report["total"]["messages"]["sent"]) / number(&report["seconds"]);
    assert!((0.05..0.2).contains(&(sent / capacity)), "{sent} of {capacity}");
    // Each of the two loops had its own connections.
    assert_eq!(server.stop().accepted, 6);
}

#[test]
fn idle_connections_are_held_during_the_load() {
    let server = Server::start();
    let (report, code) = report(&format!("echo {} -c 2 --idle 30 {SHORT}", server.url("/")));
    assert_eq!(code, 0);
    let parts: Vec<_> = report["parts"].as_array().unwrap().iter().collect();
    let of = |name| *parts.iter().find(|part| part["name"] == name).unwrap();
    assert_eq!(number(&of("idle")["connections"]["opened"]), 30.0);
    assert_eq!(number(&of("idle")["messages"]["sent"]), 0.0);
    assert_eq!(number(&report["total"]["connections"]["opened"]), 32.0);
    assert_eq!(report["total"]["count"], of("echo")["count"]);
    assert_eq!(server.stop().ended_peer_closed, 32);
}

#[test]
fn connections_are_opened_at_a_rate_and_held() {
    let server = Server::start();
    let (report, code) = report(&format!(
        "connect {} -c 40 --ramp 400 --source 127.0.0.1-3 {SHORT}",
        server.url("/")
    ));
    assert_eq!(code, 0);
    let total = &report["total"];
    assert_eq!((&total["unit"], number(&total["count"])), (&Value::from("connection"), 40.0));
    assert_eq!(number(&total["latency"]["count"]), 40.0);
    // The fortieth is due after 39 periods, on any machine.
    assert!(number(&total["rate"]) <= 40.0 / 0.0975);
    assert_eq!(server.stop().accepted, 40);
}

#[test]
fn a_fan_out_is_delivered_once_to_each_subscriber() {
    let server = Server::start();
    for options in ["--depth 4", "--rate 200 --text"] {
        let line = format!(
            "fanout {} -c 6 --publishers 4 --rooms 2 --max-errors 0 {options} {SHORT}",
            server.url("/")
        );
        let (report, code) = report(&line);
        assert_eq!(code, 0, "{report}");
        assert_eq!(report["total"]["unit"], "delivery");
        assert!(number(&report["total"]["latency"]["count"]) > 0.0);
    }
}

#[test]
fn loss_and_duplicates_are_counted() {
    /// Drops every fifth message and duplicates every seventh.
    struct Lossy(u64);
    impl Service for Lossy {
        fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
            self.0 += 1;
            let times = match self.0 {
                n if n.is_multiple_of(5) => 0,
                n if n.is_multiple_of(7) => 2,
                _ => 1,
            };
            for _ in 0..times {
                let sender = [conn];
                let options = PublishOptions::default().except(&sender);
                let _ = cx.publish(Target::All, message, options);
            }
        }
    }
    let server = Server::with(Echo, Lossy(0));
    let line = format!("fanout {} -c 3 --rate 200 {SHORT}", server.url("/"));
    let (report, code) = report(&line);
    assert_eq!(code, 0);
    let errors = &report["total"]["errors"];
    let (missing, duplicate) = (number(&errors["missing"]), number(&errors["duplicate"]));
    assert!(missing > 0.0 && duplicate > 0.0, "{errors}");
    // Three subscribers miss, and receive twice, the same messages: every fifth one, and every
    // seventh that is not also a fifth.
    let note = report["total"]["notes"][0].as_str().unwrap();
    let published: u64 = note.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(missing, (3 * (published / 5)) as f64, "{note}");
    assert_eq!(duplicate, (3 * (published / 7 - published / 35)) as f64, "{note}");
}

#[test]
fn churn_opens_and_ends_connections() {
    let server = Server::start();
    let (report, code) = report(&format!(
        "churn {} -c 20 --rate 200 --abrupt 0.5 --max-errors 0 {SHORT}",
        server.url("/")
    ));
    assert_eq!(code, 0, "{report}");
    assert!(number(&report["total"]["count"]) > 0.0);
    let metrics = server.stop();
    assert!(metrics.ended_peer_closed > 0 && metrics.ended_peer_lost > 0, "{metrics}");
    assert_eq!(metrics.opened as f64, number(&report["total"]["connections"]["opened"]));
}

/// Closes all connections with 1012 as soon as there are `members`, once, and then the first that
/// opens with 1013; later ones stay open.
struct Restarting {
    members: usize,
    open: Vec<ConnId>,
    restarts: usize,
    /// Connections opened in total.
    opened: Arc<AtomicU64>,
}

impl Restarting {
    fn new(members: usize) -> Restarting {
        Restarting { members, open: Vec::new(), restarts: 0, opened: Arc::default() }
    }
}

impl Service for Restarting {
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.open.push(conn);
        match self.restarts {
            0 if self.open.len() == self.members => {
                for conn in self.open.drain(..) {
                    cx.close(conn, CloseCode::SERVICE_RESTART, "restart");
                }
                self.restarts = 1;
            }
            1 => {
                cx.close(conn, CloseCode::TRY_AGAIN_LATER, "");
                self.restarts = 2;
            }
            _ => {}
        }
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

/// Interrupts a run; its report and exit code.
fn interrupt(child: Child) -> (Value, i32) {
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let (out, err, code) = finish(child);
    (serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out} {err}")), code)
}

#[test]
fn a_herd_reconnects_after_the_server_has_ended_it() {
    const MEMBERS: usize = 30;
    const OPENED: u64 = 2 * MEMBERS as u64 + 1;
    let service = Restarting::new(MEMBERS);
    let opened = Arc::clone(&service.opened);
    let server = Server::with(service, Echo);
    let child = spawn(&format!(
        "churn {} --reconnect -c {MEMBERS} --max-errors 0 --warmup 0ms --duration 1m --json",
        server.url("/")
    ));
    await_count(&opened, OPENED);
    let (report, code) = interrupt(child);
    assert_eq!((code, &report["invalid"]), (0, &Value::Null), "{report}");
    let total = &report["total"];
    assert_eq!((&total["name"], &total["unit"]), (&"herd".into(), &"reconnection".into()));
    assert_eq!(number(&total["connections"]["opened"]), OPENED as f64, "{report}");
    assert_eq!(number(&total["connections"]["lost"]), 31.0, "{report}");
    let notes = total["notes"].as_array().unwrap();
    let note = notes[0].as_str().unwrap();
    assert_eq!(notes.len(), 1, "one herd: {notes:?}");
    assert!(note.starts_with("31 connections ended within "), "{note}");
    assert!(note.contains("(30 peer_closed 1012, 1 peer_closed 1013)"), "{note}");
    assert!(note.contains("; all back after ") && note.ends_with(", 0 failed attempts"), "{note}");
}

#[test]
fn a_herd_without_a_server_counts_its_failed_attempts() {
    const MEMBERS: usize = 5;
    let service = Restarting::new(usize::MAX);
    let opened = Arc::clone(&service.opened);
    let server = Server::with(service, Echo);
    let url = server.url("/");
    let address = url.strip_prefix("ws://").unwrap().trim_end_matches('/').to_owned();
    let child =
        spawn(&format!("churn {url} --reconnect -c {MEMBERS} --warmup 0ms --duration 1m --json"));
    await_count(&opened, MEMBERS as u64);
    server.stop();
    // In the server's place: a listener that drops each connection.
    let listener = TcpListener::bind(address).unwrap();
    let dropped = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&dropped);
    thread::spawn(move || {
        for stream in listener.incoming() {
            drop(stream);
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    // The client may not have noticed the last one.
    await_count(&dropped, MEMBERS as u64 + 1);
    let (report, code) = interrupt(child);
    assert_eq!((code, &report["invalid"]), (0, &Value::Null), "{report}");
    let total = &report["total"];
    let failed = number(&total["connections"]["failed"]);
    assert!(failed >= MEMBERS as f64, "{report}");
    let errors = total["errors"].as_object().unwrap();
    assert!(errors.keys().all(|what| what.starts_with("connect: ")), "{report}");
    let note = total["notes"][0].as_str().unwrap();
    assert!(note.contains("(5 peer_closed 1001); 5 not back at the end of the run"), "{note}");
    assert!(note.ends_with(&format!(", {failed} failed attempts")), "{note}");
}

#[test]
fn slow_clients_do_not_stop_the_measured_ones() {
    let server = Server::start();
    let line = format!(
        "slow {} -c 8 --share 0.25 --max-errors 0 --duration 1s --warmup 0ms",
        server.url("/strict")
    );
    let (report, code) = report(&line);
    assert_eq!(code, 0, "{report}");
    assert!(number(&report["total"]["count"]) > 0.0);
    let notes = report["total"]["notes"].to_string();
    assert!(notes.contains("2 slow clients sent"), "{notes}");
    assert!(notes.contains("2 slow clients: peer_closed 1013"), "{notes}");
    assert_eq!(server.stop().ended_slow, 2);
}

#[test]
fn a_mix_runs_a_part_of_each_scenario() {
    let server = Server::start();
    let (report, code) = report(&format!(
        "mixed {} -c 20 --size 16:0.9,4KiB:0.1 --max-errors 0 {SHORT}",
        server.url("/")
    ));
    assert_eq!(code, 0, "{report}");
    let parts = report["parts"].as_array().unwrap();
    let names: Vec<_> = parts.iter().map(|part| part["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["echo", "rate", "fanout", "churn", "slow"]);
    let sum: f64 = parts.iter().map(|part| number(&part["count"])).sum();
    assert_eq!(number(&report["total"]["count"]), sum);
    for part in &parts[..4] {
        assert!(number(&part["count"]) > 0.0, "{part}");
    }
}

#[test]
fn messages_after_a_stall_count_from_their_due_time() {
    const STALL: Duration = Duration::from_millis(300);
    let server = Server::start();
    let url = server.url("/");
    let child = spawn(&format!("rate {url} -c 2 --rate 500 --warmup 0ms --duration 1h --json"));
    let pid = Pid::from_raw(child.id().cast_signed());
    server.await_echoes(50);
    kill(pid, Signal::SIGSTOP).unwrap();
    thread::sleep(STALL);
    kill(pid, Signal::SIGCONT).unwrap();
    server.await_echoes(server.echoed() + 200);
    kill(pid, Signal::SIGINT).unwrap();
    let (out, ..) = finish(child);
    let report: Value = serde_json::from_str(&out).unwrap();
    // The first message due after SIGSTOP waited for nearly the whole stall.
    let max = number(&report["total"]["latency"]["max"]);
    assert!(max > 0.9 * STALL.as_nanos() as f64, "{max}");
    assert!(number(&report["client"]["late_share"]) > 0.01);
    assert!(report["client"]["bottleneck"].is_string());
}
