//! The results of runs: tables, ratios, plots, exit codes.

use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use weir::protocol::{CloseCode, Message};
use weir::reactor::{ConnId, Context, Service};
use weir::services::Echo;

use crate::support::{Server, finish, load, report, spawn, table};
use crate::{SHORT, number};

#[test]
fn output_to_a_pipe_is_a_table_without_progress() {
    let server = Server::start();
    let (out, err, code) = load(&format!("echo {} -c 2 {SHORT}", server.url("/")));
    assert_eq!((code, err.as_str()), (0, ""));
    for word in ["echo ws://127.0.0.1:", "2 of 2 opened", "latency", "p99.9", "errors       none"] {
        assert!(out.contains(word), "{word}: {out}");
    }
}

/// Changes the first byte of each message for whose number `is_wrong` is true, and echoes it.
struct Altering {
    seen: u64,
    is_wrong: fn(u64) -> bool,
}

impl Service for Altering {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let mut bytes = message.as_bytes().to_vec();
        bytes[0] ^= u8::from((self.is_wrong)(self.seen));
        self.seen += 1;
        let _ = cx.send(conn, &bytes[..]);
    }
}

#[test]
fn up_to_one_percent_of_wrong_answers_are_errors() {
    let altering = Altering { seen: 0, is_wrong: |number| number == 7 };
    let server = Server::with(altering, Echo);
    let (report, code) = report(&format!("echo {} -c 1 --max-errors 0 {SHORT}", server.url("/")));
    assert_eq!((code, &report["invalid"]), (1, &Value::Null));
    assert_eq!(number(&report["total"]["errors"]["not the message sent"]), 1.0);
    assert!(number(&report["total"]["rate"]) > 0.0);
}

#[test]
fn a_server_that_answers_wrongly_makes_the_run_invalid() {
    let altering = Altering { seen: 0, is_wrong: |number| number % 10 == 0 };
    let server = Server::with(altering, Echo);
    let line = format!("echo {} -c 1 --size 20 {SHORT}", server.url("/"));
    let (report, code) = report(&line);
    assert_eq!((code, &report["total"]["rate"]), (3, &Value::Null));
    assert!(report["total"]["latency"].is_null() && report["client"]["cpu_nanos_each"].is_null());
    assert!(number(&report["total"]["messages"]["received"]) > 0.0);
    let (out, err, code) = load(&line);
    assert_eq!(code, 3);
    let why = "expected the 20 bytes of binary sent, received 20 bytes of binary";
    assert!(out.contains("INVALID") && out.contains(why), "{out}");
    assert!(err.contains("INVALID") && err.contains(why), "{err}");
    assert!(!out.contains("/s,") && !out.contains("p50 0"), "{out}");
    assert!(out.contains("received (") && out.contains("not the message sent"), "{out}");
}

#[test]
fn wrong_answers_of_a_tolerated_server_are_errors_of_a_valid_run() {
    let altering = Altering { seen: 0, is_wrong: |_| true };
    let (server, other) = (Server::with(altering, Echo), Server::start());
    let [url, other] = [server.url("/"), other.url("/")];
    let line = format!("echo {url} -c 1 --tolerate {other} --tolerate {url} {SHORT}");
    let (tolerated, code) = report(&line);
    assert_eq!((code, &tolerated["invalid"]), (0, &Value::Null));
    assert!(number(&tolerated["total"]["rate"]) > 0.0);
    assert!(number(&tolerated["total"]["errors"]["not the message sent"]) > 0.0);
    let (strict, code) = report(&format!("echo {url} -c 1 --tolerate {other} {SHORT}"));
    assert!(code == 3 && strict["invalid"].is_string(), "{strict}");
}

#[test]
fn a_chat_room_instead_of_an_echo_makes_the_run_invalid() {
    let server = Server::start();
    // A message goes to the other members, but not to its sender.
    let (out, _, code) = load(&format!("echo {} -c 4 {SHORT}", server.url("/rooms/chat")));
    assert_eq!(code, 3);
    assert!(out.contains("INVALID") && out.contains("the first: expected"), "{out}");
}

