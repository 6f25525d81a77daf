//! What operators see of the load of a real process: `/readyz`, `/status`, metrics and log.

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::{Admin, Client, Process, eventually, upgrade, weir};

/// A process whose resident memory is far above its limit.
fn overloaded() -> (Process, SocketAddr, Admin) {
    let process = Process::spawn(&mut weir([
        "--levels",
        "--listen=127.0.0.1:0",
        "--admin=127.0.0.1:0",
        "--memory-max=1 MiB",
        "--delay-elevated=1h",
        "--delay-critical=2h",
    ]));
    let address = process.address();
    let admin = Admin::of(&process);
    (process, address, admin)
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut client = Client::tcp(address);
    client.raw(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes());
    let (head, body) = client.answer();
    (head, String::from_utf8(body).unwrap())
}

#[test]
fn operators_see_the_level_and_its_cause() {
    let (mut process, address, admin) = overloaded();
    eventually(|| admin.metric("weir_level", &[]) == 2.0, "the load is critical");
    assert!(admin.metric("weir_pressure", &[r#"resource="memory""#]) > 1.0);
    assert!(admin.metric("weir_pressure", &[r#"resource="delay""#]) < 1.0);
    for level in ["elevated", "critical"] {
        let to = format!("to=\"{level}\"");
        assert_eq!(admin.metric("weir_level_changes_total", &[&to]), 1.0);
    }
    assert_eq!(admin.metric("weir_priority_connections", &[r#"priority="normal""#]), 0.0);
    assert!(admin.metric("weir_busy_ratio", &[]) < 1.0);

    let (head, body) = get(admin.address(), "/readyz");
    assert!(head.starts_with("HTTP/1.1 503 ") && body == "the load is critical\n", "{body}");
    let (head, body) = get(admin.address(), "/status");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("application/json"), "{head}");
    let status: Value = serde_json::from_str(&body).unwrap();
    let (load, memory) = (&status["load"], &status["load"]["resources"]["memory"]);
    assert_eq!((&load["level"], &memory["level"]), (&"critical".into(), &"critical".into()));
    assert!(memory["pressure"].as_f64() > Some(1.0), "{status}");
    assert!(memory["peak"].as_f64() >= memory["value"].as_f64(), "{status}");
    assert!(memory["samples"].as_array().is_some_and(|samples| samples.len() > 3), "{status}");
    assert!(load["resources"]["descriptors"]["value"].as_f64() < Some(0.8), "{status}");

    let refused = Client::tcp(address).request(&upgrade("/", ""));
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("overloaded"), "{refused}");
    process.logged("load is elevated: memory ");
    process.logged("load is critical: memory ");
    process.logged("refused: 503 server is overloaded");
    let log = process.stop();
    assert!(log.contains("WARN"), "{log}");
}

/// Nobody is connected, so that no closed connection can lower the load.
#[test]
fn shedding_that_does_not_help_is_an_error_in_the_log_and_counted() {
    let (process, _, admin) = overloaded();
    admin.await_metric("weir_shed_futile_total", &[], 1.0);
    assert_eq!(admin.metric("weir_shed_total", &[]), 0.0);
    let log = process.stop();
    let text = "closing connections does not lower the load";
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(text)).collect();
    assert!(lines.len() == 1 && lines[0].contains("ERROR"), "{log}");
    assert!(lines[0].contains("resource=memory"), "{log}");
}

#[test]
fn an_idle_process_is_not_woken_for_samples() {
    let process = Process::spawn(&mut weir([
        "--levels",
        "--listen=127.0.0.1:0",
        "--admin=127.0.0.1:0",
        "--delay-elevated=1h",
        "--delay-critical=2h",
        "--memory-max=off",
    ]));
    let _address = process.address();
    let admin = Admin::of(&process);
    let before = admin.metric("weir_turns_total", &[]);
    // Only time can be waited for: twelve samples are due meanwhile.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let turns = admin.metric("weir_turns_total", &[]) - before;
    assert!(turns < 8.0, "{turns} turns for two requests");
}
