//! What the client of a tunnel gets when its upstream ends.

use rustix::process::Signal;

use super::front::{Front, echo};
use super::scripted::{Moody, Scripted, switching};
use crate::support::TEXT;

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