#[test]
fn a_server_that_closes_connections_makes_the_run_invalid() {
    struct Closing;
    impl Service for Closing {
        fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, _: Message<'_>) {
            cx.close(conn, CloseCode::new(4001).unwrap(), "go away");
        }
    }
    let server = Server::with(Closing, Echo);
    for scenario in ["echo", "rate"] {
        let (out, _, code) = load(&format!("{scenario} {} -c 4 {SHORT}", server.url("/")));
        assert_eq!(code, 3);
        assert!(out.contains("4 connections lost, 4 connections"), "{out}");
        assert!(out.contains("it ended with peer_closed 4001"), "{out}");
    }
}

#[test]
fn a_server_that_never_answers_makes_the_run_invalid() {
    struct Silent;
    impl Service for Silent {
        fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
    }
    let server = Server::with(Silent, Echo);
    let (out, _, code) = load(&format!("echo {} -c 4 {SHORT}", server.url("/")));
    assert_eq!(code, 3);
    assert!(out.contains("INVALID      expected answers to 4 messages, received none"), "{out}");
}

/// The process that is named as the server's ends; the server itself does not.
#[test]
fn a_process_that_ends_makes_the_run_invalid_and_keeps_its_counts() {
    let server = Server::start();
    let mut process = Command::new("sleep").arg("3600").spawn().unwrap();
    let line = format!(
        "echo {} --pid {} -c 2 --warmup 0ms --duration 1h --json",
        server.url("/"),
        process.id()
    );
    let child = spawn(&line);
    server.await_echoes(100);
    process.kill().unwrap();
    // Wait later: a zombie process has ended, too.
    let (out, err, code) = finish(child);
    process.wait().unwrap();
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["total"]["rate"]), (3, &Value::Null));
    assert!(number(&report["total"]["messages"]["received"]) > 0.0);
    assert!(err.contains("ended during the run"), "{err}");
}

#[test]
fn a_comparison_omits_invalid_runs() {
    let (good, bad) =
        (Server::start(), Server::with(Altering { seen: 0, is_wrong: |_| true }, Echo));
    let line = format!("compare {} {} --rounds 2 -c 1 {SHORT}", good.url("/"), bad.url("/"));
    let (out, _, code) = load(&line);
    assert_eq!(code, 3);
    assert!(out.contains("INVALID: 2 of 4 runs"), "{out}");
}

#[test]
fn rounds_on_several_servers_are_compared_by_ratios() {
    let (one, other) = (Server::start(), Server::start());
    let pid = std::process::id();
    let line = format!(
        "compare {}={pid} {}={pid} --rounds 3 -c 2 --duration 300ms --warmup 0ms",
        one.url("/"),
        other.url("/")
    );
    let (comparison, code) = report(&line);
    assert_eq!((code, number(&comparison["rounds"])), (0, 3.0));
    let tables = comparison["tables"].as_array().unwrap();
    let table = |figure| tables.iter().find(|table| table["figure"] == figure).unwrap();
    for figure in ["cpu_nanos_each", "rate", "p50", "p99"] {
        let rows = table(figure)["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 2, "{figure}");
        assert!(rows[0]["ratio"].is_null());
        let ratio = &rows[1]["ratio"];
        assert!(number(&ratio["min"]) <= number(&ratio["median"]), "{figure}");
        assert!(number(&ratio["median"]) <= number(&ratio["max"]), "{figure}");
    }
    let rates = |server: usize| {
        let rounds = comparison["reports"][server].as_array().unwrap();
        rounds.iter().map(|report| number(&report["total"]["rate"])).collect::<Vec<_>>()
    };
    let mut ratios: Vec<f64> = rates(1).iter().zip(rates(0)).map(|(a, b)| a / b).collect();
    ratios.sort_by(f64::total_cmp);
    let ratio = &table("rate")["rows"][1]["ratio"];
    for (name, expected) in ["min", "median", "max"].into_iter().zip(ratios) {
        assert!((number(&ratio[name]) - expected).abs() < 1e-6, "{name}: {ratio}");
    }
    assert_eq!((one.stop().opened, other.stop().opened), (6, 6));
}

#[test]
fn an_assertion_that_does_not_hold_is_exit_code_1() {
    let server = Server::start();
    let run = |assertion: &str| {
        table(&format!("echo {} -c 1 {SHORT} --assert {assertion}", server.url("/")))
    };
    assert_eq!(run("p99<1h").1, 0);
    assert_eq!(run("rate>0").1, 0);
    let (out, code) = run("p99<1ns");
    assert_eq!(code, 1);
    assert!(out.contains("latency"), "the result is still printed: {out}");
    // Without --pid there is no CPU time, and an assertion on it does not hold.
    assert_eq!(run("cpu<1h").1, 1);
}

#[test]
fn invalid_usage_is_exit_code_2_and_no_server_is_3() {
    assert_eq!(table("echo").1, 2);
    assert_eq!(table("echo http://127.0.0.1/").1, 2);
    let gone = Server::start();
    let url = gone.url("/");
    gone.stop();
    let (report, code) = report(&format!("echo {url} -c 2 {SHORT}"));
    assert_eq!((code, number(&report["total"]["connections"]["failed"])), (3, 2.0));
    assert_eq!(number(&report["total"]["errors"]["connect: connection refused"]), 2.0);
    assert_eq!(report["invalid"], "no connection opened: connection refused");
    assert_eq!(table(&format!("impolite {url}")).1, 1);
    let server = Server::start();
    let (_, err, code) = load(&format!("echo {} --pid 2147483647 {SHORT}", server.url("/")));
    assert_eq!(code, 1);
    assert!(err.contains("process 2147483647"), "{err}");
}

#[test]
fn an_interrupt_prints_the_results_so_far() {
    let server = Server::start();
    let line = format!("echo {} -c 2 --warmup 0ms --duration 1h --json", server.url("/"));
    let child = spawn(&line);
    server.await_echoes(100);
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let (out, _, code) = finish(child);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["interrupted"]), (0, &Value::Bool(true)));
    assert!(number(&report["total"]["count"]) > 0.0);
}

