//! What the client of a tunnel gets when its upstream ends.

use rustix::process::Signal;
use serde_json::Value;

use super::front::{Front, echo};
use super::scripted::{Moody, Scripted, switching};
use crate::support::{Client, TEXT, eventually};

#[test]
fn a_killed_upstream_is_1012_while_another_is_up() {
    let (first, one) = echo(&[]);
    let (_second, other) = echo(&[]);
    let front = Front::new(&[one, other], "", "");
    let mut client = front.tunnel();
    client.text("hello");
    client.expect(TEXT, b"hello");
    first.signal(Signal::KILL);
    assert_eq!(client.expect_close(), (1012, "upstream lost".to_owned()));
    let reason = "reason=\"upstream_lost\"";
    front.admin.await_metric("weir_proxy_closed_total", &[reason], 1.0);
    let mut client = front.tunnel();
    client.text("again");
    client.expect(TEXT, b"again");
}

/// More tunnels than lines of one kind are logged in a second.
const TUNNELS: usize = 30;

#[test]
fn the_tunnels_of_a_lost_upstream_are_one_line_of_the_log() {
    let (killed, first) = echo(&[]);
    let (_second, other) = echo(&[]);
    let flags = ["--log", "warn,weir::services::proxy=debug", "--log-format", "json"];
    let front = Front::with(&[first.clone(), other], "", "", &flags);
    let mut clients: Vec<Client> = (0..TUNNELS).map(|_| front.tunnel()).collect();
    killed.signal(Signal::KILL);
    for client in &mut clients {
        assert_eq!(client.expect_close(), (1012, "upstream lost".to_owned()));
    }
    let name = first.strip_prefix("http://").unwrap();
    let counted = |log: &str| -> u64 { losses(log).map(|line| tunnels(&line)).sum() };
    eventually(|| counted(&front.process.log()) == TUNNELS as u64, "all tunnels are counted");
    let log = front.process.stop();
    // The ends may fall into two seconds.
    assert!(losses(&log).count() <= 2, "{log}");
    for line in losses(&log) {
        let expected = format!("upstream {name} lost: {} tunnels ended with 1012", tunnels(&line));
        assert_eq!((&line["level"], &line["message"]), (&"WARN".into(), &expected.into()));
        assert_eq!((&line["upstream"], &line["code"]), (&name.into(), &1012.into()));
        assert_eq!(line["reason"], "upstream_lost");
    }
    let each = lines(&log).filter(|line| line["message"] == "tunnel ended: lost");
    assert_eq!(each.filter(|line| line["level"] == "DEBUG").count(), TUNNELS, "{log}");
}

#[test]
fn a_loss_right_before_the_end_is_logged() {
    let (killed, upstream) = echo(&[]);
    let front = Front::with(&[upstream], "", "", &["--log", "warn", "--log-format", "json"]);
    let mut client = front.tunnel();
    killed.signal(Signal::KILL);
    assert_eq!(client.expect_close(), (1012, "upstream lost".to_owned()));
    let log = front.process.stop();
    let line = losses(&log).next().expect(&log);
    assert!(line["message"].as_str().unwrap().ends_with(" lost: 1 tunnel ended with 1012"));
}

/// The lines about tunnels that an upstream lost.
fn losses(log: &str) -> impl Iterator<Item = Value> {
    lines(log).filter(|line| line["tunnels"].is_u64())
}

fn tunnels(line: &Value) -> u64 {
    line["tunnels"].as_u64().unwrap()
}

fn lines(log: &str) -> impl Iterator<Item = Value> {
    log.lines().map(|line| serde_json::from_str(line).expect(line))
}

#[test]
fn a_lost_upstream_is_1013_if_none_is_up() {
    let moody = Moody::new();
    let pool = "health = '/health'\nhealth_interval = '200ms'";
    let front = Front::new(&[moody.url()], pool, "");
    let mut client = front.tunnel();
    moody.fall_ill();
    front.admin.await_metric("weir_upstream_up", &[], 0.0);
    moody.end_tunnels();
    assert_eq!(client.expect_close(), (1013, "upstream lost".to_owned()));
}

#[test]
fn an_upstream_that_restarts_gets_no_new_tunnels_for_a_moment() {
    let restarting = Scripted::new(|client, _| {
        client.raw(switching("").as_bytes());
        client.raw(b"\x88\x02\x03\xF4");
        client.expect_gone();
    });
    let (_echo, other) = echo(&[]);
    let front = Front::new(&[restarting.url(), other], "", "");
    let mut client = front.tunnel();
    assert_eq!(client.expect_close(), (1012, String::new()));
    client.close(1012, "");
    client.expect_end();
    drop(client);
    let reason = "reason=\"upstream_closed\"";
    front.admin.await_metric("weir_proxy_closed_total", &[reason], 1.0);
    let mut client = front.tunnel();
    client.text("elsewhere");
    client.expect(TEXT, b"elsewhere");
}

#[test]
fn an_upstream_that_checks_find_down_loses_its_tunnels_by_policy() {
    for (down, is_closed) in [("close", true), ("keep", false)] {
        let moody = Moody::new();
        let pool = format!("health = '/health'\nhealth_interval = '200ms'\ndown = '{down}'");
        let front = Front::new(&[moody.url()], &pool, "");
        let mut client = front.tunnel();
        moody.fall_ill();
        front.admin.await_metric("weir_upstream_up", &[], 0.0);
        let (text, reason) = match is_closed {
            true => ("upstream down", "reason=\"upstream_down\""),
            false => {
                moody.end_tunnels();
                ("upstream lost", "reason=\"upstream_lost\"")
            }
        };
        let code = if is_closed { 1012 } else { 1013 };
        assert_eq!(client.expect_close(), (code, text.to_owned()));
        client.close(code, "");
        moody.end_tunnels();
        front.admin.await_metric("weir_proxy_closed_total", &[reason], 1.0);
    }
}