#[test]
fn a_plot_is_an_svg_file() {
    let server = Server::start();
    let file = std::env::temp_dir().join(format!("weir-load-{}.svg", std::process::id()));
    let line = format!("echo {} -c 1 --plot {} {SHORT}", server.url("/"), file.display());
    assert_eq!(table(&line).1, 0);
    let picture = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("latency by percentile"));
    assert!(picture.contains("<polyline"));
}

#[test]
fn a_plot_file_that_cannot_be_written_fails_before_the_run() {
    let server = Server::start();
    let line = format!("echo {} -c 1 --plot /nonexistent/plot.svg {SHORT}", server.url("/"));
    let (out, err, code) = load(&line);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("/nonexistent/plot.svg"), "{err}");
    assert_eq!(server.stop().accepted, 0);
}

#[test]
fn the_upgrade_request_has_the_given_path_and_headers() {
    let server = Server::start();
    let line = format!("echo {} -c 1 {SHORT}", server.url("/"));
    assert_eq!(table(&format!("{line} --path /nowhere")).1, 3);
    // The path requires these, and answers 400 without them.
    let demanding = format!("{line} --path /demanding");
    assert_eq!(table(&demanding).1, 3);
    let complete =
        format!("{demanding} --origin http://here --subprotocol tea --header X-Sugar:two");
    assert_eq!(table(&complete).1, 0);
}

#[test]
fn violations_are_closed_with_the_codes_of_the_rfc() {
    let server = Server::start();
    let (outcomes, code) = report(&format!("impolite {} --patience 20s", server.url("/")));
    assert_eq!(code, 0, "{outcomes}");
    let outcomes = outcomes.as_array().unwrap();
    assert!(outcomes.len() > 15);
    let closed = |code: &str| {
        let with = format!("closed with {code}");
        outcomes.iter().filter(|one| one["server"].as_str().unwrap().starts_with(&with)).count()
    };
    assert!(closed("1002") >= 11 && closed("1007") >= 3 && closed("1009") >= 1, "{outcomes:?}");
}

#[test]
fn a_close_code_not_in_the_rfc_is_exit_code_1() {
    let url = crate::support::wrong_codes();
    let (out, code) = table(&format!("impolite {url} --only reserved --patience 5s"));
    assert_eq!(code, 1);
    assert!(out.contains("FAIL reserved bit") && out.contains("closed with 1000"), "{out}");
}

#[test]
fn a_server_that_ends_during_violations_makes_the_run_invalid() {
    let url = crate::support::gone_after_a_frame();
    let (out, err, code) = load(&format!("impolite {url} --only reserved --patience 5s"));
    assert_eq!(code, 3);
    assert!(out.contains("reserved") && err.contains("INVALID"), "{out} {err}");
}
